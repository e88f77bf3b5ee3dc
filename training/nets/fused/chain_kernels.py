"""Norm, clamp, depthwise convolution, norm, clamp: such a chain and its gradient, by channel.

No channel depends on another from one end to the other, so a channel of the whole batch goes
through while it is in the cache, and only its input and its output are kept for the gradient. What
lies between is computed again there. The loops over planes are in `plane_kernels.py`, those of the
norms in `norm_kernels.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled
from training.nets.fused.norm_kernels import (
    clamp_norm_onto,
    gradient_sums,
    settle,
    shares_of,
    through_norm,
    through_norm_onto,
)
from training.nets.fused.plane_kernels import (
    filter_plane,
    front_of,
    gather,
    input_gradient,
    phases_for,
    row_length,
    spread,
    weight_gradient,
)

Array = NDArray[np.float32]
Numbers = NDArray[np.float64]


@compiled("contract")
def first_of(
    c: int, gamma: Array, beta: Array, saved: Array
) -> tuple[np.float32, np.float32, np.float32]:
    """Return mean, scale and shift of channel c's first norm; of none where it is empty."""
    if len(gamma) == 0:
        return np.float32(0), np.float32(1), np.float32(0)
    return saved[0, c], gamma[c] * saved[1, c], beta[c]


@compiled("contract")
def zeros_before(side: int, out_side: int, kernel: int, stride: int, symmetric: float) -> int:
    """Return how many zeros stand before the first row or column."""
    if symmetric > 0:
        return kernel // 2
    return max((out_side - 1) * stride + kernel - side, 0) // 2


@compiled("contract")
def chain_forward(
    x: Array, gamma: Array, beta: Array, old_mean: Array, old_variance: Array, weight: Array,
    gamma2: Array, beta2: Array, old_mean2: Array, old_variance2: Array, y: Array, saved: Array,
    new_mean: Array, new_variance: Array, saved2: Array, new_mean2: Array, new_variance2: Array,
    numbers: Numbers, begin: int, end: int,
) -> None:  # fmt: skip
    """Take the channels begin .. end - 1 through the chain.

    Args:
        x: (N, C, H, W).
        gamma: (C,) of the first norm; empty, as all of its arrays, if the chain begins with the
            convolution.
        beta: (C,).
        old_mean: (C,), see `settle`.
        old_variance: (C,).
        weight: (C, K, K).
        gamma2: (C,) of the second norm.
        beta2: (C,).
        old_mean2: (C,).
        old_variance2: (C,).
        y: (N, C, H', W'), written.
        saved: (2, C), written.
        new_mean: (C,), written.
        new_variance: (C,), written.
        saved2: (2, C), written.
        new_mean2: (C,), written.
        new_variance2: (C,), written.
        numbers: eps, share of a batch, low and high of the first norm; the same of the second;
            stride; 1 for padding as wide on all sides, 0 for `same`.
        begin: First channel.
        end: Channel after the last.
    """
    images, channels, height, width = x.shape
    rows, columns = y.shape[2:]
    kernel, stride = weight.shape[1], int(numbers[8])
    top = zeros_before(height, rows, kernel, stride, numbers[9])
    left = zeros_before(width, columns, kernel, stride, numbers[9])
    low, high = np.float32(numbers[2]), np.float32(numbers[3])
    low2, high2 = np.float32(numbers[6]), np.float32(numbers[7])
    phases = phases_for(rows, columns, kernel, stride)
    length = row_length(columns, kernel, stride)
    line = np.empty(rows * length, np.float32)
    flat_x = x.reshape(images, channels, height * width)
    flat_y = y.reshape(images, channels, rows * columns)
    for c in range(begin, end):
        if len(gamma) > 0:
            settle(
                flat_x, c, old_mean, old_variance, saved, new_mean, new_variance, numbers[0],
                numbers[1],
            )  # fmt: skip
        mean, scale, shift = first_of(c, gamma, beta, saved)
        for n in range(images):
            spread(x[n, c], phases, length, top, left, mean, scale, shift, low, high)
            filter_plane(phases, weight[c], line, length)
            for i in range(rows):
                y[n, c, i] = line[i * length : i * length + columns]
        settle(
            flat_y, c, old_mean2, old_variance2, saved2, new_mean2, new_variance2, numbers[4],
            numbers[5],
        )  # fmt: skip
        scale2 = gamma2[c] * saved2[1, c]
        for n in range(images):
            clamp_norm_onto(flat_y[n, c], saved2[0, c], scale2, beta2[c], low2, high2)


