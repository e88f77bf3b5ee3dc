"""The annotated copy of a video: there whole or not at all.

Which frames it has and what is drawn on them is `predict.py`'s business.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError


class VideoFile:
    """Writes frames to an MP4 that gets its name when it is left without an error.

    Use as a context manager. Without a frame there is no file.

    Args:
        path: The file.
        rate: Frames a second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self._rate = path, rate
        # OpenCV goes by the ending, so the name of the unfinished one has it as well.
        self._temporary = path.with_name(f"{path.name}.tmp{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def __enter__(self) -> VideoFile:
        return self

    def add(self, frame_bgr: npt.NDArray[np.uint8]) -> None:
        """Write a frame.

        Args:
            frame_bgr: (H, W, 3) uint8, of the same size each time.

        Raises:
            DataError: If OpenCV cannot write it.
        """
        if self._writer is None:
            height, width = frame_bgr.shape[:2]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            name = str(self._temporary)
            self._writer = cv2.VideoWriter(name, code, self._rate, (width, height))
            if not self._writer.isOpened():
                raise DataError(f"{self.path}: OpenCV cannot write this video. Set pictures=false.")
        self._writer.write(frame_bgr)
        self._frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        try:
            if kind is None:
                if _frames_in(self._temporary) < self._frames:
                    # OpenCV does not say so when the disk is full.
                    raise DataError(
                        f"{self.path}: not written whole. Free some space, or choose another `out`."
                    )
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _frames_in(path: Path) -> int:
    """How many frames a video says it has; 0 for what is no video."""
    capture = cv2.VideoCapture(str(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
