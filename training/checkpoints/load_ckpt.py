"""MindSpore's reading of a `.ckpt`, on machines whose free memory is full of cached files.

What is made of the parameters is in `weight_files.py` and `checkpoint.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil


def load_ckpt(path: Path) -> dict[str, Any]:
    """Read a `.ckpt`.

    Returns:
        Name to `mindspore.Parameter`.

    Raises:
        ValueError, RuntimeError, TypeError, OSError: As `mindspore.load_checkpoint`.
    """
    import mindspore as ms

    count_cache_as_free()
    return dict(ms.load_checkpoint(str(path)))


def count_cache_as_free() -> None:
    """Let MindSpore take memory that holds cached files for free, as it is when it is needed.

    MindSpore 2.10 refuses a file larger than the pages that hold nothing at all
    (`SC_AVPHYS_PAGES`). On a machine that has read a data set there are next to none: a file of
    267 MB was refused while 20 GB could be had.
    """
    from mindspore.train import serialization

    if hasattr(serialization, "_get_available_memory"):
        serialization._get_available_memory = lambda: psutil.virtual_memory().available
