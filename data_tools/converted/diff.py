"""`convert.py diff=[SET_A,SET_B]`: which images and boxes of two converted sets differ, and in
what.

How boxes are paired is in `box_changes.py`; the contact sheet is drawn in `diff_sheet.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.convert.settings import ConvertSettings
from data_tools.converted.box_changes import Boxes, Change, box_changes, renamed_classes
from data_tools.converted.diff_sheet import draw_changes
from data_tools.converted.verify import refuse_set, split_folders
from data_tools.core.boxes import xywh_from_yxyx
from data_tools.core.errors import SettingError
from data_tools.core.files import make_folder, write_atomic
from data_tools.core.progress import Progress
from data_tools.core.where_to_look import where_to_look
from data_tools.images.draw import save_png
from data_tools.shards.manifest import ConvertedSplit, open_split
from data_tools.shards.reader import RowReader
from data_tools.sources.coco import read_annotations
from data_tools.sources.table import SampleTable

BOX_CHANGES = ("added", "removed", "moved", "class", "flags")
IMAGE_CHANGES = ("added", "removed", "moved", "picture")


@dataclass(frozen=True)
class Side:
    """One split of one of the sets, with a hash of every picture in the order of its rows."""

    split: ConvertedSplit
    table: SampleTable
    reader: RowReader
    digests: list[bytes]
    names: dict[int, str]

    def boxes(self, index: int, height: int, width: int) -> Boxes:
        """The boxes of an image, scaled to a picture of another size."""
        sample = self.table[index]
        factor = [height / sample.height, width / sample.width] if sample.height else [1.0, 1.0]
        return Boxes(
            sample.boxes_yxyx_px * np.array(factor * 2),
            [self.names[int(c)] for c in sample.category_ids],
            list(zip(sample.iscrowd.tolist(), sample.difficult.tolist(), strict=True)),
        )


@dataclass(frozen=True)
class RowRef:
    """Where an image is: the split's name, and the row."""

    split: str
    row: int


@dataclass
class Pairs:
    """Which image of the first set is which of the second."""

    both: list[tuple[RowRef, RowRef]] = field(default_factory=list)
    removed: list[RowRef] = field(default_factory=list)
    added: list[RowRef] = field(default_factory=list)


def run_diff(settings: ConvertSettings) -> int:
    """Compare two converted sets: a table on the terminal, `diff.json`, and `diff.png` if boxes
    changed, or images were added or removed.

    Args:
        settings: Settings of the command: `diff`, `out`, `rows`.

    Returns:
        0.

    Raises:
        SettingError: If `diff` is not two sets.
        DataError: If a set is missing or damaged.
    """
    if len(settings.diff) != 2:
        raise SettingError(
            f"diff={settings.diff}: expected two folders of converted sets, diff=[BEFORE,AFTER]."
        )
    out = Path(settings.out or "outputs/diff").expanduser()
    refuse_set(out, "comparison")
    before, after = (_open_set(Path(folder).expanduser()) for folder in settings.diff)
    make_folder(out, "out")
    content, sheet = _compare(before, after, settings.rows)
    content = {"before": _origin(settings.diff[0], before), **content}
    content["after"] = _origin(settings.diff[1], after)
    write_atomic(out / "diff.json", json.dumps(content, indent=1) + "\n")
    _print_table(content)
    picture = out / "diff.png"
    picture.unlink(missing_ok=True)
    print(f"every change: {out / 'diff.json'}")
    if sheet:
        save_png(picture, draw_changes(sheet))
        print(where_to_look(pictures=[picture]))
    return 0


def _open_set(root: Path) -> dict[str, Side]:
    return {folder.name: _side(folder) for folder in split_folders(root)}


def _side(folder: Path) -> Side:
    split = open_split(folder.parent, folder.name)
    table, reader = read_annotations(split.annotations_path).table, RowReader(split)
    if len(table) != len(reader):
        raise reader.damaged(0, f"{len(reader)} rows, {len(table)} images in annotations.json")
    digests = []
    with Progress(f"reading {folder}", len(reader)) as bar:
        for index in range(len(reader)):
            row = reader[index]
            if row.image_id != int(table.image_ids[index]):
                raise reader.damaged(index, "annotations.json has another image in its place")
            digests.append(hashlib.sha256(row.image.tobytes()).digest())
            bar.update()
    names = {entry.category_id: entry.name for entry in split.classes}
    return Side(split, table, reader, digests, names)


