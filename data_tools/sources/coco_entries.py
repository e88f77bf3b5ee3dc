"""The entries of a COCO JSON as arrays: the usual ones typed at once, the others field by field.

What the single fields may hold is defined in `coco_fields.py`; `coco.py` makes a table of the
arrays.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from data_tools.core.errors import DataError
from data_tools.sources import coco_columns as columns
from data_tools.sources import coco_fields as fields
from data_tools.sources.box_checks import LARGEST_PX
from data_tools.sources.coco_columns import CROWD, IGNORED, Annotation, Columns, Id, flags_of
from data_tools.sources.coco_ids import Ids
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import safe_name
from data_tools.sources.jsonstream import JsonLists, entries_of, no_text, parse, read_lists

_Pixels = Annotated[int, msgspec.Meta(gt=0, lt=1 << 30)]


# Entries as nearly all are; what differs is read, and judged, field by field.


class _Image(msgspec.Struct):
    id: Id
    file_name: str
    height: _Pixels
    width: _Pixels


class CocoEntries:
    """Turns the entries of one file into arrays.

    Args:
        path: The file.
        name: What reports call it.
        log: Where defects go.
        find: Finds the picture that a name means which may be none of this folder as it is written
            (a path of another machine, percent-encoded); None if there is no such picture.
    """

    def __init__(
        self, path: Path, name: str, log: DefectLog, find: Callable[[str], str | None]
    ) -> None:
        self._path, self.name, self.log, self._find = path, name, log, find
        self.categories: dict[int, str] = {}
        self.parents: frozenset[str] = frozenset()
        self.sha256 = ""
        self.image_ids, self.category_ids, self.annotation_ids = Ids(), Ids(), Ids()
        self.images: dict[int, tuple[str, int, int]] = {}
        # A million annotations: a row of four and one of five numbers each, nothing else is kept.
        self.integers = array("q")  # image, category, annotation, flags
        self.numbers = array("d")  # x, y, w, h, area

    def read(self) -> None:
        """Read the whole file.

        Raises:
            DataError: If it is not JSON or not of COCO's layout.
        """
        names = ("images", "annotations", "categories")
        with columns.other_half(self._is_large()) as half:
            lists = read_lists(self._path, names, "annotations", columns.LARGE)
            self._read_lists(lists, names, half)

    def _is_large(self) -> bool:
        return self._path.is_file() and self._path.stat().st_size >= columns.LARGE

    def _read_lists(
        self, lists: JsonLists, names: tuple[str, ...], half: columns.OtherHalf
    ) -> None:
        missing = [key for key in names if key not in lists.keys]
        if missing:
            raise DataError(
                f"{self._path}: not COCO's layout: it has no {' and no '.join(missing)}; its keys "
                f"are {sorted(lists.keys)}. Expected an object with images, annotations and "
                "categories."
            )
        self.sha256 = lists.sha256
        self._read_images(lists)
        if lists.whole is None or not self._read_pieces(lists, half):
            self._read_annotations(lists.entries.get("annotations"), lists.whole)
        self._read_categories(lists)
        for key, kept in (("categories", self.categories), ("images", self.images)):
            if not kept:
                refused = [d for d in self.log.defects if d.detail.startswith(f"{key}: ")]
                if not refused:
                    raise DataError(
                        f"{self._path}: the list of {key} is empty. Give a file with the whole "
                        "ground truth, such as COCO's instances_*.json."
                    )
                raise DataError(
                    f"{self._path}: none of its {len(refused)} {key} can be used; the first: "
                    f"{refused[0].detail}. See all of them with check=true."
                )

    def _parse(self, raw: msgspec.Raw) -> Any:
        try:
            return parse(raw)
        except UnicodeDecodeError as error:
            raise no_text(self._path, error) from error

    def _malformed(self, list_name: str, entry: Any, error: Exception) -> None:
        if isinstance(entry, msgspec.Raw):  # Python cannot read it either
            entry = bytes(memoryview(entry)[:160]).decode(errors="replace")
        shown = (
            {k: v for k, v in entry.items() if k != "segmentation"} if _is_dict(entry) else entry
        )
        missing = f"no field {error}" if isinstance(error, KeyError) else str(error)
        self.log.add("malformed_entry", self.name, f"{list_name}: {missing}: {str(shown)[:160]}")

    def _read_categories(self, lists: JsonLists) -> None:
        names: dict[int, str] = {}
        parent_of: dict[int, Any] = {}
        used = set(self.integers[1::4])
        for raw in lists.entries["categories"]:
            entry: Any = raw
            try:
                entry = self._parse(raw)
                number = self.category_ids.number(entry["id"])
                name = fields.class_name(entry["name"])
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                self._malformed("categories", entry, error)
                continue
            same_name = [other for other, known in names.items() if known == name]
            parent = entry.get("supercategory")
            if number not in names and same_name:
                # Roboflow's root, parent of all, may have the name of its only child.
                pair = {number: parent, same_name[0]: parent_of[same_name[0]]}
                root = [k for k in pair if k not in used and pair[k] != name]
                if len(root) == 1 and name in pair.values():
                    detail = f"category {name!r} has no box, and its child has its name"
                    stops = self.log.action("unused_class") == "error"
                    action = "error" if stops else "skip"
                    self.log.add("unused_class", self.name, detail, action=action)
                    if root[0] == number:
                        continue
                    del names[root[0]]
                    same_name = []
            if names.get(number, name) != name or (number not in names and same_name):
                raise DataError(
                    f"{self._path}: category {entry['id']!r} {name!r} collides with another of the "
                    "same id or name. Give each category an id and a name of its own."
                )
            names[number], parent_of[number] = name, parent
        self.categories = names
        self.parents = frozenset(
            parent
            for number, parent in parent_of.items()
            if isinstance(parent, str) and parent != names.get(number)
        )

    def _read_images(self, lists: JsonLists) -> None:
        decode = msgspec.json.Decoder(_Image).decode
        for raw in lists.entries["images"]:
            try:
                one = decode(raw)
            except (ValueError, RecursionError):
                self._image(raw)
                continue
            self._keep_image(one.id, one.file_name, one.height, one.width)

    def _image(self, raw: msgspec.Raw) -> None:
        entry: Any = raw
        try:
            entry = self._parse(raw)
            number = self.image_ids.number(entry["id"])
            name = entry.get("file_name")
            if name is None and isinstance(entry.get("coco_url"), str):
                name = "/".join(entry["coco_url"].split("/")[-2:])  # LVIS has only the address
            if name is None:
                raise KeyError("file_name")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self._malformed("images", entry, error)
            return
        sides = (fields.pixels(entry.get("height")), fields.pixels(entry.get("width")))
        self._keep_image(number, name, *sides)

    def _keep_image(self, number: int, name: Any, height: int, width: int) -> None:
        if number in self.images:
            first = self.images[number][0]
            self.log.add(
                "duplicate_image_id",
                self.name,
                f"{name!r} has the id of {first!r}",
                image_id=number,
            )
            return
        safe = safe_name(name)
        if isinstance(name, str) and (safe is None or "%" in name):
            safe = self._find(name) or safe
        if safe is None:
            self.log.add("path_escape", self.name, f"file name {name!r}", image_id=number)
            safe = ""
        self.images[number] = (safe, height, width)

    def _read_pieces(self, lists: JsonLists, half: columns.OtherHalf) -> bool:
        """Read the annotations of a large file; False, and none kept, if they were cut wrongly."""
        text = memoryview(lists.whole)  # type: ignore[arg-type]

        def read(start: int, stop: int) -> bytearray:
            return bytearray(text[start:stop])

        pieces = half.pieces(read, self._path, lists.offset, len(text), columns.PIECE)
        others: dict[int, list[msgspec.Raw]] = {}
        for k, piece in enumerate(pieces):
            if not isinstance(piece, Columns):
                data = read(piece.start, piece.stop)
                try:
                    others[k] = entries_of("", columns.as_list(data, len(data)))
                except (msgspec.DecodeError, RecursionError):
                    return False  # what was taken for the end of an entry lies within one
        for k in range(len(pieces)):
            piece, pieces[k] = pieces[k], columns.Span(0, 0)  # not held twice for long
            if isinstance(piece, Columns):
                self.integers.frombytes(piece.integers.tobytes())
                self.numbers.frombytes(piece.numbers.tobytes())
            else:
                self._read_annotations(others[k])
        return True

    def _read_annotations(
        self, entries: list[msgspec.Raw] | None, whole: msgspec.Raw | None = None
    ) -> None:
        """Read annotations one by one, given as entries or as the bytes of the list."""
        decode = msgspec.json.Decoder(Annotation).decode
        integers, numbers = self.integers, self.numbers
        for raw in entries if entries is not None else entries_of("annotations", whole):
            try:
                one = decode(raw)
            except (ValueError, RecursionError):
                self._annotation(raw)
                continue
            integers.extend((one.image_id, one.category_id, one.id, flags_of(one)))
            numbers.extend(one.bbox)
            numbers.append(one.area)

    def _annotation(self, raw: msgspec.Raw) -> None:
        entry: Any = raw
        try:
            entry = self._parse(raw)
            image_id = self.image_ids.number(entry["image_id"])
            category_id = self.category_ids.number(entry["category_id"])
            flags = CROWD if fields.flag(entry.get("iscrowd")) else 0
            if fields.flag(entry.get("ignore")):
                flags |= IGNORED
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self._malformed("annotations", entry, error)
            return
        try:
            number = self.annotation_ids.number(entry.get("id"))
        except ValueError:  # nothing needs these ids: one that is none is as one that is missing
            number = -1
        where: dict[str, Any] = {
            "image_id": image_id,
            "annotation_id": number if number != -1 else None,
        }
        try:
            if entry.get("bbox") in (None, []):
                bbox = fields.outline_extent(entry.get("segmentation"))
                what = "an outline or mask without a box"
                if self.log.add("extent_taken", self.name, what, **where) != "keep":
                    return
            else:
                bbox = fields.box(entry["bbox"])
        except (ValueError, RecursionError) as error:
            shown = f"bbox {str(entry.get('bbox'))[:80]}"
            if entry.get("segmentation") and entry.get("bbox") in (None, []):
                shown += f", {error}"
            self.log.add("malformed_box", self.name, shown, **where)
            return
        area = fields.area(entry.get("area"))
        known = all(abs(v) < LARGEST_PX for v in bbox)  # else the box itself gets a line
        if known and not math.isfinite(area) and entry.get("area") is not None:
            # Nothing can be kept of it: the box's own area is taken, whether `fix` or `keep`.
            action = "error" if self.log.action("area_not_positive") == "error" else "fix"
            detail = f"area {str(entry['area'])[:40]!r}"
            self.log.add("area_not_positive", self.name, detail, action=action, **where)
        self.integers.extend((image_id, category_id, number, flags))
        self.numbers.extend((*bbox, area))


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)
