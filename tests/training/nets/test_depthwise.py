"""Depthwise convolution for training on CPU, beside an oracle in float64 and beside MindSpore's
own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from data_tools.core.errors import SettingError
from tests.helpers.depthwise_oracle import depthwise_oracle
from tests.helpers.run_helpers import REPOSITORY
from training.learning.assemble import build_state
from training.nets.depthwise import BufferPool, DepthwiseKernels, is_depthwise, speed_up_depthwise
from training.nets.settings import model_settings
from training.process.settings import RuntimeSettings
from training.settings import TrainSettings

SIDES = st.integers(1, 11)


@settings(deadline=None, max_examples=80)
@given(
    images=st.integers(1, 3), channels=st.integers(1, 5), height=SIDES, width=SIDES,
    kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]),
    threads=st.integers(1, 4), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_shape_agrees_with_the_oracle_on_any_number_of_threads(
    images: int, channels: int, height: int, width: int, kernel: int, stride: int, threads: int,
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, channels, height, width)).astype(np.float32)
    weight = rng.standard_normal((channels, 1, kernel, kernel)).astype(np.float32)
    rows, columns = -(-height // stride), -(-width // stride)
    dout = rng.standard_normal((images, channels, rows, columns)).astype(np.float32)
    wanted = depthwise_oracle(x, weight, stride, dout=dout)
    kernels = DepthwiseKernels(threads)
    got = (kernels.forward(x, weight, stride), *kernels.gradients(x, weight, dout, stride))
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    alone = DepthwiseKernels(1)
    for ours, theirs in zip(
        got,
        (alone.forward(x, weight, stride), *alone.gradients(x, weight, dout, stride)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_memory_of_a_result_is_used_again_only_when_nobody_holds_it() -> None:
    results = BufferPool()
    first = results.empty((2, 3))
    first[:] = 1.0
    second = results.empty((2, 3))
    second[:] = 2.0
    assert (first == 1.0).all()
    assert not np.shares_memory(first, second)
    where = first.ctypes.data
    del first
    assert results.empty((5,)).ctypes.data == where


def test_what_nobody_holds_does_not_pile_up() -> None:
    results = BufferPool()
    for size in (10, 20, 30, 40, 20, 10):
        results.empty((size,))
    assert [len(block) for block, _ in results.blocks] == [40]


@pytest.mark.parametrize("name", ["ssd300", "ssdlite_mobilenet_v3", "ssd_mobilenet_v1"])
def test_every_depthwise_layer_of_a_model_is_found(name: str) -> None:
    layers = {
        depthwise: build_state(
            TrainSettings(model=model_settings(name), runtime=RuntimeSettings(depthwise=depthwise)),
            3,
        )[0].network
        for depthwise in ("numba", "mindspore")
    }

    def changed(network: nn.Cell) -> list[str]:
        return [n for n, cell in network.cells_and_names() if is_ours(cell)]

    grouped = [
        n
        for n, cell in layers["mindspore"].cells_and_names()
        if isinstance(cell, nn.Conv2d) and cell.group > 1
    ]
    assert grouped
    assert changed(layers["numba"]) == grouped
    assert changed(layers["mindspore"]) == []


def is_ours(cell: nn.Cell) -> bool:
    return isinstance(cell, nn.Conv2d) and isinstance(cell.conv2d, ops.Custom)


def test_half_precision_keeps_the_operators_of_mindspore() -> None:
    state, _, _ = build_state(
        TrainSettings(
            model=model_settings("ssdlite_mobilenet_v3"), runtime=RuntimeSettings(precision="fp16")
        ),
        3,
    )
    assert not any(is_ours(cell) for _, cell in state.network.cells_and_names())


class Loss(nn.Cell):
    """Five depthwise layers with something between them, and a sum whose terms count
    differently.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.SequentialCell(
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 3, pad_mode="same", group=8),
            nn.Tanh(),
            nn.Conv2d(8, 8, 5, 2, pad_mode="same", group=8),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, 2, pad_mode="same", group=8),
            nn.Conv2d(8, 8, 5, 2, pad_mode="pad", padding=2, group=8),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, 2, pad_mode="pad", padding=1, group=8),
        )

    def construct(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return (y * ops.cos(y)).sum()


def differentiated(
    loss: Loss, weights: list[ms.Parameter], images: Tensor
) -> tuple[float, list[NDArray[np.float32]]]:
    def forward(x: Tensor) -> Tensor:
        return loss(x)

    differentiate = ms.value_and_grad(forward, None, weights)

    @ms.jit
    def run(x: Tensor) -> Any:
        return differentiate(x)

    value, gradients = run(images)
    return float(value.asnumpy()), [g.asnumpy() for g in gradients]


def test_a_compiled_network_has_the_loss_and_gradients_that_it_has_with_mindspore() -> None:
    images = Tensor(np.random.default_rng(0).standard_normal((2, 3, 42, 60)).astype(np.float32))
    loss = Loss()
    found = []
    for fast in (False, True):
        if fast:
            assert speed_up_depthwise(loss, 2) == 5
        weights = list(loss.trainable_params())
        found.append(differentiated(loss, weights, images))
    (stock, stock_gradients), (ours, our_gradients) = found
    assert ours == pytest.approx(stock, rel=1e-5)
    assert len(our_gradients) == 6
    for theirs, mine in zip(stock_gradients, our_gradients, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
        assert np.abs(theirs).max() > 0.1


def test_layers_that_the_kernels_do_not_know_are_left_alone() -> None:
    known = nn.Conv2d(4, 4, 3, 2, pad_mode="same", group=4)
    others = [
        nn.Conv2d(4, 4, 3, pad_mode="same"),
        nn.Conv2d(4, 8, 3, pad_mode="same", group=4),
        nn.Conv2d(4, 4, 3, 3, pad_mode="same", group=4),
        nn.Conv2d(4, 4, 3, pad_mode="same", group=4, dilation=2),
        nn.Conv2d(4, 4, 3, pad_mode="valid", group=4),
        nn.Conv2d(4, 4, (3, 5), pad_mode="same", group=4),
    ]
    assert is_depthwise(known)
    assert not any(is_depthwise(cell) for cell in others)


def test_without_numba_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import training.nets

    monkeypatch.setitem(sys.modules, "training.nets.depthwise_kernels", None)
    monkeypatch.delattr(training.nets, "depthwise_kernels", raising=False)
    with pytest.raises(SettingError, match=r"runtime.depthwise=numba.*runtime.depthwise=mindspore"):
        speed_up_depthwise(nn.SequentialCell([nn.Conv2d(4, 4, 3, group=4)]), 1)


TRY_OUT = """
import errno, os, sys
import numpy as np
from training.nets.depthwise import DepthwiseKernels
from numba.core.caching import IndexDataCacheFile

def full(self, key, data):
    raise OSError(errno.ENOSPC, "No space left on device")

if "full" in sys.argv:
    IndexDataCacheFile.save = full
kernels = DepthwiseKernels(2)
x, weight = np.ones((1, 2, 4, 4), np.float32), np.ones((2, 1, 3, 3), np.float32)
out = kernels.forward(x, weight, 1)
kernels.gradients(x, weight, out, 1)
assert len(kernels.kernels.forward.signatures) == 1
print(out[0, 0, 1, 1])
"""


def try_out(cache: Path, *arguments: str) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", TRY_OUT, *arguments]
    ended = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "9.0\n"), ended.stderr


@pytest.mark.slow
def test_kept_code_that_is_damaged_is_compiled_again_and_a_full_disk_is_no_error(
    tmp_path: Path,
) -> None:
    try_out(tmp_path, "full")
    assert not list(tmp_path.rglob("*.nbc"))
    try_out(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert len(kept) >= 14
    for path in kept:
        path.write_bytes(path.read_bytes()[:40])
    try_out(tmp_path)