def _origin(folder: str, sides: dict[str, Side]) -> dict[str, Any]:
    return {"set": folder, "fingerprints": {name: s.split.fingerprint for name, s in sides.items()}}


def pair_images(before: dict[str, Side], after: dict[str, Side]) -> Pairs:
    """Pair images of one split by name, the id deciding between equal names, then any by their
    bytes.
    """
    pairs = Pairs()
    left: dict[tuple[str, str], list[RowRef]] = {}
    for split, side in after.items():
        for row, name in enumerate(side.table.file_names):
            left.setdefault((split, name), []).append(RowRef(split, row))
    for split, side in before.items():
        for row, name in enumerate(side.table.file_names):
            candidates = left.get((split, name), [])
            if not candidates:
                pairs.removed.append(RowRef(split, row))
                continue
            number = side.table.image_ids[row]
            ids = after[split].table.image_ids
            ref = next((p for p in candidates if ids[p.row] == number), candidates[0])
            candidates.remove(ref)
            pairs.both.append((RowRef(split, row), ref))
    by_bytes: dict[bytes, list[RowRef]] = {}
    for refs in left.values():
        for ref in refs:
            by_bytes.setdefault(after[ref.split].digests[ref.row], []).append(ref)
    gone, pairs.removed = pairs.removed, []
    for ref in gone:
        same = by_bytes.get(before[ref.split].digests[ref.row], [])
        if same:
            pairs.both.append((ref, same.pop(0)))
        else:
            pairs.removed.append(ref)
    pairs.added = sorted(
        (ref for refs in by_bytes.values() for ref in refs), key=lambda p: (p.split, p.row)
    )
    return pairs


def _compare(
    before: dict[str, Side], after: dict[str, Side], rows: int
) -> tuple[dict[str, Any], list[tuple[Side, int, Boxes, Boxes, list[Change], str]]]:
    """Return what `diff.json` holds of the comparison, and what the sheet shows."""
    pairs = pair_images(before, after)

    def boxes_of(a: RowRef, b: RowRef) -> tuple[Boxes, Boxes]:
        ours, theirs = before[a.split], after[b.split]
        height, width = (int(v[a.row]) for v in (ours.table.heights, ours.table.widths))
        return ours.boxes(a.row, height, width), theirs.boxes(b.row, height, width)

    classes = _classes(before), _classes(after)
    renamed = renamed_classes((boxes_of(a, b) for a, b in pairs.both), *classes)
    counts: dict[str, Counter[str]] = {name: Counter() for name in [*before, *after]}
    images: dict[str, list[dict[str, Any]]] = {key: [] for key in ("added", "removed", "moved")}
    changed, sheet, whole = [], [], []
    for key, refs, sides in (
        ("removed", pairs.removed, before),
        ("added", pairs.added, after),
    ):
        for ref in refs:
            entry = _image(sides, ref)
            counts[ref.split][f"images {key}"] += 1
            counts[ref.split][f"boxes {key} with their images"] += entry["boxes"]
            images[key].append(entry)
            whole.append(_whole_image(sides[ref.split], ref, key))
    for a, b in pairs.both:
        ours, theirs = boxes_of(a, b)
        changes = box_changes(ours, theirs, renamed)
        names = [sides[p.split].table.file_names[p.row] for sides, p in ((before, a), (after, b))]
        picture = before[a.split].digests[a.row] != after[b.split].digests[b.row]
        if (a.split, names[0]) != (b.split, names[1]):
            counts[b.split]["images moved"] += 1
            images["moved"].append({"from": f"{a.split}/{names[0]}", "to": f"{b.split}/{names[1]}"})
        counts[b.split]["images picture"] += picture
        counts[b.split].update(f"boxes {change.kind}" for change in changes)
        if changes or picture:
            entry = {**_image(after, b), "picture": picture}
            changed.append({**entry, "boxes": [_entry(c, ours, theirs) for c in changes]})
        if changes:
            sheet.append((before[a.split], a.row, ours, theirs, changes, f"{b.split}/{names[1]}"))
    sheet.sort(key=lambda entry: -len(entry[4]))
    known = [name for name in classes[0] if name in classes[1]]
    content = {
        "classes": {
            "added": [n for n in classes[1] if n not in known and n not in renamed.values()],
            "removed": [n for n in classes[0] if n not in known and n not in renamed],
            "renamed": renamed,
            "other_label": _other_labels(before, after, renamed),
        },
        "counts": {
            name: {key: n for key, n in sorted(c.items()) if n} for name, c in counts.items()
        },
        "images": {**images, "changed": changed},
    }
    return content, [*sheet, *whole][:rows]


