"""`report.html` of the audit: figures with what to do about them, every finding, and the pictures
with suspicious boxes.

How a page looks and is written is the business of `data_tools/pages/`; which pictures are shown is
decided in `page_pictures.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from data_tools.audit.findings import SplitAudit
from data_tools.audit.page_pictures import LAYERS, TAG_OF_FINE, WHOLE, kinds_present, pictures_of
from data_tools.convert.settings import ConvertSettings
from data_tools.pages.page import NUMBER, PERCENT, TEXT, Chart, Page, Table
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.raw_split import RawDataset

_MOST_FINDINGS = 2000
_CURVE = 50

REMEDIES = {
    "missing_image": "find the files, or take the entries out",
    "undecodable_image": "get the file again from where it came from",
    "damaged_image": "get the file again; half a picture teaches boxes of the other half wrongly",
    "size_mismatch": "were picture or boxes scaled? policy.size_mismatch=fix scales the boxes",
    "missing_annotation": "label them, or take them as negatives: policy.missing_annotation=keep",
    "lost_all_boxes": "look at what the boxes lost were",
    "duplicate_image": "policy.duplicate_image=skip, unless it is meant to weigh more",
    "similar_image": "frames of one video? dataset.group=... keeps them on one side of a cut",
    "copies_disagree": "one of the labellings is wrong: mend it, or policy.copies_disagree=skip",
    "leak": "policy.leak=skip: the score on pictures that were trained on is too good",
    "box_degenerate": "a slip of the mouse: mend or ignore",
    "box_outside": "few: nothing; many: do boxes and pictures belong together?",
    "duplicate_box": "policy.duplicate_box=skip: a copy can never be found, and costs recall",
    "similar_box": "look: one object drawn twice? policy.similar_box=skip keeps the first",
    "classes_overlap": "look: which class is it? mend, or merge classes (dataset.merge)",
    "area_not_positive": "nothing: the box's own is taken",
    "area_mismatch": "policy.area_mismatch=fix, unless areas are those of outlines",
    "box_whole_image": "a class for the whole picture is no detection: look whether it is meant",
    "size_far_off": "look: another class, a slip of the mouse, or a rare object",
    "aspect_far_off": "look: an object cut by the edge is fine, a slip of the mouse is not",
    "class_names_alike": "dataset.merge joins them",
    "unused_class": "dataset.classes without it",
}
"""What a person should do about a kind, where the kind's meaning does not say so."""


def audit_page(
    report: dict[str, Any], audits: list[SplitAudit], raw: RawDataset, settings: ConvertSettings
) -> Page:
    """Build the page.

    Args:
        report: The content of `audit.json`.
        audits: What was found in each split.
        raw: The data set, for its pictures.
        settings: Settings of the command: `check_report` pictures at most.
    """
    pictures = pictures_of(audits, raw, settings)
    suspicious = sum(bool(p.note) for p in pictures)
    return Page(
        title=f"Check of {settings.dataset.root or settings.dataset.kind}",
        summary=_summary(report),
        tables=[
            _kinds(report),
            *_advice(report),
            _classes(report, audits),
            *_coverage(report),
            *_findings(audits),
        ],
        charts=[_sizes(audits)],
        pictures=pictures,
        pictures_note=f"{suspicious} pictures with findings, each kind in turn; the others are a "
        "sample. What is suspicious is dashed and named; solid boxes are those that nothing is "
        f"known against. A finding about a picture as a whole has the class {WHOLE}.",
        layers=LAYERS,
        classes=[*report["classes"], WHOLE],
        tags=[TAG_OF_FINE, *kinds_present(audits)],
        tags_title="kind",
    )


def _summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("classes", str(len(report["classes"])))]
    for name, split in report["splits"].items():
        usable, counted = split["usable"], split["found"]
        rows += [
            (f"{name}: images", f"{usable['images']} of {counted['images']}"),
            (f"{name}: boxes", f"{usable['boxes']} of {counted['boxes']}"),
            (f"{name}: without boxes", str(split["images_without_boxes"])),
        ]
    return rows


def _kinds(report: dict[str, Any]) -> Table:
    rows = [
        [
            name,
            kind,
            sum(actions.values()),
            ", ".join(f"{count} {action}" for action, count in actions.items()),
            KINDS[kind].meaning,
            REMEDIES.get(kind, ""),
        ]
        for name, split in report["splits"].items()
        for kind, actions in split["defects"].items()
    ]
    columns = [("split", TEXT), ("kind", TEXT), ("count", NUMBER), ("policy", TEXT)]
    return Table(
        "Findings by kind",
        [*columns, ("what is wrong", TEXT), ("what to do", TEXT)],
        rows,
        "policy.KIND=... decides what the converter does about each; nothing is left out without a "
        f"line in its report.json. {'' if rows else 'Nothing was found.'}",
    )


