"""Detections of a whole split as flat arrays: gathering, ordering, and COCO's results file.

What they are worth is computed in `coco_ap.py` and `voc_ap.py`; a single image's are
`postprocess.Detections`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import xywh_from_yxyx
from data_tools.core.errors import DataError
from data_tools.core.files import replacing
from data_tools.core.json_dataclass import read_json
from training.boxes.postprocess import Detections

_ROWS_A_WRITE = 20000


@dataclass(frozen=True)
class DetectionTable:
    """Detections of many images; about 56 bytes each, so 100 on each of 40,000 images take 224 MB.

    Args:
        image_id: (D,) int64, the data set's own ids, rising.
        category_id: (D,) int64, the data set's own ids.
        boxes_xywh_px: (D, 4) float64, COCO's `[x, y, w, h]`.
        score: (D,) float64. Within an image the order is the one detections were given in.
    """

    image_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int64]
    boxes_xywh_px: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)

    def where(self, keep: npt.NDArray[np.bool_]) -> DetectionTable:
        """Return the detections where `keep` (D,) is true."""
        return DetectionTable(
            self.image_id[keep], self.category_id[keep], self.boxes_xywh_px[keep], self.score[keep]
        )

    def above(self, floor: float) -> DetectionTable:
        """Return the detections that score more than `floor`."""
        return self.where(self.score > floor)

    def to_bytes(self) -> bytes:
        """Return the table as bytes, to travel between ranks."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            image_id=self.image_id,
            category_id=self.category_id,
            boxes=self.boxes_xywh_px,
            score=self.score,
        )
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> DetectionTable:
        """Read what `to_bytes` made."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return DetectionTable(
                arrays["image_id"], arrays["category_id"], arrays["boxes"], arrays["score"]
            )

    @staticmethod
    def merge(tables: Sequence[DetectionTable]) -> DetectionTable:
        """Join the tables of several ranks and sort by image: the result does not tell how many."""
        image_id = np.concatenate([t.image_id for t in tables])
        order = np.argsort(image_id, kind="stable")
        return DetectionTable(
            image_id[order],
            np.concatenate([t.category_id for t in tables])[order],
            np.concatenate([t.boxes_xywh_px for t in tables])[order],
            np.concatenate([t.score for t in tables])[order],
        )

    def write_json(self, path: Path) -> None:
        """Write COCO's results file, whole or not at all, a piece at a time.

        Numbers are written with all their digits: reading the file back gives the same table.
        """
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write("[")
            for start in range(0, len(self), _ROWS_A_WRITE):
                rows = self._rows(start, start + _ROWS_A_WRITE)
                file.write(("" if start == 0 else ",") + "\n")
                file.write(",\n".join(json.dumps(row) for row in rows))
            file.write("\n]\n")

    def _rows(self, start: int, stop: int) -> list[dict[str, object]]:
        columns = (
            self.image_id[start:stop].tolist(),
            self.category_id[start:stop].tolist(),
            self.boxes_xywh_px[start:stop].tolist(),
            self.score[start:stop].tolist(),
        )
        return [
            {"image_id": image, "category_id": category, "bbox": box, "score": score}
            for image, category, box, score in zip(*columns, strict=True)
        ]


class TableBuilder:
    """Collects the detections of one image after the other.

    Args:
        category_ids: (C,) the data set's category id of label 1, 2, ... C.
    """

    def __init__(self, category_ids: Sequence[int]) -> None:
        self._category_ids = np.array(category_ids, np.int64)
        self._parts: list[tuple[int, Detections]] = []

    def add(self, image_id: int, detections: Detections) -> None:
        """Take one image's detections."""
        self._parts.append((image_id, detections))

    def table(self) -> DetectionTable:
        """Return all that was taken, sorted by image."""
        parts = sorted(self._parts, key=lambda part: part[0])
        labels = np.concatenate([np.empty(0, np.int64)] + [d.labels for _, d in parts])
        boxes = np.concatenate([np.empty((0, 4))] + [d.boxes_yxyx_px for _, d in parts])
        return DetectionTable(
            np.repeat(np.array([i for i, _ in parts], np.int64), [len(d) for _, d in parts]),
            self._category_ids[labels.astype(np.int64) - 1],
            np.asarray(xywh_from_yxyx(boxes), np.float64),
            np.concatenate([np.empty(0)] + [d.scores for _, d in parts]).astype(np.float64),
        )


def read_results(path: str | Path) -> DetectionTable:
    """Read a COCO results file.

    Raises:
        DataError: If it is missing or is no list of results.
    """
    try:
        return from_results(read_json(Path(path)))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(
            f"{path}: not a COCO results file ({error!r}). Expected a list of image_id, "
            "category_id, bbox and score."
        ) from error


def from_results(results: Iterable[dict[str, object]]) -> DetectionTable:
    """Build the table from COCO results, keeping their order within an image."""
    rows = list(results)
    image_id = np.array([row["image_id"] for row in rows], np.int64)
    order = np.argsort(image_id, kind="stable")
    return DetectionTable(
        image_id[order],
        np.array([row["category_id"] for row in rows], np.int64)[order],
        np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)[order],
        np.array([row["score"] for row in rows], np.float64)[order],
    )
