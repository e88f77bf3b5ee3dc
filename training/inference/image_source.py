"""Where pictures to predict on come from: a file, a folder, a glob pattern, a video.

What is done with them is `predict.py`'s matter.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError
from data_tools.core.files import IMAGE_SUFFIXES, neighbours
from data_tools.images.decode import PictureError, decode_upright

Image = npt.NDArray[np.uint8]

VIDEO_ENDINGS = frozenset(
    [".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"]
)


@dataclass(frozen=True)
class ImageList:
    """What a path stands for.

    Args:
        images: Picture files, sorted.
        videos: Video files, sorted.
        root: Folder that the files' relative names start from.
        passed_over: Number of files that are neither, by their ending.
    """

    images: tuple[Path, ...]
    videos: tuple[Path, ...]
    root: Path
    passed_over: int

    def name(self, path: Path) -> str:
        """Return a file's name relative to the root, with `/` between the parts."""
        return path.relative_to(self.root).as_posix()


def find_images(pattern: str, recursive: bool = False) -> ImageList:
    """Find the pictures and videos that a setting names.

    Args:
        pattern: A file, a folder, or a glob pattern (`**` goes into subfolders).
        recursive: Look into the subfolders of a folder.

    Raises:
        DataError: If there is nothing there.
    """
    path = Path(pattern)
    if path.is_file():
        if path.suffix.lower() in VIDEO_ENDINGS:
            return ImageList((), (path,), path.parent, 0)
        return ImageList((path,), (), path.parent, 0)
    if path.is_dir():
        files = tuple(sorted(path.rglob("*") if recursive else path.iterdir()))
        root = path
    else:
        files = tuple(sorted(Path(name) for name in glob.glob(pattern, recursive=True)))  # noqa: PTH207
        root = Path(os.path.commonpath([p.parent for p in files])) if files else path
    # A link that leads nowhere stays in the list: it is reported like any other bad picture.
    files = tuple(p for p in files if p.is_file() or (p.is_symlink() and not p.exists()))
    images = tuple(p for p in files if p.suffix.lower() in IMAGE_SUFFIXES)
    videos = tuple(p for p in files if p.suffix.lower() in VIDEO_ENDINGS)
    if not images and not videos:
        kind = f"no such file, and no file matches it as a pattern.{neighbours(path)}"
        if path.is_dir():
            kind = f"the folder holds no picture or video ({len(files)} other files)."
        raise DataError(
            f"images={pattern}: {kind} Pictures end in {' '.join(sorted(IMAGE_SUFFIXES))}, videos "
            f"in {' '.join(sorted(VIDEO_ENDINGS))}."
        )
    return ImageList(images, videos, root, len(files) - len(images) - len(videos))


def read_image(source: str | Path | bytes) -> Image:
    """Read a picture as it is meant to be seen: EXIF orientation applied, 8 bits, three channels.

    Args:
        source: Path of a file, or its bytes.

    Returns:
        (H, W, 3) uint8 BGR. Of an animation the first frame.

    Raises:
        DataError: If it cannot be read, or is no picture of a kind we know.
    """
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"{source!s}: {error.strerror or error}.") from error
    try:
        return decode_upright(data)
    except PictureError as error:
        # Bytes have no name; who sent them puts one before.
        raise DataError(
            f"{error}." if isinstance(source, bytes) else f"{source}: {error}."
        ) from error


@dataclass(frozen=True)
class VideoInfo:
    """What a video says of itself.

    Args:
        frames: Number of frames, 0 where it does not say.
        rate: Frames per second.
    """

    frames: int
    rate: float


def open_video(path: Path) -> tuple[cv2.VideoCapture, VideoInfo]:
    """Open a video.

    Raises:
        DataError: If OpenCV cannot.
    """
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise DataError(f"{path}: does not open as a video: damaged, or a codec OpenCV lacks.")
    frames = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    return capture, VideoInfo(frames, float(capture.get(cv2.CAP_PROP_FPS)) or 25.0)


def video_frames(capture: cv2.VideoCapture, step: int) -> Iterator[tuple[int, Image]]:
    """Yield every `step`-th frame as (number from 0, (H, W, 3) uint8 BGR)."""
    number = 0
    while capture.grab():
        if number % step == 0:
            ok, frame = capture.retrieve()
            if ok:
                yield number, np.asarray(frame)
        number += 1
