"""Depthwise convolution and its two gradients as compiled loops over planes (one channel of one
image).

Importing it imports Numba, and the first call compiles (kept on disk). Who calls it is
`depthwise.py`.

A plane is copied into a buffer with a border of zeros, cut by column modulo stride, so that every
tap of the kernel is one run over contiguous floats. Planes do not depend on each other: any
division of the work gives the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled

Array = NDArray[np.float32]


@compiled("contract")
def buffer_for(height: int, width: int, kernel: int, stride: int) -> Array:
    """Return the zeroed (stride, rows, columns) buffer of a plane with this output size."""
    rows = (height - 1) * stride + kernel + 1
    return np.zeros((stride, rows, width + (kernel - 1) // stride + 2), np.float32)


@compiled("contract")
def spread(plane: Array, buffer: Array, top: int, left: int) -> None:
    """Copy (H, W) into the buffer: buffer[q, r, j] = plane[r - top, stride * j + q - left].

    Strides are 1 or 2; the border stays zero.
    """
    height, width = plane.shape
    if buffer.shape[0] == 1:
        for h in range(height):
            buffer[0, h + top, left : left + width] = plane[h]
        return
    odd = left % 2
    pairs = (width - odd) // 2
    at = (left + odd) // 2
    for h in range(height):
        row, even_out, odd_out = plane[h, odd:], buffer[0, h + top, at:], buffer[1, h + top, at:]
        if odd:
            buffer[1, h + top, left // 2] = plane[h, 0]
        for j in range(pairs):
            even_out[j] = row[2 * j]
            odd_out[j] = row[2 * j + 1]
        if odd + 2 * pairs < width:
            even_out[pairs] = row[2 * pairs]


@compiled("contract")
def gather(buffer: Array, plane: Array, top: int, left: int) -> None:
    """Copy out of the buffer what `spread` copies in."""
    height, width = plane.shape
    if buffer.shape[0] == 1:
        for h in range(height):
            plane[h] = buffer[0, h + top, left : left + width]
        return
    odd = left % 2
    pairs = (width - odd) // 2
    at = (left + odd) // 2
    for h in range(height):
        row, even_in, odd_in = plane[h, odd:], buffer[0, h + top, at:], buffer[1, h + top, at:]
        if odd:
            plane[h, 0] = buffer[1, h + top, left // 2]
        for j in range(pairs):
            row[2 * j] = even_in[j]
            row[2 * j + 1] = odd_in[j]
        if odd + 2 * pairs < width:
            row[2 * pairs] = even_in[pairs]


@compiled("contract")
def under_tap(buffer: Array, i: int, kh: int, kw: int, width: int) -> Array:
    """Return the part of the buffer that tap (kh, kw) meets along row i of the output."""
    stride = buffer.shape[0]
    first = kw // stride
    return buffer[kw % stride, i * stride + kh, first : first + width]


@compiled("contract")
def forward(
    x: Array, weight: Array, out: Array, stride: int, top: int, left: int, begin: int, end: int
) -> None:
    """Filter the planes begin .. end - 1.

    Args:
        x: (N * C, H, W).
        weight: (C, K, K).
        out: (N * C, H', W'), written.
        stride: 1 or 2.
        top: Rows of zeros above a plane.
        left: Columns of zeros to its left.
        begin: First plane.
        end: Plane after the last.
    """
    channels, kernel, _ = weight.shape
    height, width = out.shape[1:]
    buffer = buffer_for(height, width, kernel, stride)
    for p in range(begin, end):
        spread(x[p], buffer, top, left)
        for i in range(height):
            row = out[p, i]
            row[:] = 0.0
            for kh in range(kernel):
                for kw in range(kernel):
                    tap = weight[p % channels, kh, kw]
                    seen = under_tap(buffer, i, kh, kw, width)
                    for j in range(width):
                        row[j] += tap * seen[j]


@compiled("contract")
def input_gradient(
    dout: Array, weight: Array, dx: Array, stride: int, top: int, left: int, begin: int, end: int
) -> None:
    """Write the gradient by the input, `dx`, of the planes begin .. end - 1; shapes as in
    `forward`.
    """
    channels, kernel, _ = weight.shape
    height, width = dout.shape[1:]
    buffer = buffer_for(height, width, kernel, stride)
    for p in range(begin, end):
        buffer[:] = 0.0
        for i in range(height):
            row = dout[p, i]
            for kh in range(kernel):
                for kw in range(kernel):
                    tap = weight[p % channels, kh, kw]
                    seen = under_tap(buffer, i, kh, kw, width)
                    for j in range(width):
                        seen[j] += tap * row[j]
        gather(buffer, dx[p], top, left)


# Only here may the compiler reorder a sum, which it must to use vectors; the rows' sums are then
# added in float64.
@compiled("contract", "reassoc")
def dot(a: Array, b: Array) -> np.float32:
    """Inner product of two vectors of one length."""
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@compiled("contract")
def weight_gradient(
    x: Array, dout: Array, dweight: Array, stride: int, top: int, left: int, begin: int, end: int
) -> None:
    """Write the gradient by the weights of the channels begin .. end - 1; shapes as in
    `forward`.
    """
    channels, kernel, _ = dweight.shape
    height, width = dout.shape[1:]
    buffer = buffer_for(height, width, kernel, stride)
    total = np.empty((kernel, kernel), np.float64)
    for c in range(begin, end):
        total[:] = 0.0
        for p in range(c, x.shape[0], channels):
            spread(x[p], buffer, top, left)
            for i in range(height):
                row = dout[p, i]
                for kh in range(kernel):
                    for kw in range(kernel):
                        total[kh, kw] += dot(row, under_tap(buffer, i, kh, kw, width))
        dweight[c] = total


FUNCTIONS = (buffer_for, spread, gather, under_tap, dot, forward, input_gradient, weight_gradient)
"""All that is compiled here."""
