"""Fused norms, activations and depthwise convolutions on arrays, beside an oracle in float64."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, ops
from numpy.typing import NDArray

from tests.helpers.depthwise_oracle import depthwise_oracle
from training.nets.fused.library import Library
from training.nets.fused.operators import ChainKind, Kind, NormKind, Operators

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

CLAMPS = {"none": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
NORMS = [NormKind(1e-3, 0.03, *clamp) for clamp in CLAMPS.values()]
CHAINS = [
    ChainKind(before, NORMS[2], stride, symmetric)
    for before in (None, NORMS[1], NORMS[2])
    for stride in (1, 2)
    for symmetric in (False, True)
]
SIDES = st.integers(1, 11)


@functools.cache
def operators(threads: int) -> Operators:
    return Operators([*NORMS, *CHAINS], threads)


def call(kind: Kind, way: str, threads: int, arrays: Sequence[Array]) -> None:
    """Call a kernel as a compiled graph does: with the addresses of its arrays, results last."""
    kinds = operators(threads)
    shapes = [np.array(array.shape, np.int64) for array in arrays]
    at = np.array([array.ctypes.data for array in arrays], np.int64)
    shapes_at = np.array([shape.ctypes.data for shape in shapes], np.int64)
    function = getattr(kinds.library.loaded, f"{way}{kinds.kinds.index(kind)}")
    function.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 6
    assert function(len(at), at.ctypes.data, None, shapes_at.ctypes.data, None, None, None) == 0


class Norm:
    """A norm and a clamp in float64, and their gradient."""

    def __init__(self, kind: NormKind, channels: int, rng: np.random.Generator) -> None:
        self.kind = kind
        self.gamma = rng.uniform(0.5, 2, channels).astype(np.float32)
        self.beta = rng.normal(0.5, 1, channels).astype(np.float32)
        self.mean = rng.normal(size=channels).astype(np.float32)
        self.variance = rng.uniform(0.1, 2, channels).astype(np.float32)

    def arrays(self) -> list[Array]:
        return [self.gamma, self.beta, self.mean, self.variance]

    def forward(self, x: Doubles) -> Doubles:
        axes = (0, 2, 3)
        mean, variance = x.mean(axes), x.var(axes)
        self.count = x.size / x.shape[1]
        self.inverse = 1 / np.sqrt(variance + self.kind.eps)
        self.normed = (x - wide(mean)) * wide(self.inverse)
        share, unbiased = self.kind.share, variance * self.count / max(self.count - 1, 1)
        self.new_mean = self.mean * (1 - share) + mean * share
        self.new_variance = self.variance * (1 - share) + unbiased * share
        self.value = self.normed * wide(self.gamma) + wide(self.beta)
        return np.clip(self.value, self.kind.low, self.kind.high)

    def backward(self, dy: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        passed = dy * ((self.value > self.kind.low) & (self.value < self.kind.high))
        dbeta, dgamma = passed.sum((0, 2, 3)), (passed * self.normed).sum((0, 2, 3))
        less = wide(dbeta) / self.count + self.normed * wide(dgamma) / self.count
        return wide(self.gamma * self.inverse) * (passed - less), dgamma, dbeta

    def near_an_edge(self) -> bool:
        """True where rounding may decide whether the clamp lets a value pass."""
        edges = [edge for edge in (self.kind.low, self.kind.high) if math.isfinite(edge)]
        return any(bool((np.abs(self.value - edge) < 1e-4).any()) for edge in edges)


def wide(values: NDArray[Any]) -> Doubles:
    return values.astype(np.float64)[:, None, None]


def empty(*shapes: tuple[int, ...]) -> list[Array]:
    return [np.full(shape, np.nan, np.float32) for shape in shapes]


def assert_close(got: Sequence[Array], wanted: Sequence[Doubles]) -> None:
    for ours, theirs in zip(got, wanted, strict=True):
        scale = max(1.0, float(np.abs(theirs).max()))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-4 * scale)


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 3), channels=st.integers(1, 33), height=SIDES, width=SIDES,
    kind=st.sampled_from(NORMS), threads=st.integers(1, 4), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_norm_of_any_shape_agrees_with_the_oracle_on_any_number_of_threads(
    images: int, channels: int, height: int, width: int, kind: NormKind, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 2, (images, channels, height, width)).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    norm = Norm(kind, channels, rng)
    wanted = norm.forward(x.astype(np.float64))
    results = []
    for count in (threads, 1):
        c = (channels,)
        y, saved, mean, variance = out = empty(x.shape, (2, channels), c, c)
        call(kind, "forward", count, [x, *norm.arrays(), *out])
        gradients = empty(x.shape, c, c)
        call(kind, "backward", count, [x, dy, norm.gamma, norm.beta, saved, *gradients])
        results.append([*out, *gradients])
    for ours, alone in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, alone)
    assert_close([y, mean, variance], [wanted, norm.new_mean, norm.new_variance])
    if not norm.near_an_edge():
        assert_close(gradients, norm.backward(dy.astype(np.float64)))


@settings(deadline=None, max_examples=120)
@given(
    images=st.integers(1, 3), channels=st.integers(1, 33), height=SIDES, width=SIDES,
    kernel=st.sampled_from([1, 3, 5]), kind=st.sampled_from(CHAINS), threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_chain_of_any_shape_agrees_with_the_oracle_on_any_number_of_threads(
    images: int, channels: int, height: int, width: int, kernel: int, kind: ChainKind,
    threads: int, seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 2, (images, channels, height, width)).astype(np.float32)
    weight = rng.standard_normal((channels, 1, kernel, kernel)).astype(np.float32)
    before = Norm(kind.before, channels, rng) if kind.before else None
    after = Norm(kind.after, channels, rng)
    clamped = before.forward(x.astype(np.float64)) if before else x.astype(np.float64)
    between, _, _ = depthwise_oracle(clamped, weight, kind.stride, kind.symmetric)
    wanted = after.forward(between)
    dy = rng.standard_normal(wanted.shape).astype(np.float32)
    c, first = (channels,), 1 if before else 0
    results = []
    for count in (threads, 1):
        out = empty(wanted.shape, *[(2, channels), c, c] * (first + 1))
        call(
            kind, "forward", count,
            [x, *(before.arrays() if before else []), weight, *after.arrays(), *out],
        )  # fmt: skip
        gradients = empty(x.shape, *[c, c] * first, weight.shape, c, c)
        ends = [before.gamma, before.beta] if before else []
        call(
            kind, "backward", count,
            [x, dy, *ends, weight, after.gamma, after.beta, *out[1::3], *gradients],
        )  # fmt: skip
        results.append([*out, *gradients])
    for ours, alone in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, alone)
    averages = [norm for norm in (before, after) if norm]
    moved = [value for norm in averages for value in (norm.new_mean, norm.new_variance)]
    assert_close([out[0], *(out[k] for k in range(2, len(out)) if k % 3 != 1)], [wanted, *moved])
    if any(norm.near_an_edge() for norm in averages):
        return
    dbetween, dgamma2, dbeta2 = after.backward(dy.astype(np.float64))
    _, dx, dweight = depthwise_oracle(clamped, weight, kind.stride, kind.symmetric, dbetween)
    if before:
        dx, dgamma, dbeta = before.backward(dx)
        assert_close(gradients, [dx, dgamma, dbeta, dweight, dgamma2, dbeta2])
    else:
        assert_close(gradients, [dx, dweight, dgamma2, dbeta2])


@pytest.mark.parametrize(
    ("level", "spread"), [(0.0, 1.0), (100.0, 1.0), (1000.0, 0.01), (3.0, 0.0)]
)
def test_a_norm_is_at_least_as_exact_as_that_of_mindspore(level: float, spread: float) -> None:
    rng = np.random.default_rng(5)
    x = (level + spread * rng.standard_normal((4, 16, 37, 41))).astype(np.float32)
    norm = Norm(NORMS[0], 16, rng)
    wanted = norm.forward(x.astype(np.float64))
    theirs, _, _, _, _ = ops.BatchNorm(is_training=True, epsilon=1e-3)(
        *(Tensor(array) for array in (x, *norm.arrays()[:2])),
        ms.Parameter(Tensor(norm.mean)), ms.Parameter(Tensor(norm.variance)),
    )  # fmt: skip
    y, saved, mean, variance = empty(x.shape, (2, 16), (16,), (16,))
    call(NORMS[0], "forward", 2, [x, *norm.arrays(), y, saved, mean, variance])
    error, allowed = np.abs(y - wanted).max(), np.abs(theirs.asnumpy() - wanted).max()
    assert error <= 1.5 * allowed + 2e-6


def test_what_is_not_finite_is_not_hidden_by_a_clamp() -> None:
    norm = Norm(NORMS[2], 2, np.random.default_rng(0))
    x = np.ones((1, 2, 3, 3), np.float32)
    x[0, 0, 1, 1] = np.nan
    y, saved, mean, variance = out = empty(x.shape, (2, 2), (2,), (2,))
    call(NORMS[2], "forward", 1, [x, *norm.arrays(), *out])
    assert np.isnan(y[0, 0]).all()
    assert np.isfinite(y[0, 1]).all()
    assert np.isnan(mean[0])
    assert np.isnan(variance[0])
    assert np.isfinite([mean[1], variance[1]]).all()
    assert np.isnan(saved[:, 0]).all()


def test_a_library_jumps_with_its_constants() -> None:
    calls: list[tuple[int | None, ...]] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, *[ctypes.c_void_p] * 6)
    function = kind(lambda *arguments: calls.append(arguments) or 7)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    many = {f"name{k}": (address, 2**40 + k) for k in range(50)}
    library = Library(many)
    for name, (_, constant) in many.items():
        called = getattr(library.loaded, name)
        called.argtypes = [ctypes.c_int] + [ctypes.c_void_p] * 6
        assert called(1, 2, 3, 4, 5, 6, 8) == 7
        assert calls.pop() == (1, 2, 3, 4, 5, constant, 8)
    assert not hasattr(library.loaded, "name50")
