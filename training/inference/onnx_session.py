"""onnxruntime over an ONNX graph, from a file or from memory, on the CPU.

What the outputs mean is `exported.py`'s and `engine.py`'s matter.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.cores import core_count


def has_onnxruntime() -> bool:
    """Whether onnxruntime is installed; it is not imported for that."""
    return importlib.util.find_spec("onnxruntime") is not None


def open_session(graph: Path | bytes) -> Any:
    """Open a graph in onnxruntime on all cores that this process may use.

    Args:
        graph: A file, or the bytes of one.

    Raises:
        Exception: If onnxruntime refuses it; its errors have no common base.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = core_count()
    # Threads that wait busily would take the cores from those that decode and post-process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(graph) if isinstance(graph, Path) else graph
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class SessionPredictor:
    """A predict function over a graph with outputs `boxes` and `scores` for any number of images.

    Args:
        session: From `open_session`.
        batch_size: Most images per call.
    """

    def __init__(self, session: Any, batch_size: int) -> None:
        self._session, self._batch_size = session, batch_size

    def __call__(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(N, 3, H, W) uint8 RGB -> boxes (N, A, 4) relative and scores (N, A, C + 1)."""
        parts = []
        for start in range(0, len(images), self._batch_size):
            chunk = np.ascontiguousarray(images[start : start + self._batch_size])
            parts.append(self._session.run(["boxes", "scores"], {"images": chunk}))
        if len(parts) == 1:
            return parts[0][0], parts[0][1]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
