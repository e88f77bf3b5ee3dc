"""What an HTML report consists of, and the writing of it as one file without network or server.

How it looks and behaves is in `page.html`, `page.css` and `page.js`; thumbnails are made in
`thumbnails.py`.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from data_tools.core.files import write_atomic

NUMBER, PERCENT, TEXT = "number", "percent", "text"
"""Kinds of a table's column: figures as they are, shares of 1, words."""


@dataclass(frozen=True)
class Table:
    """A table whose columns sort.

    Args:
        title: Heading.
        columns: Name and kind of each column.
        rows: Values; None is shown as a dash and sorts last.
        note: What a reader should do about it.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """Lines over an axis, both axes 0..1 unless `y_most` says otherwise.

    Args:
        title: Heading.
        x: Name of the horizontal axis.
        series: Name, x values and y values of each line; a None breaks the line.
        note: What a reader should do about it.
        y_most: Upper end of the vertical axis.
    """

    title: str
    x: str
    series: Sequence[tuple[str, Sequence[float], Sequence[float | None]]]
    note: str = ""
    y_most: float = 1.0


@dataclass(frozen=True)
class Matrix:
    """Counts by two classes.

    Args:
        title: Heading.
        labels: Names of rows and columns.
        counts: (K, K) whole numbers; rows first.
        rows: What the rows are.
        columns: What the columns are.
        note: What a reader should do about it.
    """

    title: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    rows: str
    columns: str
    note: str = ""


@dataclass(frozen=True)
class Box:
    """A box on a picture.

    Args:
        layer: Position in `Page.layers`.
        label: Position in `Page.classes`.
        tag: Position in `Page.tags`.
        xywh: In pixels of the picture.
        score: 0..1, or None for a box without one.
    """

    layer: int
    label: int
    tag: int
    xywh: Sequence[float]
    score: float | None = None


@dataclass(frozen=True)
class Picture:
    """A picture with its boxes.

    Args:
        name: Caption.
        width: Width in pixels that the boxes refer to.
        height: Height.
        jpeg: A thumbnail; None draws the boxes on a blank ground.
        note: Second line of the caption.
        boxes: Its boxes.
    """

    name: str
    width: int
    height: int
    jpeg: bytes | None
    note: str = ""
    boxes: Sequence[Box] = ()


@dataclass(frozen=True)
class Page:
    """A whole report, in the order in which it is shown.

    Args:
        title: Heading, also of the browser's tab.
        summary: Name and value of the figures at the top.
        tables: Tables.
        charts: Curves.
        matrices: Matrices.
        pictures: Pictures, the most important first.
        pictures_note: What the pictures show, and which are left out.
        layers: Groups of boxes that can be switched on and off, for instance truth and detections;
            the first is drawn solid, the second dashed, and so on.
        classes: Class names that pictures can be filtered by.
        tags: What else boxes can be filtered by, for instance causes of errors.
        tags_title: What the tags are.
        threshold: Score at which the filter starts.
    """

    title: str
    summary: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    matrices: Sequence[Matrix] = ()
    pictures: Sequence[Picture] = ()
    pictures_note: str = ""
    layers: Sequence[str] = ("boxes",)
    classes: Sequence[str] = ()
    tags: Sequence[str] = ()
    tags_title: str = "tag"
    threshold: float = 0.0


def write_page(path: Path, page: Page) -> None:
    """Write a report, whole or not at all; the file needs nothing else to be looked at.

    Args:
        path: HTML file.
        page: Its content. Texts may be anything: they are shown as text, never as HTML.
    """
    folder = resources.files("data_tools.pages")
    parts = {name: (folder / f"page.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    content = json.dumps(_content(page), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Inside a script element only "</" and "<!--" could end the text early. The data goes in last:
    # whatever it holds is not looked through for the other marks.
    before, after = parts["html"].split("/*DATA*/")
    before = before.replace("/*TITLE*/", html.escape(page.title)).replace("/*CSS*/", parts["css"])
    after = after.replace("/*JS*/", parts["js"])
    write_atomic(path, before + content.replace("<", "\\u003c") + after)


def _content(page: Page) -> dict[str, Any]:
    return {
        "title": page.title,
        "summary": [list(row) for row in page.summary],
        "tables": [
            {
                "title": t.title,
                "note": t.note,
                "columns": [{"name": name, "kind": kind} for name, kind in t.columns],
                "rows": [list(row) for row in t.rows],
            }
            for t in page.tables
        ],
        "charts": [
            {
                "title": c.title,
                "note": c.note,
                "x": c.x,
                "most": c.y_most,
                "series": [{"name": name, "x": list(x), "y": list(y)} for name, x, y in c.series],
            }
            for c in page.charts
        ],
        "matrices": [
            {
                "title": m.title,
                "note": m.note,
                "labels": list(m.labels),
                "counts": [list(row) for row in m.counts],
                "rows": m.rows,
                "columns": m.columns,
            }
            for m in page.matrices
        ],
        "note": page.pictures_note,
        "layers": list(page.layers),
        "classes": list(page.classes),
        "tags": list(page.tags),
        "tagsTitle": page.tags_title,
        "threshold": page.threshold,
        "pictures": [
            {
                "name": p.name,
                "note": p.note,
                "w": p.width,
                "h": p.height,
                "jpeg": base64.b64encode(p.jpeg).decode("ascii") if p.jpeg is not None else "",
                # Numbers in a row, not objects: thousands of pictures have many boxes.
                "boxes": [
                    [
                        b.layer,
                        b.label,
                        b.tag,
                        *(round(float(v), 1) for v in b.xywh),
                        round(b.score, 3) if b.score is not None else -1,
                    ]
                    for b in p.boxes
                ],
            }
            for p in page.pictures
        ],
    }
