"""`report.html` of `check=true`: what stands in it, that it stays small, and (slow) that a browser
filters it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from data_tools.audit.findings import SplitAudit
from data_tools.audit.page import audit_page
from data_tools.audit.page_pictures import WHOLE
from data_tools.audit.picture import _draw_sizes
from data_tools.command import run
from data_tools.convert.settings import PolicySettings
from data_tools.pages.page import write_page
from data_tools.sources.defects import Defect
from data_tools.sources.read import read_source
from tests.helpers.browser import Browser
from tests.helpers.pages import data_of
from tests.helpers.raw_sets import (
    box_entry,
    coco_settings,
    image_entry,
    jpeg,
    write_coco,
    write_plain_coco,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures: a copy, a box drawn twice, one of two classes, one of the whole picture."""
    root = tmp_path_factory.mktemp("audit")
    boxes = [box_entry(k, k, [2, 3, 20, 11], 3) for k in range(1, 13)]
    boxes += [
        box_entry(20, 2, [2, 3, 20.5, 11], 3),
        box_entry(21, 3, [2, 3, 20, 11.5], 1),
        box_entry(22, 4, [0, 0, 60, 40], 7),
        box_entry(23, 5, [30, 9, 0, 4]),
    ]
    write_coco(root, [image_entry(k) for k in range(1, 13)], boxes)
    (root / "images/000012.jpg").write_bytes(jpeg(40, 60, 1))
    settings = coco_settings(
        root,
        check=True,
        check_out=str(root / "check"),
        policy=PolicySettings(classes_overlap="skip"),
    )
    assert run(settings) == 0
    return root / "check" / "report.html"


def boxes_of(data: Any, kind: str) -> list[tuple[str, str]]:
    """The pictures and classes of the boxes with a tag."""
    tag = data["tags"].index(kind)
    return [
        (picture["name"], data["classes"][box[1]])
        for picture in data["pictures"]
        for box in picture["boxes"]
        if box[2] == tag
    ]


def test_the_page_says_what_is_suspicious_and_what_to_do(report: Path) -> None:
    data = data_of(report.read_text())
    kinds = {row[1]: row for row in data["tables"][0]["rows"]}
    assert set(kinds) == set(data["tags"][1:])
    assert kinds["similar_box"][2:4] == [1, "1 keep"] and "skip" in kinds["similar_box"][5]
    assert boxes_of(data, "similar_box") == [("train: 000002.jpg", "dog")]
    assert boxes_of(data, "box_whole_image") == [("train: 000004.jpg", "big bird")]
    # What the policy leaves out, and what is about a picture, is marked on the whole of it.
    assert boxes_of(data, "classes_overlap") == [("train: 000003.jpg", WHOLE)]
    assert boxes_of(data, "box_degenerate") == [("train: 000005.jpg", WHOLE)]
    assert boxes_of(data, "duplicate_image") == [("train: 000012.jpg", WHOLE)]
    assert len(data["pictures"]) == 12 and all(p["jpeg"] for p in data["pictures"])
    notes = [p["note"] for p in data["pictures"]]
    assert all(notes[:5]) and not any(notes[5:])
    assert "'dog' overlaps by 0.976 that of 'dog'" in " ".join(notes)
    [whole] = [
        b for p in data["pictures"] for b in p["boxes"] if data["classes"][b[1]] == "big bird"
    ]
    assert whole[0] == 1 and whole[3:7] == [0, 0, 60, 40]
    classes = next(t for t in data["tables"] if t["title"] == "Classes")
    assert classes["rows"][1] == ["dog", 13, 12] and classes["rows"][0] == ["cat", 0, 0]
    every = data["tables"][-1]
    assert every["title"] == "Every finding" and len(every["rows"]) == len(kinds)


def test_every_kind_is_among_the_first_and_the_page_stays_small(tmp_path: Path) -> None:
    """Of 3,000 pictures with many findings: each kind in turn, and far less than 20 MB."""
    count, boxes = 3000, 60
    write_plain_coco(tmp_path, 4)
    settings = coco_settings(tmp_path, check_report=300)
    raw = read_source(settings.dataset, {})
    table = raw.splits[0].table.take(np.arange(count) % 4)
    table = replace(table, image_ids=np.arange(count))
    raw = replace(raw, splits=(replace(raw.splits[0], table=table),))
    rng = np.random.default_rng(0)
    low = rng.random((count * boxes, 2)) * 0.5
    audit = SplitAudit(
        "train",
        {"images": count, "boxes": count * boxes},
        defects=[
            Defect(kind, "keep", "f.json", k, k * boxes, "x" * 300)
            for k in range(count)
            for kind in (["leak"] if k == count - 1 else ["similar_box"] * 3)
        ],
        files=[(f"{k:012d}.jpg", k, 480, 640, boxes) for k in range(count)],
        sides_px=[(480, 640)] * count,
        counts=[boxes] * count,
        boxes_rel=np.hstack([low, low + 0.4]),
        areas_px=np.ones(count * boxes),
        names=[f"class {k}" for k in range(80)],
        labels=rng.integers(1, 81, count * boxes).astype(np.int32),
        iscrowd=np.zeros(count * boxes, bool),
        annotation_ids=np.arange(count * boxes),
    )  # fmt: skip
    split = {
        "usable": {"images": count, "boxes": count * boxes},
        "found": audit.found,
        "images_without_boxes": 0,
        "defects": {"similar_box": {"keep": 3 * count}},
        "boxes_by_class": dict.fromkeys(audit.names, 1),
    }
    content = {"model": None, "classes": audit.names, "splits": {"train": split}, "advice": {}}
    page = audit_page(content, [audit], raw, settings)
    assert len(page.pictures) == 300 and all(p.jpeg for p in page.pictures)
    tags = {page.tags[box.tag] for picture in page.pictures[:2] for box in picture.boxes}
    assert tags == {"nothing found", "leak", "similar_box"}
    write_page(tmp_path / "p.html", page)
    # Thumbnails have a budget of 15 MB of their own (tests of pages).
    assert (tmp_path / "p.html").stat().st_size < 2_000_000


