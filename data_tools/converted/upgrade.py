"""`convert.py upgrade=DIR`: a manifest for shards of the published tools, so that nobody converts
again.

The shards stay as they are and get second names (hard links) in `DIR/<split>/`. Their rows
(`img_id`, `image`, `annotation` int32 (N, 5)) are read by `shards/reader.py` like our own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import data_tools
from data_tools.convert.settings import ConvertSettings
from data_tools.convert.workspace import locked_workspace
from data_tools.core.errors import DataError
from data_tools.core.files import link_or_copy, neighbours, sha256_of_file, write_atomic
from data_tools.core.progress import Progress
from data_tools.core.sample import ClassInfo
from data_tools.core.where_to_look import preview_of, where_to_look
from data_tools.images.decode import decode_file
from data_tools.images.inspect import inspect
from data_tools.shards.manifest import ANNOTATIONS, MANIFEST, REPORT, Manifest, ShardInfo
from data_tools.shards.mindrecord_reader import ShardError, ShardFile
from data_tools.shards.reader import PUBLISHED_SCALARS, published_image_id
from data_tools.shards.schema import PUBLISHED_FORMAT
from data_tools.sources.names import class_names

_EVALUATION_MARKS = ("eval", "val", "test")


def run_upgrade(settings: ConvertSettings) -> int:
    """Write manifests, ground truth and reports for the shards in a folder.

    Args:
        settings: Settings of the command: `upgrade`, and the class names in `dataset.names` or
            `dataset.names_file`.

    Returns:
        0.

    Raises:
        DataError: If there are no such shards, one is damaged, or class names are missing.
    """
    folder = Path(settings.upgrade)
    done = sorted(p.parent.name for p in folder.glob(f"*/{MANIFEST}"))
    if done:
        print(f"{folder}: has manifests already ({', '.join(done)}); nothing to do.")
        return 0
    splits = find_shards(folder)
    dataset = settings.dataset
    names = class_names(Path(dataset.root or "."), dataset.names, dataset.names_file, "dataset")
    if not names:
        raise DataError(
            "the published tools' shards do not hold the class names: give them in the order of "
            "the labels, without the background, as dataset.names=[...] or dataset.names_file=FILE."
        )
    classes = tuple(ClassInfo(label, name, label) for label, name in enumerate(names, 1))
    with locked_workspace(folder) as workspace:
        shutil.rmtree(workspace.set_folder, ignore_errors=True)
        for split, shards in splits.items():
            _upgrade_split(split, shards, classes, workspace.split_folder(split))
        for split in splits:
            _put(workspace.split_folder(split), folder / split)
        workspace.discard()
    print(where_to_look(then=preview_of(folder)))
    return 0


def _put(made: Path, target: Path) -> None:
    """Move a finished split into place; shards that lie there already stay, the manifest goes
    last.
    """
    if not target.exists():
        made.rename(target)
        return
    for path in sorted(made.iterdir(), key=lambda path: path.name == MANIFEST):
        path.replace(target / path.name)


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """Find the shards of the published tools in a folder: split -> data files in order.

    Files whose name or folder holds `eval`, `val` or `test` are the split `val`, the others
    `train`.

    Raises:
        DataError: If there is none.
    """
    if not folder.is_dir():
        raise DataError(
            f"upgrade={folder}: no such folder.{neighbours(folder)} Give the one with the "
            "published tools' shards."
        )
    splits: dict[str, list[Path]] = {}
    for index in [*sorted(folder.glob("*.db")), *sorted(folder.glob("*/*.db"))]:
        path = index.with_suffix("")
        if path.is_file():
            name = path.relative_to(folder).as_posix().lower()
            evaluation = any(mark in name for mark in _EVALUATION_MARKS)
            splits.setdefault("val" if evaluation else "train", []).append(path)
    if not splits:
        raise DataError(
            f"upgrade={folder}: no MindRecord files in it. Expected pairs such as ssd.mindrecord0 "
            "and ssd.mindrecord0.db."
        )
    return splits


def _upgrade_split(
    split: str, shards: list[Path], classes: tuple[ClassInfo, ...], folder: Path
) -> None:
    folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    odd: list[dict[str, Any]] = []
    infos = []
    with Progress(f"reading {split}", None, unit="row") as bar:
        for path in shards:
            infos.append(_read_shard(path, len(classes), images, annotations, odd, bar))
            for suffix in ("", ".db"):
                link_or_copy(path.with_name(path.name + suffix), folder / (path.name + suffix))
    if not images:
        raise DataError(
            f"{shards[0].parent}: no row in any of {[p.name for p in shards]}. Convert the raw "
            "data set instead."
        )
    ids = [image["id"] for image in images]
    if len(set(ids)) != len(ids):
        raise DataError(
            f"{shards[0].parent}: image ids are used twice among {[p.name for p in shards]}: these "
            "files are not one set. Keep each set in a folder of its own."
        )
    categories = [{"id": entry.category_id, "name": entry.name} for entry in classes]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    write_atomic(folder / ANNOTATIONS, json.dumps(truth, separators=(",", ":")) + "\n")
    report = {
        "split": split,
        "written": {"images": len(images), "boxes": len(annotations)},
        "left_out_of_the_ground_truth": odd,
    }
    write_atomic(folder / REPORT, json.dumps(report, indent=1) + "\n")
    used = {entry["image_id"] for entry in annotations}
    manifest = Manifest(
        split=split,
        classes=classes,
        shards=tuple(infos),
        totals={
            "images": len(images),
            "boxes": len(annotations),
            "crowd_boxes": 0,
            "images_without_boxes": sum(number not in used for number in ids),
        },
        settings={"upgraded": True},
        source={"kind": PUBLISHED_FORMAT},
        files={name: sha256_of_file(folder / name) for name in (ANNOTATIONS, REPORT)},
        format=PUBLISHED_FORMAT,
        tool_version=str(getattr(data_tools, "__version__", "")),
    )
    manifest.write(folder)
    print(f"{folder.name}: {len(images)} images, {len(annotations)} boxes in {len(infos)} shards")
    if odd:
        print(f"  {len(odd)} boxes without area or of unknown classes: see {split}/{REPORT}")


def _read_shard(
    path: Path,
    num_classes: int,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    odd: list[dict[str, Any]],
    bar: Progress,
) -> ShardInfo:
    first = len(images)
    try:
        file = ShardFile(path, PUBLISHED_SCALARS)
        for row in range(len(file)):
            columns = file.arrays(row, ("image", "annotation"))
            number = published_image_id(file, row)
            height, width = _size(columns["image"].tobytes())
            images.append(
                {"id": number, "file_name": str(number), "height": height, "width": width}
            )
            for box in columns["annotation"].tolist():
                y1, x1, y2, x2, label = box
                if not (1 <= label <= num_classes and y2 > y1 and x2 > x1):
                    odd.append({"image_id": number, "yxyx_label": box})
                    continue
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (y2 - y1) * (x2 - x1),
                        "iscrowd": 0,
                    }
                )
            bar.update(1)
    except (ShardError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a whole shard of the published tools ({error}).") from error
    ids = [image["id"] for image in images[first:]]
    return ShardInfo(
        file=path.name,
        rows=len(ids),
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        index_sha256=sha256_of_file(path.with_name(path.name + ".db")),
        first_image_id=min(ids, default=0),
        last_image_id=max(ids, default=0),
    )


def _size(data: bytes) -> tuple[int, int]:
    facts = inspect(data)
    if facts.height and not facts.problem:
        return facts.height, facts.width
    image = decode_file(data)
    return image.shape[0], image.shape[1]
