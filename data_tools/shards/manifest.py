"""What a converted split says of itself: `manifest.json`, its fingerprint, and how a split is
opened.

Rows are read in `reader.py`; hashes of whole shards are checked in `converted/verify.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools.core.errors import DataError
from data_tools.core.files import is_plain_name, neighbours, write_atomic
from data_tools.core.json_dataclass import build, read_json, shown
from data_tools.core.sample import ClassInfo
from data_tools.shards.schema import FORMAT, PUBLISHED_FORMAT

MANIFEST = "manifest.json"
ANNOTATIONS = "annotations.json"
REPORT = "report.json"


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its data file, its index file next to it, and what they must contain.

    Args:
        file: Name of the data file within the split's folder.
        rows: Number of rows.
        bytes: Size of the data file.
        sha256: Hash of the data file.
        index_sha256: Hash of the index file, `file` + `.db`.
        first_image_id: Smallest image id in the shard.
        last_image_id: Largest image id in the shard.
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    index_sha256: str
    first_image_id: int
    last_image_id: int

    @property
    def digests(self) -> dict[str, str]:
        """File name to sha256, of the data file and of its index."""
        return {self.file: self.sha256, f"{self.file}.db": self.index_sha256}


@dataclass(frozen=True)
class Manifest:
    """Everything that a converted split says of itself, but its fingerprint, which is derived.

    Args:
        split: Name of the split, for instance `train`.
        classes: The classes in the order of their labels, 1..C.
        shards: The shards in the order of their rows.
        totals: Counts: `images`, `boxes`, `crowd_boxes`, `images_without_boxes`.
        settings: The conversion settings that decide the content.
        source: What was read: kind, and the sha256 of the annotations.
        files: sha256 of the other files of the folder, such as `annotations.json`.
        format: Row format, `schema.FORMAT` or `schema.PUBLISHED_FORMAT`.
        tool_version: Version of this project that wrote it; no part of the fingerprint.
        hashes: Hashes of the rows' pictures, see `stored_hashes.py`: kind -> data file -> text.
            They follow from the shards and are no part of the fingerprint; sets of older versions
            have none.
    """

    split: str
    classes: tuple[ClassInfo, ...]
    shards: tuple[ShardInfo, ...]
    totals: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    format: str = FORMAT
    tool_version: str = ""
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """sha256 over all fields but the tool version and the hashes of pictures, as canonical
        JSON.
        """
        content = dataclasses.asdict(self)
        del content["tool_version"], content["hashes"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def num_images(self) -> int:
        """Number of rows over all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_classes(self) -> int:
        """Number of classes with the background: C + 1."""
        return len(self.classes) + 1

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder` whole or not at all (temporary, fsync, rename)."""
        content = {**dataclasses.asdict(self), "fingerprint": self.fingerprint}
        if not self.hashes:
            del content["hashes"]  # older versions can read a set without them
        write_atomic(folder / MANIFEST, json.dumps(content, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class ConvertedSplit:
    """A split on disk, opened: where it is and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def shard_paths(self) -> list[Path]:
        """The data files in the order of their rows."""
        return [self.folder / shard.file for shard in self.manifest.shards]

    @property
    def num_images(self) -> int:
        """Number of images in the split."""
        return self.manifest.num_images

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes in the order of their labels, 1..C."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int:
        """Number of classes with the background: C + 1."""
        return self.manifest.num_classes

    @property
    def fingerprint(self) -> str:
        """The manifest's fingerprint."""
        return self.manifest.fingerprint

    @property
    def annotations_path(self) -> Path:
        """The full ground truth in COCO format."""
        return self.folder / ANNOTATIONS


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json` of one split's folder.

    Raises:
        DataError: If it is missing, is no manifest, has a format that this version cannot read, or
            does not agree with its own fingerprint.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: not found. Convert the data set first.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}). Convert again.") from error
    try:
        recorded = str(content.pop("fingerprint"))
        if content["format"] not in (FORMAT, PUBLISHED_FORMAT):
            raise DataError(
                f"{path}: format {shown(content['format'])}; this version reads {FORMAT!r} and "
                f"{PUBLISHED_FORMAT!r}. Convert again, or use the version that wrote it: "
                f"{shown(content.get('tool_version', 'unknown'))}."
            )
        manifest = build(Manifest, content)
        _check_content(manifest)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a manifest of a converted split (its {error} is missing or of another "
            "kind). Convert again."
        ) from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: not a manifest of a converted split ({error}). Restore it or convert again."
        ) from error
    if manifest.fingerprint != recorded:
        raise DataError(
            f"{path}: the content does not agree with its fingerprint {recorded[:16]}...: it was "
            "changed by hand or damaged. Restore it or convert again."
        )
    return manifest