def test_findings_name_their_box_where_the_source_gives_every_box_id_0(tmp_path: Path) -> None:
    boxes = [box_entry(0, k, [2, 3, 20, 11], 3) for k in range(1, 5)]
    boxes += [box_entry(0, 2, [30, 3, 20, 11], 1), box_entry(0, 2, [30, 3, 20, 11.5], 1)]
    write_coco(tmp_path, [image_entry(k) for k in range(1, 5)], boxes)
    settings = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "check"))
    assert run(settings) == 0
    data = data_of((tmp_path / "check" / "report.html").read_text())
    assert boxes_of(data, "similar_box") == [("train: 000002.jpg", "cat")]


def test_without_pictures_there_is_no_page(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 4)
    settings = coco_settings(tmp_path, check=True, check_out=str(tmp_path / "c"), check_report=0)
    assert run(settings) == 0
    assert (tmp_path / "c/audit.json").is_file() and not (tmp_path / "c/report.html").exists()


@pytest.mark.slow
def test_a_real_browser_filters_by_kind_and_class(browser: Browser, report: Path) -> None:
    browser.call("POST", "/url", url=report.as_uri())
    browser.wait_for("return document.body.dataset.ready === 'yes'")
    browser.wait_for("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.run("return document.getElementById('score').closest('label').hidden")
    cards = (
        "return [...document.querySelectorAll('.card .caption')]"
        ".map(c => c.textContent.slice(0, 17))"
    )
    assert len(browser.run(cards)) == 12
    pick = (
        "{{ const e = document.getElementById('{}');"
        "e.selectedIndex = [...e.options].findIndex(o => o.text === '{}');"
        "e.dispatchEvent(new Event('input')); }}"
    )
    browser.run(pick.format("tag", "similar_box"))
    assert browser.run(cards) == ["train: 000002.jpg"]
    assert browser.run("return document.querySelectorAll('.card rect').length") == 1
    browser.run(pick.format("class", "cat"))
    assert browser.run(cards) == []
    browser.run(pick.format("tag", "all") + pick.format("class", "big bird"))
    assert browser.run(cards) == ["train: 000004.jpg"]
    browser.run(pick.format("class", "all"))
    # The reason is drawn in the large view; keys leaf on.
    browser.run("document.querySelector('.card').click()")
    drawn = "return [...document.querySelectorAll('#large text')].map(t => t.textContent).join(' ')"
    first = browser.run(drawn)
    assert any(kind in first for kind in ("similar_box", "duplicate_image", "classes_overlap"))
    browser.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
    assert browser.run(drawn) != first
    browser.run("document.getElementById('close').click()")
    column = (
        "return [...document.querySelector('#tables tbody').rows].map(r => +r.cells[2].innerText)"
    )
    counts = browser.run("document.querySelectorAll('#tables th button')[2].click();" + column)
    assert counts == sorted(counts, reverse=True)
    phone = {"width": 360, "height": 700, "deviceScaleFactor": 2, "mobile": True}
    command = "Emulation.setDeviceMetricsOverride"
    browser.call("POST", "/chromium/send_command", cmd=command, params=phone)
    browser.wait_for("return innerWidth === 360")
    assert browser.run("return document.documentElement.scrollWidth") <= 360


def test_boxes_of_one_size_have_a_bar_that_can_be_seen() -> None:
    axes = Figure().subplots()
    _draw_sizes(axes, SimpleNamespace(areas_px=np.full(20, 900.0)))  # type: ignore[arg-type]
    (low, high), bar = axes.get_xlim(), max(axes.patches, key=lambda patch: patch.get_height())
    assert low < 30 < high and bar.get_x() <= 30.001 <= bar.get_x() + bar.get_width() + 0.002
    assert bar.get_height() == 20 and bar.get_width() > 0.5
