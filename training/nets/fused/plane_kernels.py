"""Depthwise convolution of one plane (one channel of one image) and its gradients, as compiled
loops.

A plane is copied into `phases`: (stride * stride, size) zeros, where pixel (h, w), moved by the
zeros above and to the left, stands in phase (h % stride, w % stride) at row h // stride, column
w // stride. Rows follow each other without a gap, each a little longer than a row of the output. So
tap (kh, kw) meets the whole output plane as one run of contiguous floats: the output is computed
in rows of that length, and what comes after its own columns is of no use.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled
from training.nets.depthwise_kernels import dot
from training.nets.fused.norm_kernels import RUN, clamp_norm, clamped

Array = NDArray[np.float32]


@compiled("contract")
def row_length(columns: int, kernel: int, stride: int) -> int:
    """Length of a row of `phases` for an output of this width."""
    return columns + (kernel - 1) // stride


@compiled("contract")
def front_of(length: int, kernel: int, stride: int) -> int:
    """How far the last tap's run begins behind the first's, in its phase."""
    return (kernel - 1) // stride * (length + 1)


@compiled("contract")
def phases_for(rows: int, columns: int, kernel: int, stride: int) -> Array:
    """Return the zeroed phases of a plane with this output size."""
    length = row_length(columns, kernel, stride)
    size = (rows + (kernel - 1) // stride) * length + (kernel - 1) // stride
    return np.zeros((stride * stride, size), np.float32)


@compiled("contract")
def spread(
    plane: Array, phases: Array, length: int, top: int, left: int, mean: np.float32,
    scale: np.float32, shift: np.float32, low: np.float32, high: np.float32,
) -> None:  # fmt: skip
    """Copy (H, W) into the phases as `clamp_norm` makes it; the border stays zero."""
    height, width = plane.shape
    if phases.shape[0] == 1:
        for h in range(height):
            start = (h + top) * length + left
            clamp_norm(plane[h], phases[0, start : start + width], mean, scale, shift, low, high)
        return
    # Pairs of columns, a phase each; with a zero to their left the first column is alone.
    odd = left % 2
    pairs = (width - odd) // 2
    for h in range(height):
        phase, start = (h + top) % 2 * 2, (h + top) // 2 * length + left // 2
        evens, odds = phases[phase, start + odd :], phases[phase + 1, start + odd :]
        row = plane[h, odd:]
        for j in range(pairs):
            evens[j] = clamped(row[2 * j], mean, scale, shift, low, high)
            odds[j] = clamped(row[2 * j + 1], mean, scale, shift, low, high)
        last = odd + 2 * pairs
        if odd:
            first = phases[phase + 1, start : start + 1]
            clamp_norm(plane[h, :1], first, mean, scale, shift, low, high)
        if last < width:
            clamp_norm(plane[h, last:], evens[pairs : pairs + 1], mean, scale, shift, low, high)


@compiled("contract")
def gather(phases: Array, plane: Array, length: int, top: int, left: int) -> None:
    """Copy (H, W) out of where `spread` puts it."""
    height, width = plane.shape
    if phases.shape[0] == 1:
        for h in range(height):
            start = (h + top) * length + left
            plane[h] = phases[0, start : start + width]
        return
    odd = left % 2
    pairs = (width - odd) // 2
    for h in range(height):
        phase, start = (h + top) % 2 * 2, (h + top) // 2 * length + left // 2
        evens, odds = phases[phase, start + odd :], phases[phase + 1, start + odd :]
        row = plane[h, odd:]
        for j in range(pairs):
            row[2 * j] = evens[j]
            row[2 * j + 1] = odds[j]
        if odd:
            plane[h, 0] = phases[phase + 1, start]
        if odd + 2 * pairs < width:
            plane[h, odd + 2 * pairs] = evens[pairs]


@compiled("contract")
def filter_dense(a: Array, b: Array, c: Array, w: Array, out: Array) -> None:
    """Write the sums of nine taps of stride 1: a, b and c are three rows' runs, w is flat."""
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = (w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8])
    for j in range(len(out)):
        out[j] = (
            (w0 * a[j] + w1 * a[j + 1] + w2 * a[j + 2])
            + (w3 * b[j] + w4 * b[j + 1] + w5 * b[j + 2])
            + (w6 * c[j] + w7 * c[j + 1] + w8 * c[j + 2])
        )


@compiled("contract")
def filter_sparse(
    p: Array, q: Array, r: Array, s: Array, length: int, w: Array, out: Array
) -> None:
    """Write the sums of nine taps of stride 2 over the four phases."""
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = (w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8])
    lower_p, lower_q = p[length:], q[length:]
    for j in range(len(out)):
        out[j] = (
            (w0 * p[j] + w1 * q[j] + w2 * p[j + 1])
            + (w3 * r[j] + w4 * s[j] + w5 * r[j + 1])
            + (w6 * lower_p[j] + w7 * lower_q[j] + w8 * lower_p[j + 1])
        )


@compiled("contract")
def scatter_sparse(dline: Array, length: int, w: Array, slopes: Array) -> None:
    """Write the gradient by the input of nine taps of stride 2 into the four phases."""
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = (w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8])
    size = slopes.shape[1] - 1
    p, q, r, s = slopes[0, :size], slopes[1, :size], slopes[2, :size], slopes[3, :size]
    lower = dline[length:]
    for j in range(size):
        p[j] = (w8 * dline[j] + w6 * dline[j + 1]) + (w2 * lower[j] + w0 * lower[j + 1])
        q[j] = w7 * dline[j + 1] + w1 * lower[j + 1]
    for j in range(size):
        r[j] = w5 * lower[j] + w3 * lower[j + 1]
        s[j] = w4 * lower[j + 1]