@compiled("contract")
def chain_backward(
    x: Array, dy: Array, gamma: Array, beta: Array, weight: Array, gamma2: Array, beta2: Array,
    saved: Array, saved2: Array, dx: Array, dgamma: Array, dbeta: Array, dweight: Array,
    dgamma2: Array, dbeta2: Array, numbers: Numbers, begin: int, end: int,
) -> None:  # fmt: skip
    """Write the gradients of `chain_forward` by x, both norms and the weights; shapes as there."""
    images, channels, height, width = x.shape
    rows, columns = dy.shape[2:]
    kernel, stride = weight.shape[1], int(numbers[8])
    top = zeros_before(height, rows, kernel, stride, numbers[9])
    left = zeros_before(width, columns, kernel, stride, numbers[9])
    low, high = np.float32(numbers[2]), np.float32(numbers[3])
    low2, high2 = np.float32(numbers[6]), np.float32(numbers[7])
    phases, slopes = (
        phases_for(rows, columns, kernel, stride), phases_for(rows, columns, kernel, stride)
    )  # fmt: skip
    length = row_length(columns, kernel, stride)
    front = front_of(length, kernel, stride)
    line = np.empty(rows * length, np.float32)
    dline = np.zeros(front + phases.shape[1], np.float32)
    pixels, outs = height * width, rows * columns
    flat_x = x.reshape(images, channels, pixels)
    flat_dx = dx.reshape(images, channels, pixels)
    flat_dy = dy.reshape(images, channels, outs)
    total_weight = np.empty((kernel, kernel), np.float64)
    for c in range(begin, end):
        mean, scale, shift = first_of(c, gamma, beta, saved)
        mean2, scale2, shift2 = saved2[0, c], gamma2[c] * saved2[1, c], beta2[c]
        total, product = 0.0, 0.0
        for n in range(images):
            spread(x[n, c], phases, length, top, left, mean, scale, shift, low, high)
            filter_plane(phases, weight[c], line, length)
            # The convolution's output waits where the gradient will be written.
            held = flat_dx[n, c, :outs].reshape(rows, columns)
            for i in range(rows):
                held[i] = line[i * length : i * length + columns]
            a, b = gradient_sums(
                flat_dx[n, c, :outs], flat_dy[n, c], mean2, scale2, shift2, low2, high2
            )
            total += a
            product += b
        dgamma2[c], dbeta2[c] = product * saved2[1, c], total
        level, slope = shares_of(total, product, saved2[1, c], images * outs)
        total_weight[:] = 0.0
        total, product = 0.0, 0.0
        for n in range(images):
            for i in range(rows):
                start = front + i * length
                through_norm(
                    flat_dx[n, c, i * columns : (i + 1) * columns], dy[n, c, i],
                    dline[start : start + columns], mean2, scale2, shift2, low2, high2, level,
                    slope,
                )  # fmt: skip
            spread(x[n, c], phases, length, top, left, mean, scale, shift, low, high)
            weight_gradient(phases, dline, total_weight, front, rows * length, length)
            input_gradient(dline, weight[c], slopes, length)
            gather(slopes, dx[n, c], length, top, left)
            if len(gamma) > 0:
                a, b = gradient_sums(flat_x[n, c], flat_dx[n, c], mean, scale, shift, low, high)
                total += a
                product += b
        dweight[c] = total_weight
        if len(gamma) > 0:
            dgamma[c], dbeta[c] = product * saved[1, c], total
            level, slope = shares_of(total, product, saved[1, c], images * pixels)
            for n in range(images):
                through_norm_onto(
                    flat_x[n, c], flat_dx[n, c], mean, scale, shift, low, high, level, slope
                )


FUNCTIONS = (first_of, zeros_before, chain_forward, chain_backward)
"""All that is compiled here."""
