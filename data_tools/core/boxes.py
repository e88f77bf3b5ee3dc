"""Box formats, conversion, area, clipping and overlap: pure NumPy, the ground floor of the house.

Anchors, matching and detections live elsewhere. Formats: `xywh` is COCO's `[x, y, w, h]`, `yxyx` is
corners `[y1, x1, y2, x2]`, `cyxhw` is centres `[cy, cx, h, w]`. Every function works in pixels and
in relative coordinates alike, keeps sub-pixel values, takes any leading shape (..., 4) including
none and zero rows, and returns the floating dtype it was given (float32 for integers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


def _floating(boxes: npt.ArrayLike) -> FloatArray:
    array = np.asarray(boxes)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)
    return array


def yxyx_from_xywh(boxes_xywh: npt.ArrayLike) -> FloatArray:
    """Convert COCO boxes to corners.

    Args:
        boxes_xywh: (..., 4) `[x, y, w, h]`.

    Returns:
        (..., 4) `[y1, x1, y2, x2]`.

    >>> yxyx_from_xywh([10.0, 20.0, 5.0, 2.0]).tolist()
    [20.0, 10.0, 22.0, 15.0]
    """
    x, y, w, h = np.moveaxis(_floating(boxes_xywh), -1, 0)
    return np.stack([y, x, y + h, x + w], axis=-1)


def xywh_from_yxyx(boxes_yxyx: npt.ArrayLike) -> FloatArray:
    """Convert corners (..., 4) to COCO boxes (..., 4).

    >>> xywh_from_yxyx([20.0, 10.0, 22.0, 15.0]).tolist()
    [10.0, 20.0, 5.0, 2.0]
    """
    y1, x1, y2, x2 = np.moveaxis(_floating(boxes_yxyx), -1, 0)
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=-1)


def yxyx_from_cyxhw(boxes_cyxhw: npt.ArrayLike) -> FloatArray:
    """Convert centres (..., 4) to corners (..., 4).

    >>> yxyx_from_cyxhw([1.0, 2.0, 2.0, 4.0]).tolist()
    [0.0, 0.0, 2.0, 4.0]
    """
    cy, cx, h, w = np.moveaxis(_floating(boxes_cyxhw), -1, 0)
    return np.stack([cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2], axis=-1)


def area(boxes_yxyx: npt.ArrayLike) -> FloatArray:
    """Area of corner boxes (..., 4) -> (...); an inverted box has area 0."""
    y1, x1, y2, x2 = np.moveaxis(_floating(boxes_yxyx), -1, 0)
    return np.maximum(y2 - y1, 0) * np.maximum(x2 - x1, 0)


def clip(boxes_yxyx: npt.ArrayLike, height: float, width: float) -> FloatArray:
    """Clip corner boxes (..., 4) to `0 <= y <= height`, `0 <= x <= width` (1, 1 for relative
    boxes).
    """
    boxes = _floating(boxes_yxyx)
    limit = np.array([height, width, height, width], dtype=boxes.dtype)
    return np.clip(boxes, boxes.dtype.type(0), limit)


def intersection(boxes_yxyx: npt.ArrayLike, others_yxyx: npt.ArrayLike) -> FloatArray:
    """Area of overlap of every pair: (N, 4) and (M, 4) -> (N, M)."""
    a = _floating(boxes_yxyx).reshape(-1, 1, 4)
    b = _floating(others_yxyx).reshape(1, -1, 4)
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.maximum(size, 0).prod(axis=-1)


def iou(boxes_yxyx: npt.ArrayLike, others_yxyx: npt.ArrayLike) -> FloatArray:
    """Intersection over union of every pair: (N, 4) and (M, 4) -> (N, M) in 0..1.

    A pair whose union has no area has overlap 0, never NaN.

    >>> iou([[0.0, 0.0, 2.0, 2.0]], [[0.0, 0.0, 2.0, 1.0], [5.0, 5.0, 6.0, 6.0]]).tolist()
    [[0.5, 0.0]]
    """
    a, b = _floating(boxes_yxyx).reshape(-1, 4), _floating(others_yxyx).reshape(-1, 4)
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def inside_fraction(boxes_yxyx: npt.ArrayLike, regions_yxyx: npt.ArrayLike) -> FloatArray:
    """Share of each box that lies in each region: (N, 4) and (M, 4) -> (N, M) in 0..1.

    This is the overlap that COCO uses for crowd regions: intersection over the box's own area.
    """
    a = _floating(boxes_yxyx).reshape(-1, 4)
    shared = intersection(a, regions_yxyx)
    own = np.broadcast_to(area(a)[:, None], shared.shape)
    return np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)
