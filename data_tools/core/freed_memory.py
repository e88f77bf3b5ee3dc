"""What becomes of memory that this process has freed.

Memory that NumPy arrays share is used again in `core/reusable_memory.py`.
"""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 << 20
_LARGEST_KEPT = 32 << 20


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MiB that was freed, in place of fetching fresh pages for each image.

    Measured with images of 160 KB: reading one takes 0.02 ms in place of 0.03, out of a zip 0.04 in
    place of 0.07, inflating it 0.42 in place of 0.58.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