def _check_content(manifest: Manifest) -> None:
    """Refuse what no converter writes and what readers rely on: numbered classes, files of this
    folder.

    Raises:
        ValueError: Naming what is wrong.
    """
    labels = [entry.label for entry in manifest.classes]
    if labels != list(range(1, len(labels) + 1)):
        raise ValueError(f"classes: labels {shown(labels)}, expected 1, 2, 3, ...")
    if not manifest.shards:
        raise ValueError("shards: none")
    # The published tools write a fixed number of shards, and leave some empty where images are few.
    fewest = 0 if manifest.format == PUBLISHED_FORMAT and manifest.num_images else 1
    for shard in manifest.shards:
        if shard.rows < fewest:
            raise ValueError(
                f"shards: {shown(shard.file)} has {shard.rows} rows, expected {fewest} or more"
            )
    names = [*manifest.files, *(shard.file for shard in manifest.shards)]
    for name in names:
        if not is_plain_name(name):
            raise ValueError(
                f"file name {shown(name)} leaves the folder; a split's files lie next to "
                "its manifest"
            )
    if len(set(names)) < len(names):
        raise ValueError("it names a file twice")


def open_split(data: str | Path, split: str) -> ConvertedSplit:
    """Open one split of a converted set, with all its files present and of the right size.

    Hashes are not checked here, see `converted/verify.py`.

    Args:
        data: The folder that `convert/convert.py` made (its `out`).
        split: Name of the split, for instance `train`.

    Returns:
        The opened split.

    Raises:
        DataError: If the folder, the split, or a file of it is missing or has another size.
    """
    root = Path(data)
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"data={root}: there is no split {split!r}. {_where_else(root, split)}")
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        path = folder / shard.file
        if not path.is_file() or not path.with_name(shard.file + ".db").is_file():
            raise DataError(
                f"{path}: the shard or its index (.db) is missing. {_images_in(shard)} "
                "Copy the folder again."
            )
        if path.stat().st_size != shard.bytes:
            raise DataError(
                f"{path}: {path.stat().st_size} bytes; the manifest says {shard.bytes}. The shard "
                f"is cut short or was changed. {_images_in(shard)} Copy it again, or convert again."
            )
    return ConvertedSplit(folder, manifest)


def _where_else(root: Path, split: str) -> str:
    """Say what to give instead; a set that is there must not be converted over."""
    if (root / MANIFEST).is_file():
        return (
            f"It is a split itself: give data={root.parent}, and its name {root.name} as the split."
        )
    present = sorted(p.parent.name for p in root.glob(f"*/{MANIFEST}"))
    if present:
        return (
            f"It has the splits {present}: name one of them. For another one, convert the raw data "
            f"set with dataset.splits.{split} into a new folder; convert.py dataset=NAME --help "
            "shows its keys."
        )
    listed = (
        "It holds no converted split." if root.is_dir() else f"No such folder.{neighbours(root)}"
    )
    return (
        f"{listed} Convert the data set first: python convert.py dataset=coco2017 dataset.root=DIR "
        "out=NEW, then data=NEW."
    )


def _images_in(shard: ShardInfo) -> str:
    return f"It holds {shard.rows} images, ids {shard.first_image_id} to {shard.last_image_id}."
