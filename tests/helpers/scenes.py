"""Random scenes, and their JPEG files: what copies and leaks are looked for in."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def scene(seed: int, height: int = 240, width: int = 320) -> npt.NDArray[np.uint8]:
    """A picture with large and small structures, as photographs have."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 255, (n, n, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for n in (4, 9, 40)
    ]
    return np.clip(0.5 * layers[0] + 0.35 * layers[1] + 0.15 * layers[2], 0, 255).astype(np.uint8)


def jpeg(image: Any, quality: int = 90) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