def _whole_image(
    side: Side, ref: RowRef, key: str
) -> tuple[Side, int, Boxes, Boxes, list[Change], str]:
    """What the sheet shows of an image that one of the sets has not: all its boxes."""
    height, width = (int(v[ref.row]) for v in (side.table.heights, side.table.widths))
    boxes, none = side.boxes(ref.row, height, width), Boxes(np.zeros((0, 4)), (), ())
    caption = f"image {key}: {ref.split}/{side.table.file_names[ref.row]}"
    count = range(len(boxes.names))
    if key == "added":
        return side, ref.row, none, boxes, [Change("added", None, k) for k in count], caption
    return side, ref.row, boxes, none, [Change("removed", k, None) for k in count], caption


def _classes(sides: dict[str, Side]) -> dict[str, int]:
    return {c.name: c.category_id for side in sides.values() for c in side.split.classes}


def _other_labels(
    before: dict[str, Side], after: dict[str, Side], renamed: dict[str, str]
) -> dict[str, list[int]]:
    """Classes whose label is another one: a checkpoint of one set does not fit the other."""
    old, new = (
        {c.name: c.label for side in sides.values() for c in side.split.classes}
        for sides in (before, after)
    )
    pairs = {name: (label, new.get(renamed.get(name, name))) for name, label in old.items()}
    return {name: [a, b] for name, (a, b) in pairs.items() if b is not None and a != b}


def _image(sides: dict[str, Side], ref: RowRef) -> dict[str, Any]:
    table = sides[ref.split].table
    return {
        "split": ref.split,
        "file_name": table.file_names[ref.row],
        "image_id": int(table.image_ids[ref.row]),
        "boxes": int(table.offsets[ref.row + 1] - table.offsets[ref.row]),
    }


def _entry(change: Change, ours: Boxes, theirs: Boxes) -> dict[str, Any]:
    """A box's change as in `diff.json`; boxes are `[x, y, w, h]` in pixels of the first set's
    picture.
    """
    entry: dict[str, Any] = {"change": change.kind}
    for key, boxes, index in (("before", ours, change.before), ("after", theirs, change.after)):
        if index is not None:
            box = xywh_from_yxyx(boxes.corners_yxyx_px[index : index + 1])[0].round(6).tolist()
            crowd, difficult = boxes.flags[index]
            entry[key] = {"class": boxes.names[index], "bbox": box}
            if change.kind == "flags":
                entry[key] |= {"iscrowd": int(crowd), "difficult": int(difficult)}
    return entry


def _table(content: dict[str, Any]) -> Iterator[list[str]]:
    kinds = [f"images {kind}" for kind in IMAGE_CHANGES] + [f"boxes {kind}" for kind in BOX_CHANGES]
    kinds[4:4] = ["boxes added with their images", "boxes removed with their images"]
    yield ["", *content["counts"]]
    for kind in kinds:
        yield [kind, *(str(counts.get(kind, 0)) for counts in content["counts"].values())]


def _print_table(content: dict[str, Any]) -> None:
    rows = list(_table(content))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())
    classes = content["classes"]
    for old, new in classes["renamed"].items():
        print(f"class {old} is called {new}")
    for key in ("added", "removed"):
        if classes[key]:
            print(f"classes {key}: {', '.join(classes[key])}")
    for name, (old, new) in classes["other_label"].items():
        print(f"class {name}: label {old} is {new} now")
    if not any(content["counts"].values()) and not any(classes.values()):
        print("no difference")