@compiled("contract")
def add_taps(runs: Array, weight: Array, out: Array, length: int) -> None:
    """Write the sums of any kernel's taps, a short stretch of the output at a time."""
    kernel = weight.shape[0]
    stride = 1 if runs.shape[0] == 1 else 2
    for start in range(0, len(out), RUN):
        part = out[start : start + RUN]
        part[:] = 0.0
        for kh in range(kernel):
            for kw in range(kernel):
                tap = weight[kh, kw]
                at = start + kh // stride * length + kw // stride
                seen = runs[kh % stride * stride + kw % stride, at : at + len(part)]
                for j in range(len(part)):
                    part[j] += tap * seen[j]


@compiled("contract")
def filter_plane(phases: Array, weight: Array, out: Array, length: int) -> None:
    """Write the output, rows of `length`, from what `spread` made of the input."""
    if weight.shape[0] != 3:
        add_taps(phases, weight, out, length)
    elif phases.shape[0] == 1:
        one = phases[0]
        filter_dense(one, one[length:], one[2 * length :], weight.reshape(9), out)
    else:
        filter_sparse(phases[0], phases[1], phases[2], phases[3], length, weight.reshape(9), out)


# As in `dot`, only sums over runs may be reordered; the runs' sums are added in float64.
@compiled("contract", "reassoc")
def three_dots(a: Array, b: Array) -> tuple[np.float32, np.float32, np.float32]:
    """Inner products of a short run with b, b[1:] and b[2:]."""
    first, second, third = np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(a)):
        first += a[j] * b[j]
        second += a[j] * b[j + 1]
        third += a[j] * b[j + 2]
    return first, second, third


@compiled("contract", "reassoc")
def two_dots(a: Array, b: Array) -> tuple[np.float32, np.float32]:
    """Inner products of a short run with b and b[1:]."""
    first, second = np.float32(0), np.float32(0)
    for j in range(len(a)):
        first += a[j] * b[j]
        second += a[j] * b[j + 1]
    return first, second


@compiled("contract")
def weight_gradient(
    phases: Array, dline: Array, total: NDArray[np.float64], front: int, count: int, length: int
) -> None:
    """Add a plane's gradient by the weights to `total`, (K, K).

    Args:
        phases: The input, as `spread` made it.
        dline: The gradient by the output from `front` on, rows of `length` that end with zeros.
        total: Added to.
        front: See `front_of`.
        count: Rows times `length`.
        length: See `row_length`.
    """
    kernel = total.shape[0]
    stride = 1 if phases.shape[0] == 1 else 2
    for start in range(0, count, RUN):
        stop = min(start + RUN, count)
        part = dline[front + start : front + stop]
        for kh in range(kernel):
            if kernel == 3 and stride == 1:
                at = start + kh * length
                a, b, c = three_dots(part, phases[0, at : at + len(part) + 2])
                total[kh, 0] += a
                total[kh, 1] += b
                total[kh, 2] += c
                continue
            if kernel == 3:
                at = start + kh // 2 * length
                a, b = two_dots(part, phases[kh % 2 * 2, at : at + len(part) + 1])
                total[kh, 0] += a
                total[kh, 1] += dot(part, phases[kh % 2 * 2 + 1, at : at + len(part)])
                total[kh, 2] += b
                continue
            for kw in range(kernel):
                at = start + kh // stride * length + kw // stride
                seen = phases[kh % stride * stride + kw % stride, at : at + len(part)]
                total[kh, kw] += dot(part, seen)


@compiled("contract")
def input_gradient(dline: Array, weight: Array, slopes: Array, length: int) -> None:
    """Write the gradient by the input into phases of its own, `slopes`.

    Args:
        dline: See `weight_gradient`.
        weight: (K, K).
        slopes: As `phases`.
        length: See `row_length`.
    """
    kernel = weight.shape[0]
    count = slopes.shape[1]
    if kernel == 3 and slopes.shape[0] == 1:
        flipped = weight.reshape(9)[::-1].copy()
        size = count - 2
        filter_dense(dline, dline[length:], dline[2 * length :], flipped, slopes[0, :size])
        return
    if kernel == 3:
        scatter_sparse(dline, length, weight.reshape(9), slopes)
        return
    stride = 1 if slopes.shape[0] == 1 else 2
    front = front_of(length, kernel, stride)
    for start in range(0, count, RUN):
        stop = min(start + RUN, count)
        for phase in range(stride * stride):
            part = slopes[phase, start:stop]
            first = True
            for kh in range(phase // stride, kernel, stride):
                for kw in range(phase % stride, kernel, stride):
                    tap = weight[kh, kw]
                    at = front + start - kh // stride * length - kw // stride
                    seen = dline[at : at + len(part)]
                    if first:
                        for j in range(len(part)):
                            part[j] = tap * seen[j]
                    else:
                        for j in range(len(part)):
                            part[j] += tap * seen[j]
                    first = False


FUNCTIONS = (
    row_length, front_of, phases_for, spread, gather, filter_dense, filter_sparse, add_taps,
    filter_plane, dot, three_dots, two_dots, scatter_sparse, weight_gradient, input_gradient,
)  # fmt: skip
"""All that is compiled here, or called."""
