"""`convert.py check=true`: the doctor. Audits a raw data set before anything is written.

Looks at every image and box as the converter would, and reports defects, classes, sizes, and how
well a model's default boxes cover the objects. The picture is drawn in `picture.py`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.audit.coverage import SIZES, BestMatches, best_matches, coverage_table, size_of
from data_tools.audit.findings import Advice, SplitAudit
from data_tools.audit.page import audit_page
from data_tools.audit.picture import draw_audit
from data_tools.audit.report import render, write_csv
from data_tools.audit.sequences import find_sequences, sequence_lines
from data_tools.convert.copy_policy import SeenImage, SeenImages
from data_tools.convert.make_plan import measure_files
from data_tools.convert.raw_data import read_raw
from data_tools.convert.settings import ConvertSettings
from data_tools.core.errors import DataError
from data_tools.core.files import write_atomic
from data_tools.core.progress import Progress
from data_tools.core.sample import Sample
from data_tools.core.where_to_look import where_to_look
from data_tools.pages.page import write_page
from data_tools.sources.box_checks import fit_boxes
from data_tools.sources.defects import DefectLog, summary
from data_tools.sources.raw_split import RawDataset, RawSplit

REPORT = "report.html"

_COVERAGE_BOXES = 50_000
"""Coverage is measured on at most this many objects, of images drawn at random."""

SIDE_EDGES_PX = (8.0, 16.0, 32.0, 64.0, 96.0, 128.0, 256.0, 512.0)
"""Histogram of the boxes' sides, square root of the area; COCO's limits 32 and 96 among them."""

ASPECT_EDGES = (1 / 5, 1 / 3, 1 / 2, 3 / 4, 4 / 3, 2.0, 3.0, 5.0)
"""Histogram of width / height in the image made square, as the default boxes see it."""


Advise = Callable[[SplitAudit, npt.NDArray[np.int64]], list[Advice]]
"""Advice about a split, from what was found in it and the boxes that coverage is measured on."""


def run_audit(
    settings: ConvertSettings, default_boxes: npt.ArrayLike | None, advise: Advise | None = None
) -> int:
    """Audit a raw data set; writes `audit.json`, `audit.csv`, `audit.png` and `report.html` to
    `check_out`.

    Args:
        settings: Settings of the command.
        default_boxes: (A, 4) `[cy, cx, h, w]` relative default boxes of `check_model`; None leaves
            the coverage out.
        advise: Says what would help to learn the split to train on, the one with most boxes.

    Returns:
        0 if the converter would go through, 1 if the policy would stop it.

    Raises:
        DataError: If the data set cannot be read at all, or `check_out` not be written.
    """
    seen: SeenImages = {}
    raw = read_raw(settings, seen)
    audits = [audit_split(split, raw, settings, seen) for split in raw.splits]
    seen.clear()
    names = [entry.name for entry in raw.classes.classes]
    anchors = None if default_boxes is None else np.asarray(default_boxes, np.float32)
    sequences = find_sequences({a.name: [entry[0] for entry in a.files] for a in audits})
    report = {
        "model": settings.check_model if anchors is not None else None,
        "classes": names,
        "splits": {a.name: describe(a, names, anchors) for a in audits},
        "sequences": sequences,
        "advice": _advice(audits, advise),
    }
    folder = Path(settings.check_out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "audit.json", json.dumps(report, indent=1) + "\n")
        write_csv(folder / "audit.csv", audits)
        draw_audit(folder / "audit.png", report, audits)
        if settings.check_report:
            write_page(folder / REPORT, audit_page(report, audits, raw, settings))
    except OSError as error:
        raise DataError(
            f"check_out={folder}: cannot be written ({error.strerror or error}). Choose another "
            "folder."
        ) from error
    if settings.out:
        print(f"check=true converts nothing: out={settings.out} is left as it is")
    print(render(report, settings))
    for line in sequence_lines(sequences, settings.dataset):
        print(line)
    pages = [folder / REPORT] if settings.check_report else []
    print(f"written: {folder}/audit.json, audit.csv (a line a file), audit.png")
    print(where_to_look(pages=pages, pictures=[folder / "audit.png"]))
    stopped = any(d.action == "error" for a in audits for d in a.defects)
    if stopped:
        print("the converter would stop: the policy calls some of these defects errors")
    return 1 if stopped else 0


def audit_split(
    split: RawSplit, raw: RawDataset, settings: ConvertSettings, seen: SeenImages
) -> SplitAudit:
    """Look at every image of a split as the converter would, without re-encoding for size or
    quality.

    Args:
        split: The split.
        raw: The data set that it is of.
        settings: Settings of the command.
        seen: What was seen of every picture when copies were looked for: none is read again.
    """
    names = [entry.name for entry in raw.classes.classes]
    audit = SplitAudit(split.name, split.found, names=names)
    log = DefectLog(settings.content()["policy"])
    log.defects.extend(split.defects)
    table, _ = measure_files(split.table, log)
    boxes, areas, labels, crowds, numbers = [], [], [], [], []
    with Progress(f"checking {split.name}", len(table)) as bar:
        for sample in table:
            fitted = _fitted(sample, seen[split.name, sample.image_id], log)
            if fitted is not None:
                size = fitted.height, fitted.width
                audit.files.append(
                    (fitted.file_name, fitted.image_id, *size, len(fitted.category_ids))
                )
                audit.sides_px.append(size)
                audit.counts.append(len(fitted.category_ids))
                boxes.append(fitted.boxes_yxyx_px / np.array([*size, *size], np.float64))
                sides = fitted.boxes_yxyx_px[:, 2:] - fitted.boxes_yxyx_px[:, :2]
                areas.append(sides.prod(axis=1))
                labels.append(raw.classes.labels(fitted.category_ids))
                crowds.append(fitted.iscrowd)
                numbers.append(fitted.annotation_ids)
            bar.update(1, defects=len(log.defects))
    audit.defects = log.defects
    if boxes:
        audit.boxes_rel, audit.areas_px = np.concatenate(boxes), np.concatenate(areas)
        audit.labels, audit.iscrowd = np.concatenate(labels), np.concatenate(crowds)
        audit.annotation_ids = np.concatenate(numbers)
    return audit


def _fitted(sample: Sample, seen: SeenImage, log: DefectLog) -> Sample | None:
    log.defects.extend(seen.defects)
    return None if seen.size is None else fit_boxes(seen.sample or sample, *seen.size, log)


def describe(
    audit: SplitAudit, names: list[str], anchors: npt.NDArray[np.float32] | None
) -> dict[str, Any]:
    """Sum a split up as it stands in `audit.json`."""
    objects = ~audit.iscrowd
    counts = np.bincount(audit.labels[objects], minlength=len(names) + 1)[1:]
    sizes = np.bincount(size_of(audit.areas_px[objects]), minlength=3)
    sides = audit.boxes_rel[:, 2:] - audit.boxes_rel[:, :2]
    aspects = sides[:, 1] / np.maximum(sides[:, 0], 1e-9)
    content: dict[str, Any] = {
        "found": audit.found,
        "usable": {"images": len(audit.counts), "boxes": len(audit.labels)},
        "images_without_boxes": sum(count == 0 for count in audit.counts),
        "crowd_boxes": int(audit.iscrowd.sum()),
        "defects": summary(audit.defects),
        "boxes_by_class": dict(zip(names, counts.tolist(), strict=True)),
        "boxes_by_size": dict(zip(SIZES, sizes.tolist(), strict=True)),
        "boxes_by_side_px": _histogram(np.sqrt(audit.areas_px[objects]), SIDE_EDGES_PX),
        "boxes_by_aspect": _histogram(aspects[objects], ASPECT_EDGES),
        "side_quantiles_rel": _quantiles(np.sqrt(np.maximum(sides.prod(axis=1), 0))),
        "aspect_quantiles": _quantiles(aspects),
        "boxes_per_image_quantiles": _quantiles(np.array(audit.counts, np.float64)),
    }
    if anchors is not None:
        content["coverage"] = measure_coverage(audit, anchors)
    return content


def _histogram(values: npt.NDArray[np.float64], edges: tuple[float, ...]) -> dict[str, int]:
    """Count values between edges, those at an edge above it: `"<8"`, `"8..16"`, ..., `">=512"`."""
    counts = np.bincount(np.digitize(values, edges), minlength=len(edges) + 1)
    marks = [f"{edge:.3g}" for edge in edges]
    inner = [f"{low}..{high}" for low, high in itertools.pairwise(marks)]
    names = [f"<{marks[0]}", *inner, f">={marks[-1]}"]
    return dict(zip(names, counts.tolist(), strict=True))


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    marks = (0, 5, 25, 50, 75, 95, 100)
    values_at = np.percentile(values, marks)
    return {
        f"p{mark}": round(float(value), 4) for mark, value in zip(marks, values_at, strict=True)
    }


def _advice(audits: list[SplitAudit], advise: Advise | None) -> dict[str, Any]:
    """What would help to learn the largest split."""
    if advise is None:
        return {}
    largest = max(audits, key=lambda audit: len(audit.labels))
    rows = np.concatenate([np.zeros(0, np.int64), *_coverage_rows(largest)])
    return {"split": largest.name, "list": [asdict(one) for one in advise(largest, rows)]}


def _coverage_rows(audit: SplitAudit) -> Iterator[npt.NDArray[np.int64]]:
    """The objects that coverage is measured on: all of some images, drawn at random."""
    starts = audit.starts()
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(audit.counts))
    seen = 0
    for image in order:
        rows = np.arange(starts[image], starts[image + 1])
        rows = rows[~audit.iscrowd[rows]]
        if len(rows):
            yield rows
        seen += len(rows)
        if seen >= _COVERAGE_BOXES:
            break


def measure_coverage(
    audit: SplitAudit, anchors: npt.NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Lay default boxes over the objects of a split; see `coverage.coverage_table`.

    Args:
        audit: The split.
        anchors: (A, 4) float32 cyxhw, relative to the image.
    """
    parts: list[BestMatches] = []
    areas: list[npt.NDArray[np.float64]] = []
    count = min(int((~audit.iscrowd).sum()), _COVERAGE_BOXES)
    with Progress(f"default boxes over {audit.name}", count, unit="box") as bar:
        for rows in _coverage_rows(audit):
            parts.append(best_matches(audit.boxes_rel[rows].astype(np.float32), anchors))
            areas.append(audit.areas_px[rows])
            bar.update(len(rows))
    if not parts:
        return {}
    together = BestMatches(
        np.concatenate([p.overlap for p in parts]), np.concatenate([p.lost for p in parts])
    )
    return coverage_table(together, np.concatenate(areas))
