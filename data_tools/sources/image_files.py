"""What every source of files shares: its result, safe paths, and numbers for images without one.

Each layout has a module of its own next to this one.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.core.archives import is_file, names_in, read_file
from data_tools.core.errors import DataError
from data_tools.core.object_storage import address
from data_tools.core.sample import Sample
from data_tools.sources.defects import DefectLog
from data_tools.sources.file_kinds import text_of
from data_tools.sources.table import SampleTable, table_from_samples


@dataclass(frozen=True)
class LabelledFile:
    """One image as sources without ids of their own find it.

    Args:
        name: The image's file, relative to the folder of the images.
        boxes_yxyx: (N, 4) float64, in pixels or relative.
        category_ids: N ids.
        difficult: N flags; empty where the source has none.
        height: Declared height in pixels, 0 if none.
        width: Declared width in pixels, 0 if none.
        crowd: N flags; empty where the source has none.
    """

    name: str
    boxes_yxyx: npt.NDArray[np.float64]
    category_ids: Sequence[int]
    difficult: Sequence[bool] = ()
    height: int = 0
    width: int = 0
    crowd: Sequence[bool] = ()


def table_of_files(
    folder: Path, files: Sequence[LabelledFile], ids: Sequence[int] | None = None
) -> SampleTable:
    """Number images and annotations, and put them into a table sorted by image id.

    Args:
        folder: Folder that the names are relative to.
        files: The images, sorted by name.
        ids: Their image ids, by default those of `numbers_for`.
    """
    numbers = ids if ids is not None else numbers_for([file.name for file in files])
    samples, used = [], 0
    for number, file in sorted(zip(numbers, files, strict=True), key=lambda entry: entry[0]):
        count, boxes = len(file.category_ids), file.boxes_yxyx
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported later
            areas = np.multiply(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        samples.append(
            Sample(
                image_id=number,
                file_name=file.name,
                path=None,
                height=file.height,
                width=file.width,
                boxes_yxyx_px=boxes,
                category_ids=np.array(file.category_ids, np.int64),
                iscrowd=np.array(file.crowd or [False] * count, np.bool_),
                difficult=np.array(file.difficult or [False] * count, np.bool_),
                areas_px=areas,
                annotation_ids=used + 1 + np.arange(count, dtype=np.int64),
            )
        )
        used += count
    return table_from_samples(folder, samples)


@dataclass
class SourceSplit:
    """What a source says of one split, before class selection and image checks.

    Args:
        table: The samples, sorted by image id.
        categories: Source category id -> name, in the source's order.
        log: The defects found so far.
        digests: What was read, relative to the root -> sha256.
        parents: Names of categories that the source calls the supercategory of others.
    """

    table: SampleTable
    categories: dict[int, str]
    log: DefectLog
    digests: dict[str, str] = field(default_factory=dict)
    parents: frozenset[str] = frozenset()


def safe_name(name: object) -> str | None:
    r"""Return an image's file name with `/` between its parts, or None if it leaves its folder or
    is none.

    >>> safe_name("a/./b.jpg"), safe_name("a\\b.jpg"), safe_name("../b.jpg"), safe_name("/etc/x")
    ('a/b.jpg', 'a/b.jpg', None, None)
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name or not is_text(name):
        return None
    name = name.replace("\\", "/")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        return None
    return "/".join(parts)


def is_text(name: str) -> bool:
    r"""Whether a name is text that can be written to a file.

    Half a surrogate pair is not: JSON may hold one (`\ud800`), and Python stands one in for each
    byte of a file's name that is not UTF-8, as old archives from other systems have them.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_folder(path: Path, key: str) -> None:
    """Raise unless `path` is a folder.

    Raises:
        DataError: With the setting's key.
    """
    if path.is_dir() or names_in(path) is not None:
        return
    what = "it is a file" if path.exists() else "there is nothing"
    if path.name.lower().endswith((".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar", ".gz")):
        what = "this kind of archive is not read in place: unpack it, or pack it as .zip or .tar"
    raise DataError(
        f"{address(path)}: expected a folder, .zip, .tar or .tar.gz ({key}), but {what}. Check "
        f"dataset.root.{_next_to(path)} dataset=auto looks by itself."
    )


def require_file(path: Path, key: str) -> None:
    """Raise unless `path` is a file.

    Raises:
        DataError: With the setting's key, and with what lies in the folder instead.
    """
    if is_file(path):
        return
    advice = "" if key.startswith("exclude=") else " Check dataset.root."
    raise DataError(f"{address(path)}: expected a file ({key}); not found.{advice}{_next_to(path)}")


def _next_to(path: Path) -> str:
    """What lies next to a path that is not there, for messages."""
    try:
        names = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    except OSError:
        names = []
    names = difflib.get_close_matches(path.name, names[:10_000], n=3) or names[:8]
    return f" Next to it: {', '.join(names)}." if names else ""


def numbers_for(names: Sequence[str]) -> list[int]:
    """Return an image id for each file name: its number where all names are numbers, else its rank.

    Names are compared without folder and suffix; where two numbers collide all get ranks. Ranks
    count from 1 in the order of the names, which must be sorted.

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
    """Read a small text file, see `text_of`; its lines end in a line feed.

    Raises:
        DataError: If it cannot be read or is no such text.
    """
    try:
        return text_of(read_file(path)).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Look at its rights."
        ) from error


def digest_of(parts: Sequence[bytes]) -> str:
    """Return the sha256 of several pieces, each with its length before it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def corners_from(
    numbers: npt.NDArray[np.float64], order: str, origin: int
) -> npt.NDArray[np.float64]:
    """Turn corners as a file has them into edges in pixels.

    A box that has no area as written is left as written, so that the checks find it: a pixel that
    is counted twice is no object.

    Args:
        numbers: (N, 4) as written.
        order: `xyxy` or `yxyx`.
        origin: 1 if pixels count from 1 and the last one belongs to the box, 0 if edges count from
            0.

    Returns:
        (N, 4) `[y1, x1, y2, x2]`.
    """
    boxes = numbers[:, [1, 0, 3, 2]] if order == "xyxy" else numbers.copy()
    if origin:
        with np.errstate(invalid="ignore"):
            solid = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes[solid, :2] -= 1
    return boxes
