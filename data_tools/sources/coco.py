"""COCO layout: one JSON of images, annotations and categories for a split, and a folder of images.

Reads any file of that layout (Objects365, LVIS- and CrowdHuman-style, one's own) without holding it in
memory. Boxes are checked in `box_checks.py`, images in `convert/prepare_image.py`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from data_tools.core.boxes import yxyx_from_xywh
from data_tools.core.errors import DataError
from data_tools.sources.coco_ids import LARGEST_ID, Ids
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import SourceSplit, require_file, require_folder, safe_name
from data_tools.sources.jsonstream import Batch, JsonStream
from data_tools.sources.table import SampleTable

_CROWD, _IGNORED = 1, 2


_Id = Annotated[int, msgspec.Meta(gt=-LARGEST_ID, lt=LARGEST_ID)]
_Pixels = Annotated[int, msgspec.Meta(gt=0, lt=1 << 30)]


# Entries as nearly all are; what differs is read, and judged, field by field.


class _Image(msgspec.Struct):
    id: _Id
    file_name: str
    height: _Pixels
    width: _Pixels


class _Annotation(msgspec.Struct):
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]
    area: float
    id: _Id = -1
    iscrowd: bool | int = 0
    ignore: bool | int = 0


def read_coco(
    root: Path, annotations: str, images: str, log: DefectLog, key: str = "dataset.splits"
) -> SourceSplit:
    """Read one split in COCO layout.

    Args:
        root: The data set's folder.
        annotations: The JSON file, relative to `root`.
        images: Folder of the images, relative to `root`.
        log: Where defects go.
        key: Setting that named the files, for messages.

    Returns:
        The split, sorted by image id.

    Raises:
        DataError: If a file or folder is missing, or the file is not COCO's layout.
    """
    path = root / annotations
    require_file(path, f"{key}.annotations={annotations}")
    require_folder(root / images, f"{key}.images={images}")
    reader = _Reader(path, annotations, log)
    reader.read()
    return SourceSplit(
        reader.table(root / images), reader.categories, log, {annotations: reader.sha256}
    )


def read_annotations(path: Path) -> SourceSplit:
    """Read a JSON in COCO layout by itself, for instance a converted set's `annotations.json`.

    Raises:
        DataError: If it is missing or not COCO's layout.
    """
    require_file(path, path.name)
    log = DefectLog({})
    reader = _Reader(path, path.name, log)
    reader.read()
    return SourceSplit(
        reader.table(path.parent), reader.categories, log, {path.name: reader.sha256}
    )


class _Reader:
    """Turns the entries of one file into arrays."""

    def __init__(self, path: Path, name: str, log: DefectLog) -> None:
        self._path, self._name, self._log = path, name, log
        self.categories: dict[int, str] = {}
        self.sha256 = ""
        self._ids = Ids()
        self._images: dict[int, tuple[str, int, int]] = {}
        # A million annotations: a row of four and one of five numbers each, nothing else is kept.
        self._integers = array("q")  # image, category, annotation, flags
        self._numbers = array("d")  # x, y, w, h, area

    def read(self) -> None:
        """Read the whole file.

        Raises:
            DataError: If it is not JSON or not of COCO's layout.
        """
        decoders: dict[str, Callable[[str], list[Any]]] = {
            "images": msgspec.json.Decoder(list[_Image]).decode,
            "annotations": msgspec.json.Decoder(list[_Annotation]).decode,
        }
        stream = JsonStream(self._path, decoders)
        seen: set[str] = set()
        handlers = {
            "images": self._image,
            "annotations": self._annotation,
            "categories": self._category,
        }
        for key, value in stream.entries():
            seen.add(key)
            handler = handlers.get(key)
            if isinstance(value, Batch):
                (self._images_as_usual if key == "images" else self._annotations)(value)
            elif handler is not None and value is not None:
                handler(value)
        self.sha256 = stream.sha256
        missing = [key for key in handlers if key not in seen]
        if missing:
            raise DataError(
                f"{self._path}: not COCO's layout: it has no {' and no '.join(missing)}; its keys are "
                f"{sorted(seen)}. Expected an object with images, annotations and categories."
            )
        for key, kept in (("categories", self.categories), ("images", self._images)):
            if not kept:
                refused = [d for d in self._log.defects if d.detail.startswith(f"{key}: ")]
                if not refused:
                    raise DataError(
                        f"{self._path}: the list of {key} is empty. Give a file with the whole ground truth, "
                        "such as COCO's instances_*.json."
                    )
                raise DataError(
                    f"{self._path}: none of its {len(refused)} {key} can be used; the first: "
                    f"{refused[0].detail}. See all of them with check=true."
                )

    def _malformed(self, list_name: str, entry: Any, error: Exception) -> None:
        shown = (
            {k: v for k, v in entry.items() if k != "segmentation"} if _is_dict(entry) else entry
        )
        missing = f"no field {error}" if isinstance(error, KeyError) else str(error)
        self._log.add("malformed_entry", self._name, f"{list_name}: {missing}: {str(shown)[:160]}")

    def _category(self, entry: Any) -> None:
        try:
            number, name = self._ids.number(entry["id"]), str(entry["name"])
            name.encode()  # raises a ValueError for half a surrogate pair, which no file can hold
        except (KeyError, TypeError, ValueError) as error:
            self._malformed("categories", entry, error)
            return
        if self.categories.get(number, name) != name or (
            number not in self.categories and name in self.categories.values()
        ):
            raise DataError(
                f"{self._path}: category {number} {name!r} collides with another of the same id or "
                "name. Give each category an id and a name of its own."
            )
        self.categories[number] = name

    def _image(self, entry: Any) -> None:
        try:
            number = self._ids.number(entry["id"])
            name = entry.get("file_name")
            if name is None and "coco_url" in entry:  # LVIS names the picture by its address only
                name = "/".join(str(entry["coco_url"]).split("/")[-2:])
            if name is None:
                raise KeyError("file_name")
            height, width = _pixels(entry.get("height")), _pixels(entry.get("width"))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self._malformed("images", entry, error)
            return
        self._keep_image(number, name, height, width)

    def _images_as_usual(self, batch: Iterable[_Image]) -> None:
        for one in batch:
            self._keep_image(one.id, one.file_name, one.height, one.width)

    def _keep_image(self, number: int, name: Any, height: int, width: int) -> None:
        if number in self._images:
            first = self._images[number][0]
            self._log.add(
                "duplicate_image_id",
                self._name,
                f"{name!r} has the id of {first!r}",
                image_id=number,
            )
            return
        safe = safe_name(name)
        if safe is None:
            self._log.add("path_escape", self._name, f"file name {name!r}", image_id=number)
            safe = ""
        self._images[number] = (safe, height, width)

    def _annotations(self, batch: Iterable[_Annotation]) -> None:
        for one in batch:
            flags = (_CROWD if one.iscrowd else 0) | (_IGNORED if one.ignore else 0)
            self._integers.extend((one.image_id, one.category_id, one.id, flags))
            self._numbers.extend(one.bbox)
            self._numbers.append(one.area)

    def _annotation(self, entry: Any) -> None:
        try:
            image_id = self._ids.number(entry["image_id"])
            category_id = self._ids.number(entry["category_id"])
            number = self._ids.number(entry.get("id", -1))
            flags = _CROWD if entry.get("iscrowd") else 0
            if entry.get("ignore"):
                flags |= _IGNORED
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self._malformed("annotations", entry, error)
            return
        try:
            x, y, w, h = map(float, entry["bbox"])
        except (KeyError, TypeError, ValueError, OverflowError):
            self._log.add(
                "malformed_box",
                self._name,
                f"bbox {str(entry.get('bbox'))[:80]}",
                image_id=image_id,
                annotation_id=number,
            )
            return
        try:
            area = float(entry["area"])
        except (KeyError, TypeError, ValueError, OverflowError):
            area = math.nan  # none given: the box's own, filled in by `table`
        self._integers.extend((image_id, category_id, number, flags))
        self._numbers.extend((x, y, w, h, area))

    def table(self, folder: Path) -> SampleTable:
        """Sort everything by image id and annotation id; annotations of unknown images are reported."""
        final = self._ids.final(self._images)
        columns = np.frombuffer(self._integers, np.int64).reshape(-1, 4).T
        image_of, category_of, numbers = (final(column) for column in columns[:3])
        without = columns[2] == -1
        numbers[without] = numbers.max(initial=0) + 1 + np.arange(int(without.sum()))
        listed = np.array(list(self._images), np.int64)
        image_ids = final(listed)
        order = np.argsort(image_ids, kind="stable")
        image_ids = image_ids[order]
        entries = [self._images[key] for key in listed[order].tolist()]
        place = np.searchsorted(image_ids, image_of)
        known = image_ids[np.minimum(place, len(image_ids) - 1)] == image_of
        for k in np.flatnonzero(~known):
            self._log.add(
                "unknown_image",
                self._name,
                f"there is no image {int(image_of[k])}",
                image_id=int(image_of[k]),
                annotation_id=int(numbers[k]),
            )
        rows = np.lexsort((numbers, place))
        rows = rows[known[rows]]
        measures = np.frombuffer(self._numbers, np.float64).reshape(-1, 5)[rows]
        xywh, areas = measures[:, :4], measures[:, 4]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported later
            areas = np.where(np.isfinite(areas), areas, xywh[:, 2] * xywh[:, 3])
            edges = yxyx_from_xywh(xywh).astype(np.float64)
        counts = np.bincount(place[rows], minlength=len(image_ids))
        table = SampleTable(
            root=folder,
            image_ids=image_ids,
            file_names=[name for name, _, _ in entries],
            heights=np.array([height for _, height, _ in entries], np.int32),
            widths=np.array([width for _, _, width in entries], np.int32),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            boxes_yxyx_px=edges,
            category_ids=category_of[rows],
            iscrowd=(columns[3][rows] & _CROWD) > 0,
            difficult=(columns[3][rows] & _IGNORED) > 0,
            areas_px=areas,
            annotation_ids=numbers[rows],
        )
        return table.take([k for k, name in enumerate(table.file_names) if name])


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _pixels(value: Any) -> int:
    """A declared side in pixels; 0 stands for none declared."""
    if value is None:
        return 0
    number = int(value)
    return number if 0 < number < 1 << 30 else 0