def _advice(report: dict[str, Any]) -> list[Table]:
    advice = report["advice"]
    if not advice.get("list"):
        return []
    rows = [
        [
            one["title"],
            one["before"].get("all"),
            one["after"].get("all"),
            one["before"].get("small"),
            one["after"].get("small"),
            " ".join(one["overrides"]),
            one["words"],
        ]
        for one in advice["list"]
    ]
    columns = [
        ("what", TEXT),
        ("reached now", PERCENT),
        ("then", PERCENT),
        ("small now", PERCENT),
        ("small then", PERCENT),
        ("settings of train.py", TEXT),
        ("words", TEXT),
    ]
    return [
        Table(
            f"What would help to learn {advice['split']} with model={report['model']}",
            columns,
            rows,
            "Reached: the best default box overlaps the object (IoU) by 0.5 or more.",
        )
    ]


def _classes(report: dict[str, Any], audits: list[SplitAudit]) -> Table:
    names = report["classes"]
    images = []
    for audit in audits:
        of_image = audit.image_of_box()
        pairs = np.unique(np.stack([audit.labels.astype(np.int64), of_image]), axis=1)
        images.append(np.bincount(pairs[0], minlength=len(names) + 1)[1:].tolist())
    boxes = [list(split["boxes_by_class"].values()) for split in report["splits"].values()]
    columns = [("class", TEXT)]
    for audit in audits:
        columns += [(f"boxes, {audit.name}", NUMBER), (f"images, {audit.name}", NUMBER)]
    rows = [
        [name, *(value for k in range(len(audits)) for value in (boxes[k][n], images[k][n]))]
        for n, name in enumerate(names)
    ]
    return Table(
        "Classes",
        columns,
        rows,
        "A class that measures on a handful of boxes has no AP worth the name; one that is rare in "
        "training wants more pictures or a sampler.",
    )


def _coverage(report: dict[str, Any]) -> list[Table]:
    rows = [
        [name, size, int(row["objects"])]
        + [row[key] for key in ("at_least_0.5", "at_least_0.4", "forced_only", "unmatched")]
        for name, split in report["splits"].items()
        for size, row in split.get("coverage", {}).items()
    ]
    columns = [("split", TEXT), ("size", TEXT), ("objects", NUMBER)]
    columns += [(name, PERCENT) for name in (">= 0.5", ">= 0.4", "forced only", "unmatched")]
    note = (
        "Best overlap of each object. Small objects that are only matched by force are hardly "
        "learned: see the advice. Unmatched ones share their default box with another object."
    )
    return [Table(f"Default boxes of {report['model']}", columns, rows, note)] if rows else []


def _findings(audits: list[SplitAudit]) -> list[Table]:
    every = ((audit.name, defect) for audit in audits for defect in audit.defects)
    rows = [
        [name, d.kind, d.file, d.image_id, d.annotation_id, d.detail]
        for name, d in islice(every, _MOST_FINDINGS)
    ]
    count = sum(len(audit.defects) for audit in audits)
    columns = [("split", TEXT), ("kind", TEXT), ("file", TEXT), ("image", NUMBER)]
    note = f"{len(rows)} of {count}; all are in audit.csv."
    columns += [("annotation", NUMBER), ("what", TEXT)]
    return [Table("Every finding", columns, rows, note)] if rows else []


def _sizes(audits: list[SplitAudit]) -> Chart:
    marks = np.linspace(0, 1, _CURVE + 1)
    series: list[tuple[str, Sequence[float], Sequence[float | None]]] = []
    for audit in audits:
        sides = audit.boxes_rel[:, 2:] - audit.boxes_rel[:, :2]
        side = np.sort(np.sqrt(np.maximum(sides.prod(axis=1), 0)))
        if len(side):
            shares = np.searchsorted(side, marks, side="right") / len(side)
            series.append((audit.name, marks.round(3).tolist(), shares.round(4).tolist()))
    return Chart(
        "Boxes up to a size",
        "side of the box, share of the picture's",
        series,
        "Splits that should be alike have one curve. A curve that rises at the far left is of "
        "small objects: a larger input, or tiles.",
    )
