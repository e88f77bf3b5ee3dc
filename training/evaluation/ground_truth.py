"""The ground truth of a split as flat arrays, read from a COCO annotation file.

Matching detections with it is done in `coco_matching.py`; boxes are `[x, y, w, h]` here, as in the
file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError
from data_tools.core.json_dataclass import read_json
from data_tools.sources.coco_fields import area as as_area
from data_tools.sources.coco_fields import flag

_AGAIN = "Copy the file again, or convert the set again."


@dataclass(frozen=True)
class GroundTruth:
    """All annotated boxes of a set of images; rows are sorted by image, in the file's order within.

    Args:
        image_ids: (I,) int64, every image, rising, also those without boxes.
        category_ids: (C,) int64, every category, rising.
        names: (C,) category names, in the order of `category_ids`.
        image: (G,) int64, position in `image_ids` of each box.
        category: (G,) int64, position in `category_ids` of each box.
        boxes_xywh_px: (G, 4) float64.
        area: (G,) float64, the file's own area (a mask's, where it has masks).
        iscrowd: (G,) bool; False where the file does not say.
        difficult: (G,) bool; VOC's flag, which the converter stores as `ignore`.
        annotation_ids: (G,) int64, the file's own; -1 where it has none.
        file_names: (I,) names of the images; empty where the file does not say.
        sizes: (I, 2) int64 height and width of the images; 0 where the file does not say.
    """

    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    names: tuple[str, ...]
    image: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    boxes_xywh_px: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    iscrowd: npt.NDArray[np.bool_]
    difficult: npt.NDArray[np.bool_]
    annotation_ids: npt.NDArray[np.int64]
    file_names: tuple[str, ...]
    sizes: npt.NDArray[np.int64]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    @property
    def unique_names(self) -> list[str]:
        """A name for each category; two that share theirs are distinguished by their ids."""
        return [
            name if self.names.count(name) == 1 else f"{name} ({number})"
            for name, number in zip(self.names, self.category_ids, strict=True)
        ]

    def only_images(self, keep: npt.NDArray[np.bool_]) -> GroundTruth:
        """Return the ground truth of the images where `keep` (I,) is true."""
        position = np.cumsum(keep) - 1
        rows = keep[self.image]
        return GroundTruth(
            self.image_ids[keep],
            self.category_ids,
            self.names,
            position[self.image[rows]],
            self.category[rows],
            self.boxes_xywh_px[rows],
            self.area[rows],
            self.iscrowd[rows],
            self.difficult[rows],
            self.annotation_ids[rows],
            tuple(name for name, kept in zip(self.file_names, keep, strict=True) if kept),
            self.sizes[keep],
        )

    def published_images(self) -> npt.NDArray[np.bool_]:
        """Return (I,) which images the published tools score: some box, and no crowd box."""
        boxes = np.bincount(self.image, minlength=self.num_images)
        crowds = np.bincount(self.image, weights=self.iscrowd, minlength=self.num_images)
        return (boxes > 0) & (crowds == 0)


def read_ground_truth(path: str | Path) -> GroundTruth:
    """Read a COCO annotation file, of this project or anybody's.

    `iscrowd`, `ignore` and `area` may be absent or null (no crowd, not ignored, width times
    height).

    Raises:
        DataError: If the file is missing or is no COCO annotation file.
    """
    try:
        content = read_json(Path(path))
    except FileNotFoundError:
        raise DataError(f"{path}: not found; it is part of a converted split.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}). {_AGAIN}") from error
    try:
        return from_coco(content["images"], content["annotations"], content["categories"])
    except DataError as error:
        raise DataError(f"{path}: {error} {_AGAIN}") from error
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a COCO annotation file ({error!r}). {_AGAIN}") from error


def from_coco(
    images: Sequence[dict[str, Any]],
    annotations: Sequence[dict[str, Any]],
    categories: Sequence[dict[str, Any]],
) -> GroundTruth:
    """Build the ground truth from COCO's three lists.

    Raises:
        LookupError: If a field is missing.
        ValueError: If a box is none.
        DataError: If an annotation names an image or a category that is not listed.
    """
    by_id = {
        int(entry["id"]): entry for entry in sorted(images, key=lambda entry: int(entry["id"]))
    }
    image_ids = np.array(list(by_id), np.int64)
    classes = {int(entry["id"]): str(entry["name"]) for entry in categories}
    if not classes:
        raise ValueError("it lists no categories")
    category_ids = np.array(sorted(classes), np.int64)
    owner = np.array([a["image_id"] for a in annotations], np.int64)
    kind = np.array([a["category_id"] for a in annotations], np.int64)
    boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    if len(boxes) != len(annotations) or not np.isfinite(boxes).all():
        raise ValueError("a bbox is not four finite numbers")
    declared = np.array([as_area(a.get("area")) for a in annotations], np.float64)
    area = np.where(np.isfinite(declared), declared, boxes[:, 2] * boxes[:, 3])
    crowd = np.array([flag(a.get("iscrowd")) for a in annotations], bool)
    difficult = np.array([flag(a.get("ignore")) for a in annotations], bool)
    image = positions(image_ids, owner, "image_id of an annotation")
    category = positions(category_ids, kind, "category_id of an annotation")
    order = np.argsort(image, kind="stable")
    return GroundTruth(
        image_ids,
        category_ids,
        tuple(classes[int(c)] for c in category_ids),
        image[order],
        category[order],
        boxes[order],
        area[order],
        crowd[order],
        difficult[order],
        np.array([_id_of(a) for a in annotations], np.int64)[order],
        tuple(str(entry.get("file_name", "")) for entry in by_id.values()),
        np.array(
            [[_side(entry.get(k)) for k in ("height", "width")] for entry in by_id.values()],
            np.int64,
        ).reshape(-1, 2),
    )


def _id_of(annotation: dict[str, Any]) -> int:
    number = annotation.get("id")
    return number if type(number) is int and -(2**63) <= number < 2**63 else -1


def _side(value: Any) -> int:
    return value if type(value) is int and 0 < value < 2**31 else 0


def positions(
    known: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], what: str
) -> npt.NDArray[np.int64]:
    """Return where each of `wanted` stands in the rising array `known`.

    Args:
        known: (M,) int64, rising.
        wanted: (N,) int64.
        what: What they are, for the message.

    Returns:
        (N,) int64, 0..M-1.

    Raises:
        DataError: If one of them is not there; the message begins with `what`.
    """
    index = np.searchsorted(known, wanted)
    inside = index < len(known)
    known_ids = np.zeros(len(wanted), bool)
    known_ids[inside] = known[index[inside]] == wanted[inside]
    if not known_ids.all():
        missing = sorted(set(wanted[~known_ids].tolist()))
        raise DataError(f"{what}: {missing[:5]} not in the data set ({len(missing)} unknown ids).")
    return index.astype(np.int64)
