"""Depthwise convolution and its gradients, slow and obvious."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def depthwise_oracle(
    x: NDArray[Any],
    weight: NDArray[Any],
    stride: int,
    symmetric: bool = False,
    dout: NDArray[Any] | None = None,
) -> tuple[Doubles, Doubles, Doubles]:
    """Output and, given its gradient, both gradients, one output pixel and one tap at a time.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, K, K).
        stride: 1 or 2.
        symmetric: Zeros as wide on all sides, instead of `same`.
        dout: Gradient by the output; without it both gradients are zeros.
    """
    n, channels, height, width = x.shape
    kernel = weight.shape[-1]
    rows, columns = -(-height // stride), -(-width // stride)
    top, left = (
        kernel // 2 if symmetric else max((out - 1) * stride + kernel - side, 0) // 2
        for out, side in ((rows, height), (columns, width))
    )
    out = np.zeros((n, channels, rows, columns))
    dx, dweight = np.zeros(x.shape), np.zeros(weight.shape)
    for i, j, kh, kw in np.ndindex(rows, columns, kernel, kernel):
        h, w = i * stride + kh - top, j * stride + kw - left
        if 0 <= h < height and 0 <= w < width:
            taps = weight[:, 0, kh, kw].astype(np.float64)
            seen = x[:, :, h, w].astype(np.float64)
            out[:, :, i, j] += taps * seen
            if dout is not None:
                dx[:, :, h, w] += taps * dout[:, :, i, j]
                dweight[:, 0, kh, kw] += (seen * dout[:, :, i, j]).sum(0)
    return out, dx, dweight
