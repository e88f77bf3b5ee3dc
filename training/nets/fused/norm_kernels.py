"""Batch norm with an activation, and its gradient, as compiled loops over one channel.

Maps are (N, C, P): N images, C channels, P pixels. A channel depends on no other, so any division
of channels among threads gives the same bits. An activation is a clamp to [low, high]: none, ReLU
and ReLU6 differ in these two numbers only.

Sums are taken in float32 over short runs, in whichever order the compiler's vectors need, and the
runs' sums are added in float64, in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_tools.core.compiled import compiled

Array = NDArray[np.float32]

RUN = 1024
"""Longest run that is summed in float32."""


@compiled("contract", "reassoc")
def sum_of(values: Array) -> np.float32:
    """Sum of a short run."""
    total = np.float32(0)
    for j in range(len(values)):
        total += values[j]
    return total


@compiled("contract", "reassoc")
def squares_about(values: Array, mean: np.float32) -> np.float32:
    """Sum of squared distances of a short run from `mean`."""
    total = np.float32(0)
    for j in range(len(values)):
        total += (values[j] - mean) * (values[j] - mean)
    return total


@compiled("contract", "reassoc")
def sums_through(
    x: Array, dy: Array, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32,
) -> tuple[np.float32, np.float32]:  # fmt: skip
    """Sums over a short run of dv and dv * (x - mean): dv is dy where the clamp let x pass."""
    total, product = np.float32(0), np.float32(0)
    for j in range(len(x)):
        away = x[j] - mean
        normed = away * scale + shift
        given = dy[j]
        passed = given if (low < normed) & (normed < high) else np.float32(0)
        total += passed
        product += passed * away
    return total, product


@compiled("contract")
def moments(x: Array, c: int) -> tuple[float, float]:
    """Mean and variance (of N * P values, biased) of channel c of (N, C, P)."""
    images, _, pixels = x.shape
    total = 0.0
    for n in range(images):
        for start in range(0, pixels, RUN):
            total += sum_of(x[n, c, start : start + RUN])
    count = images * pixels
    mean = total / count
    near = np.float32(mean)
    squares = 0.0
    for n in range(images):
        for start in range(0, pixels, RUN):
            squares += squares_about(x[n, c, start : start + RUN], near)
    spread = float(squares / count - (mean - near) ** 2)
    # A NaN stays one.
    return mean, 0.0 if spread < 0.0 else spread


@compiled("contract")
def clamped(
    x: np.float32, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32,
) -> np.float32:  # fmt: skip
    """clamp((x - mean) * scale + shift); a NaN stays one."""
    value = (x - mean) * scale + shift
    value = low if value < low else value
    return high if value > high else value


@compiled("contract")
def slope_at(
    x: np.float32, dy: np.float32, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32, level: np.float32, slope: np.float32,
) -> np.float32:  # fmt: skip
    """Gradient by x: scale * (dv - level - slope * (x - mean)), dv as in `sums_through`."""
    away = x - mean
    normed = away * scale + shift
    passed = dy if (low < normed) & (normed < high) else np.float32(0)
    return scale * (passed - level - slope * away)


@compiled("contract")
def clamp_norm(
    x: Array, out: Array, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32,
) -> None:  # fmt: skip
    """Write a run as `clamped` makes it."""
    for j in range(len(out)):
        out[j] = clamped(x[j], mean, scale, shift, low, high)


@compiled("contract")
def clamp_norm_onto(
    x: Array, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32,
) -> None:  # fmt: skip
    """`clamp_norm` onto its own input: a function of its own, for vectors need arrays that do not
    overlap.
    """
    for j in range(len(x)):
        x[j] = clamped(x[j], mean, scale, shift, low, high)


@compiled("contract")
def through_norm(
    x: Array, dy: Array, dx: Array, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32, level: np.float32, slope: np.float32,
) -> None:  # fmt: skip
    """Write the gradient of a run by its input, see `slope_at`."""
    for j in range(len(dx)):
        dx[j] = slope_at(x[j], dy[j], mean, scale, shift, low, high, level, slope)


@compiled("contract")
def through_norm_onto(
    x: Array, dx: Array, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32, level: np.float32, slope: np.float32,
) -> None:  # fmt: skip
    """`through_norm` where dx holds dy."""
    for j in range(len(dx)):
        dx[j] = slope_at(x[j], dx[j], mean, scale, shift, low, high, level, slope)


@compiled("contract")
def gradient_sums(
    x: Array, dy: Array, mean: np.float32, scale: np.float32, shift: np.float32,
    low: np.float32, high: np.float32,
) -> tuple[float, float]:  # fmt: skip
    """`sums_through` over a run of any length, added in float64."""
    total, product = 0.0, 0.0
    for start in range(0, len(x), RUN):
        stop = min(start + RUN, len(x))
        a, b = sums_through(x[start:stop], dy[start:stop], mean, scale, shift, low, high)
        total += a
        product += b
    return total, product


@compiled("contract")
def shares_of(
    total: float, product: float, inverse: np.float32, count: int
) -> tuple[np.float32, np.float32]:
    """Return `level` and `slope` of `through_norm` from the sums of `gradient_sums`.

    Both are what the batch's own mean and variance take back of the gradient.
    """
    return np.float32(total / count), np.float32(product * inverse * inverse / count)


@compiled("contract")
def settle(
    x: Array, c: int, old_mean: Array, old_variance: Array, saved: Array, new_mean: Array,
    new_variance: Array, eps: float, share: float,
) -> None:  # fmt: skip
    """Take the moments of channel c and move the running averages.

    Args:
        x: (N, C, P).
        c: The channel.
        old_mean: (C,) running mean.
        old_variance: (C,) running variance.
        saved: (2, C), written at c: mean, and 1 / sqrt(variance + eps).
        new_mean: (C,), written at c: the running mean after this batch.
        new_variance: (C,), written at c: the same of the unbiased variance.
        eps: Added to the variance.
        share: Share of a batch in the running averages.
    """
    mean, variance = moments(x, c)
    saved[0, c] = mean
    saved[1, c] = 1.0 / np.sqrt(variance + eps)
    count = x.shape[0] * x.shape[2]
    unbiased = variance * (count / max(count - 1, 1))
    new_mean[c] = old_mean[c] * (1.0 - share) + mean * share
    new_variance[c] = old_variance[c] * (1.0 - share) + unbiased * share


@compiled("contract")
def norm_forward(
    x: Array, gamma: Array, beta: Array, old_mean: Array, old_variance: Array, y: Array,
    saved: Array, new_mean: Array, new_variance: Array, numbers: NDArray[np.float64], begin: int,
    end: int,
) -> None:  # fmt: skip
    """Normalise and clamp the channels begin .. end - 1.

    Args:
        x: (N, C, P).
        gamma: (C,).
        beta: (C,).
        old_mean: (C,), see `settle`, as for all that follow but y.
        old_variance: (C,).
        y: (N, C, P), written.
        saved: (2, C), written.
        new_mean: (C,), written.
        new_variance: (C,), written.
        numbers: eps, share of a batch in the running averages, low, high.
        begin: First channel.
        end: Channel after the last.
    """
    low, high = np.float32(numbers[2]), np.float32(numbers[3])
    for c in range(begin, end):
        settle(
            x, c, old_mean, old_variance, saved, new_mean, new_variance, numbers[0], numbers[1]
        )  # fmt: skip
        scale = gamma[c] * saved[1, c]
        for n in range(x.shape[0]):
            clamp_norm(x[n, c], y[n, c], saved[0, c], scale, beta[c], low, high)


@compiled("contract")
def norm_backward(
    x: Array, dy: Array, gamma: Array, beta: Array, saved: Array, dx: Array, dgamma: Array,
    dbeta: Array, numbers: NDArray[np.float64], begin: int, end: int,
) -> None:  # fmt: skip
    """Write the gradients of `norm_forward` by x, gamma and beta; shapes as there."""
    low, high = np.float32(numbers[2]), np.float32(numbers[3])
    images, _, pixels = x.shape
    for c in range(begin, end):
        mean, scale, shift = saved[0, c], gamma[c] * saved[1, c], beta[c]
        total, product = 0.0, 0.0
        for n in range(images):
            a, b = gradient_sums(x[n, c], dy[n, c], mean, scale, shift, low, high)
            total += a
            product += b
        level, slope = shares_of(total, product, saved[1, c], images * pixels)
        dgamma[c], dbeta[c] = product * saved[1, c], total
        for n in range(images):
            through_norm(x[n, c], dy[n, c], dx[n, c], mean, scale, shift, low, high, level, slope)


FUNCTIONS = (
    sum_of, squares_about, sums_through, moments, clamped, slope_at, clamp_norm, clamp_norm_onto,
    through_norm, through_norm_onto, gradient_sums, shares_of, settle, norm_forward, norm_backward,
)  # fmt: skip
"""All that is compiled here."""
