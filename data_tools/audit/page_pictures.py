"""The pictures on the audit's page: those with suspicious boxes, each kind in turn, then a sample
of the others.

What is suspicious was found before; pictures are read again here, a limited number of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.audit.findings import SplitAudit
from data_tools.convert.prepare_image import prepare_image
from data_tools.convert.settings import ConvertSettings
from data_tools.core.progress import Progress
from data_tools.images.decode import decode_bgr
from data_tools.pages.page import Box, Picture
from data_tools.pages.thumbnails import LARGE, ThumbnailBudget
from data_tools.shards.writer import MAX_PAGE_BYTES
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import Defect, DefectLog
from data_tools.sources.raw_split import RawDataset

LAYERS = ("boxes", "suspicious boxes")
TAG_OF_FINE = "nothing found"
WHOLE = "(whole picture)"
"""The class of a finding that is about a picture, or about a box that is left out."""

_SAMPLE = 48
_MOST_BOXES = 60
"""Boxes drawn on a picture at most, the suspicious ones first."""

_NOTE_LENGTH = 400


@dataclass
class _Entry:
    """A picture that is shown: where it is, and what was found in it."""

    split: int
    index: int
    defects: list[Defect] = field(default_factory=list)


def pictures_of(
    audits: list[SplitAudit], raw: RawDataset, settings: ConvertSettings
) -> list[Picture]:
    """Choose, read and draw the pictures of the page.

    Args:
        audits: What was found in each split.
        raw: The data set, its splits in the same order.
        settings: Settings of the command; `check_report` is how many pictures are shown at most.
    """
    most, kinds = settings.check_report, kinds_present(audits)
    entries = _suspicious(audits)
    seen = {(item.split, item.index) for item in entries}
    chosen = [*entries[:most], *_sample(audits, seen)][: max(most, 0)]
    image = replace(settings.image, max_side=0, quality=0)
    budget, pictures = ThumbnailBudget(), []
    with Progress("writing report.html", len(chosen), enabled=bool(chosen)) as bar:
        for item in chosen:
            audit, table = audits[item.split], raw.splits[item.split].table
            number = audit.files[item.index][1]
            sample = table[int(np.searchsorted(table.image_ids, number))]
            prepared = prepare_image(sample, image, DefectLog({}), MAX_PAGE_BYTES)
            jpeg = None
            if prepared is not None and budget.num_bytes:
                jpeg = _thumbnail(prepared.data, budget)
            pictures.append(_picture(item, audit, kinds, jpeg))
            bar.update()
    return pictures


def kinds_present(audits: list[SplitAudit]) -> list[str]:
    """Return the kinds of all findings, in the order of reports."""
    kinds = {defect.kind for audit in audits for defect in audit.defects}
    return [kind for kind in KINDS if kind in kinds]


def _suspicious(audits: list[SplitAudit]) -> list[_Entry]:
    """Pictures with findings: one of each kind, then the next of each, and so on."""
    queues: dict[str, list[_Entry]] = defaultdict(list)
    for split, audit in enumerate(audits):
        index_of = {entry[1]: k for k, entry in enumerate(audit.files)}
        entries: dict[int, _Entry] = {}
        for defect in audit.defects:
            if defect.image_id not in index_of:
                continue
            index = index_of[defect.image_id]
            item = entries.setdefault(index, _Entry(split, index))
            if all(other.kind != defect.kind for other in item.defects):
                queues[defect.kind].append(item)
            item.defects.append(defect)
    order: dict[tuple[int, int], _Entry] = {}
    for turn in range(max(map(len, queues.values()), default=0)):
        for kind in KINDS:
            if turn < len(queues[kind]):
                item = queues[kind][turn]
                order.setdefault((item.split, item.index), item)
    return list(order.values())


def _sample(audits: list[SplitAudit], seen: set[tuple[int, int]]) -> Iterator[_Entry]:
    """Pictures without findings, spread evenly over each split."""
    for split, audit in enumerate(audits):
        count = min(_SAMPLE // len(audits) + 1, len(audit.files))
        for index in np.linspace(0, len(audit.files) - 1, count).astype(int).tolist():
            if (split, index) not in seen:
                yield _Entry(split, index)


def _thumbnail(data: bytes, budget: ThumbnailBudget) -> bytes | None:
    encoded = np.frombuffer(data, np.uint8)
    image = decode_bgr(encoded)
    if image is None:
        return None
    scale = LARGE / max(image.shape[:2])
    if scale < 0.5:  # in two steps: the budget may want a small one, and looks at all of it
        size = [max(1, round(v * scale)) for v in (image.shape[1], image.shape[0])]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return budget.make(image)


def _picture(item: _Entry, audit: SplitAudit, kinds: list[str], jpeg: bytes | None) -> Picture:
    name, _, height, width, _ = audit.files[item.index]
    first = audit.starts()[item.index]
    rows = np.arange(first, first + audit.counts[item.index])
    suspicious: list[Box] = []
    used: set[int] = set()
    for defect in item.defects:
        tag = 1 + kinds.index(defect.kind)
        row = _row_of(defect, audit, rows)
        if row is None:
            suspicious.append(Box(1, len(audit.names), tag, (0, 0, width, height)))
        else:
            used.add(row)
            suspicious.append(
                Box(1, int(audit.labels[row]) - 1, tag, _xywh(audit, row, (height, width)))
            )
    plain = [
        Box(0, int(audit.labels[row]) - 1, 0, _xywh(audit, row, (height, width)))
        for row in rows.tolist()
        if row not in used
    ]
    words = "; ".join(f"{d.kind}: {d.detail}" for d in item.defects)
    note = words if len(words) <= _NOTE_LENGTH else words[: _NOTE_LENGTH - 1] + "…"
    suspicious = suspicious[:_MOST_BOXES]
    # The last is drawn on top.
    boxes = [*plain[: _MOST_BOXES - len(suspicious)], *suspicious]
    return Picture(f"{audit.name}: {name}", width, height, jpeg, note, boxes)


def _row_of(defect: Defect, audit: SplitAudit, rows: npt.NDArray[np.int64]) -> int | None:
    """The box that a finding is about; None where it is about the picture, or the box is out."""
    if defect.annotation_id is None:
        return None
    matches = rows[audit.annotation_ids[rows] == defect.annotation_id]
    return int(matches[0]) if len(matches) else None


def _xywh(audit: SplitAudit, row: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = size
    y1, x1, y2, x2 = audit.boxes_rel[row].tolist()
    return x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height
