"""Thumbnails of pictures within a budget: the first ones larger, then small ones, then none.

What a page does with them is `page.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

LARGE, SMALL = 320, 112
"""Longer side in pixels of the first thumbnails and of the others."""

_QUALITY = 55


@dataclass
class ThumbnailBudget:
    """Hands out thumbnails until their bytes are used up.

    Args:
        num_bytes: All thumbnails together, as they stand in the file (base64 adds a third).
        num_large: How many of the first ones are large.
    """

    num_bytes: int = 15_000_000
    num_large: int = 150

    def make(self, image_bgr: npt.NDArray[np.uint8]) -> bytes | None:
        """Return a JPEG of an image (H, W, 3), or None if nothing is left of the budget."""
        jpeg = thumbnail(image_bgr, LARGE if self.num_large > 0 else SMALL)
        cost = -(-len(jpeg) // 3) * 4
        if cost > self.num_bytes:
            self.num_bytes = 0
            return None
        self.num_large -= 1
        self.num_bytes -= cost
        return jpeg


def thumbnail(image_bgr: npt.NDArray[np.uint8], side: int) -> bytes:
    """Return a JPEG whose longer side is `side` pixels at most."""
    scale = min(1.0, side / max(image_bgr.shape[:2]))
    if scale < 1.0:
        size = [max(1, round(v * scale)) for v in (image_bgr.shape[1], image_bgr.shape[0])]
        image_bgr = np.asarray(cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(
        ".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    )
    assert done  # an array of this shape and type always encodes
    return data.tobytes()
