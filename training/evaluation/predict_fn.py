"""The form of every predict function, whatever computes it: all that evaluation knows of networks.

Those that there are come from `training/inference/`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

PredictFn = Callable[
    [npt.NDArray[np.uint8]], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
]
"""images (N, 3, H, W) uint8 RGB -> boxes yxyx relative (N, A, 4) and scores (N, A, C + 1)."""
