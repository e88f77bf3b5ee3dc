"""What every source of files shares: its result, safe paths, and numbers for images without one.

Each layout has a module of its own beside this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.defects import DefectLog
from data_tools.errors import DataError
from data_tools.table import SampleTable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass
class SourceSplit:
    """What a source says of one split, before class selection and image checks.

    Args:
        table: The samples, sorted by image id.
        categories: Source category id -> name, in the source's order.
        log: The defects found so far.
        digests: What was read, relative to the root -> sha256.
    """

    table: SampleTable
    categories: dict[int, str]
    log: DefectLog
    digests: dict[str, str] = field(default_factory=dict)


def safe_name(name: object) -> str | None:
    """Return an image's file name with `/` between its parts, or None if it leaves its folder.

    >>> safe_name("a/./b.jpg"), safe_name("a\\\\b.jpg"), safe_name("../b.jpg"), safe_name("/etc/x")
    ('a/b.jpg', 'a/b.jpg', None, None)
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return None
    name = name.replace("\\", "/")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        return None
    return "/".join(parts)


def require_folder(path: Path, key: str) -> None:
    """Raise unless `path` is a folder.

    Raises:
        DataError: With the setting's key.
    """
    if not path.is_dir():
        found = "it is a file" if path.exists() else "there is nothing"
        raise DataError(f"{path}: expected a folder ({key}), but {found}. Check dataset.root.")


def require_file(path: Path, key: str) -> None:
    """Raise unless `path` is a file.

    Raises:
        DataError: With the setting's key, and with what lies in the folder instead.
    """
    if path.is_file():
        return
    try:
        beside = sorted(p.name for p in path.parent.iterdir())[:8] if path.parent.is_dir() else []
    except OSError:
        beside = []
    hint = f" Beside it: {', '.join(beside)}." if beside else ""
    raise DataError(f"{path}: expected a file ({key}); not found. Check dataset.root.{hint}")


def numbers_for(names: Sequence[str]) -> list[int]:
    """Return an image id for each file name: its number where all names are numbers, else its rank.

    Names are compared without folder and suffix; where two numbers collide all get ranks. Ranks count
    from 1 in the order of the names, which must be sorted.

    >>> numbers_for(["000007.jpg", "000012.jpg"]), numbers_for(["a.jpg", "b.jpg"])
    ([7, 12], [1, 2])
    """
    stems = [name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in names]
    if all(stem.isascii() and stem.isdigit() and len(stem) < 18 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(names) + 1))


def read_text(path: Path) -> str:
    """Read a small text file as UTF-8, with or without a byte order mark.

    Raises:
        DataError: If it cannot be read or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def digest_of(parts: Sequence[bytes]) -> str:
    """Return the sha256 of several pieces, each with its length before it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def list_images(folder: Path) -> list[str]:
    """List the images below a folder, sorted, as names relative to it; symlink loops are not followed."""
    import os

    found, seen = [], set()
    for current, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(current)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        base = Path(current).relative_to(folder)
        found += [
            (base / name).as_posix() for name in files if name.lower().endswith(IMAGE_SUFFIXES)
        ]
    return sorted(found)
