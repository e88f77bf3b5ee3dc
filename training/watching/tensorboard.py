"""TensorBoard events of a run: numbers, histograms and pictures by step.

When they are due is `triggers.py`'s business; the log that is always written is in `log.py`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.process.disk_errors import disk_errors

_FLUSH_SECONDS = 60.0


class TensorBoard:
    """TensorBoard events of a run; does nothing when it is off.

    tensorboardX's own `SummaryWriter` writes in a thread. When that meets a full disk it dies, and
    the next events wait for it for ever; so events are written here and now.

    Args:
        folder: Where the event files go.
        enabled: False writes nothing.
        first_step: Events from this step on in older files are superseded.

    Raises:
        DiskError: Here and in every method, if the disk is full or fails.
    """

    def __init__(self, folder: Path, enabled: bool, first_step: int) -> None:
        self.folder = folder
        self.writer: Any = None
        if enabled:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import SessionLog

            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self.writer = EventsWriter(str(folder / "events"))
            self._write(first_step + 1, session_log=SessionLog(status=SessionLog.START))
            self._flush()

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Write numbers by name."""
        if self.writer is not None:
            from tensorboardX.summary import scalar

            for name, value in values.items():
                self._write(step, summary=scalar(name, value))
            self._flush_in_time()

    def histograms(self, arrays: dict[str, NDArray[Any]], step: int) -> None:
        """Write the distribution of each array."""
        if self.writer is not None:
            from tensorboardX.summary import histogram

            # TensorBoard's own buckets: a tenth wider from one to the next, on both sides of zero.
            edges = 1e-12 * 1.1 ** np.arange(774)
            bins = [*(-edges[::-1]), 0.0, *edges]
            for name, array in arrays.items():
                self._write(step, summary=histogram(name, array, bins))
            self._flush_in_time()

    def picture(self, name: str, path: Path, step: int) -> None:
        """Write a picture from a file."""
        if self.writer is not None:
            from tensorboardX.summary import image

            image_bgr: Any = cv2.imread(str(path))
            self._write(step, summary=image(name, image_bgr[:, :, ::-1], dataformats="HWC"))
            self._flush_in_time()

    def close(self) -> None:
        """Flush and close; nothing is written any more."""
        writer, self.writer = self.writer, None
        if writer is not None:
            with disk_errors(self.folder):
                writer.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with disk_errors(self.folder):
            self.writer.write_event(Event(wall_time=time.time(), step=step, **content))

    def _flush_in_time(self) -> None:
        # It waits for the disk, so not after every line.
        if time.monotonic() - self.flushed >= _FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        with disk_errors(self.folder):
            self.writer.flush()
        self.flushed = time.monotonic()
