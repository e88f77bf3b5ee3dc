"""Shared layers: resizing, batch norm in its three forms, parameter names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from training.nets.fpn import Enlarge, interpolation
from training.nets.norm import make_norm

RNG = np.random.default_rng(0)


def resize_oracle(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, no half-pixel centres, pixel by pixel."""
    h, w = x.shape[2:]
    out = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        y, z = i * h / height, j * w / width
        top, left = int(y), int(z)
        bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
        a, b = y - top, z - left
        out[:, :, i, j] = (
            x[:, :, top, left] * (1 - a) * (1 - b)
            + x[:, :, top, right] * (1 - a) * b
            + x[:, :, bottom, left] * a * (1 - b)
            + x[:, :, bottom, right] * a * b
        )
    return out


@pytest.mark.parametrize(
    ("size_in", "size_out"), [((5, 4), (10, 8)), ((10, 10), (19, 20)), ((1, 1), (2, 2))]
)
def test_enlarge(size_in: tuple[int, int], size_out: tuple[int, int]) -> None:
    x = RNG.standard_normal((2, 3, *size_in)).astype(np.float32)
    cell = Enlarge(size_in, size_out)
    y = cell(Tensor(x)).asnumpy()
    assert np.allclose(y, resize_oracle(x, *size_out), atol=1e-5)
    assert not list(cell.get_parameters())


def test_interpolation_keeps_constants() -> None:
    for size_in, size_out in ((3, 7), (20, 40), (5, 5)):
        assert np.allclose(interpolation(size_in, size_out).sum(1), 1)


class Net(nn.Cell):
    """One normalisation layer, so that names are as in a network."""

    def __init__(self, norm: nn.Cell) -> None:
        super().__init__()
        self.bn = norm

    def construct(self, x: Tensor) -> Tensor:
        return self.bn(x)


def images() -> Tensor:
    return Tensor((RNG.standard_normal((4, 3, 5, 6)) * 3 + 10).astype(np.float32))


def test_sync_over_one_device_is_local() -> None:
    local = Net(make_norm("local")(3)).set_train(True)
    sync = Net(make_norm("sync")(3)).set_train(True)
    assert [p.name for p in sync.get_parameters()] == [p.name for p in local.get_parameters()]
    x = images()
    results = []
    for net in (local, sync):

        def forward(v: Tensor, net: nn.Cell = net) -> Tensor:
            return (net(v) ** 3).sum()

        gradient = ms.grad(forward, 0, net.trainable_params())
        results.append(
            [net(x).asnumpy(), *[g.asnumpy() for part in gradient(x) for g in _flat(part)]]
            + [p.asnumpy() for p in net.get_parameters()]
        )
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-4, atol=2e-3)
    # In inference both use the moving statistics.
    y = images()
    assert np.allclose(
        local.set_train(False)(y).asnumpy(), sync.set_train(False)(y).asnumpy(), atol=1e-4
    )


def norm_oracle(x: np.ndarray, w: np.ndarray) -> list[np.ndarray]:
    """Normalise in float64: y, and the gradients of the sum of w y^2 by x, gamma and beta."""
    x, w, axes = x.astype(np.float64), w.astype(np.float64), (0, 2, 3)
    rate = 1 / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
    y = (x - x.mean(axes, keepdims=True)) * rate
    g = 2 * y * w
    gx = rate * (g - g.mean(axes, keepdims=True) - y * (g * y).mean(axes, keepdims=True))
    return [y, gx, (g * y).sum(axes), g.sum(axes)]


def relative(value: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(
    ("mean", "std", "tolerance"), [(0, 1, 1e-6), (10, 3, 2e-6), (100, 1, 3e-5), (1000, 1, 3e-4)]
)
def test_sync_is_exact_however_far_the_mean_is(mean: float, std: float, tolerance: float) -> None:
    """A variance as mean square less squared mean would lose all digits in the last case."""
    x = (RNG.standard_normal((4, 3, 9, 9)) * std + mean).astype(np.float32)
    w = RNG.standard_normal(x.shape).astype(np.float32)
    net = Net(make_norm("sync")(3)).set_train(True)

    def forward(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        y = net(x)
        return (y**2 * w).sum(), y

    gradient = ms.value_and_grad(forward, 0, net.trainable_params(), has_aux=True)
    (_, y), (gx, (gamma, beta)) = gradient(Tensor(x), Tensor(w))
    found = [tensor.asnumpy() for tensor in (y, gx, gamma, beta)]
    for value, expected in zip(found, norm_oracle(x, w), strict=True):
        assert relative(value, expected) < tolerance


def _flat(part: object) -> list[Tensor]:
    return list(part) if isinstance(part, (tuple, list)) else [part]


def test_frozen_neither_uses_nor_moves_statistics() -> None:
    net = Net(make_norm("frozen")(3)).set_train(True)
    net.bn.moving_mean.set_data(Tensor(np.array([1, 2, 3], np.float32)))
    net.bn.moving_variance.set_data(Tensor(np.array([4, 5, 6], np.float32)))
    x = images()
    want = (x.asnumpy() - np.array([1, 2, 3]).reshape(1, 3, 1, 1)) / np.sqrt(
        np.array([4, 5, 6]).reshape(1, 3, 1, 1) + 1e-3
    )
    assert np.allclose(net(x).asnumpy(), want, atol=1e-4)
    assert net.bn.moving_mean.asnumpy().tolist() == [1, 2, 3]
    assert net.bn.moving_variance.asnumpy().tolist() == [4, 5, 6]


WORKER = """
import sys
import numpy as np
import mindspore as ms
from mindspore import nn
from mindspore.communication import get_rank, init

ms.set_device("CPU")
init()
from training.nets.norm import SyncBatchNorm2d, make_norm

class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.bn = make_norm("sync")(3)
    def construct(self, x):
        return self.bn(x)

net = Net().set_train(True)
assert isinstance(net.bn, SyncBatchNorm2d)
weights = net.trainable_params()
rank = get_rank()
data = np.load(sys.argv[1])
x, w = (ms.Tensor(data[k][rank * 2 : rank * 2 + 2]) for k in ("x", "w"))

def forward(x, w):
    y = net(x)
    return (y ** 2 * w).sum(), y

gradient = ms.value_and_grad(forward, 0, weights, has_aux=True)

@ms.jit
def step(x, w):
    return gradient(x, w)

(value, y), (gx, gw) = step(x, w)
np.savez(
    f"{sys.argv[2]}/rank{rank}.npz", y=y.asnumpy(), gx=gx.asnumpy(),
    gamma=gw[0].asnumpy(), beta=gw[1].asnumpy(),
    mean=net.bn.moving_mean.asnumpy(), variance=net.bn.moving_variance.asnumpy(),
)
"""


@pytest.mark.slow
def test_sync_over_two_devices_is_one_device_with_the_whole_batch(
    tmp_path: Path, repository: Path
) -> None:
    x = (RNG.standard_normal((4, 3, 5, 6)) * 3 + 10).astype(np.float32)
    w = RNG.standard_normal((4, 3, 5, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, w=w)
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    folder = str(Path(sys.executable).parent)
    subprocess.run(
        [
            f"{folder}/msrun",
            "--worker_num=2",
            "--local_worker_num=2",
            "--master_port=18217",
            "--join=True",
            f"--log_dir={tmp_path}/log",
            str(script),
            str(tmp_path / "data.npz"),
            str(tmp_path),
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": folder + os.pathsep + os.environ["PATH"],
            "PYTHONPATH": str(repository),
            "MS_NODE_TIMEOUT": "20",
        },
        check=True,
        timeout=300,
    )
    ranks = [dict(np.load(tmp_path / f"rank{r}.npz")) for r in (0, 1)]
    found = [np.concatenate([r[key] for r in ranks]) for key in ("y", "gx")]
    found += [sum(r[key] for r in ranks) for key in ("gamma", "beta")]
    for value, expected in zip(found, norm_oracle(x, w), strict=True):
        assert relative(value, expected) < 1e-6
    # The forward pass is that of one device to the bit, and both devices hold the same statistics.
    assert np.array_equal(found[0], Net(make_norm("sync")(3)).set_train(True)(Tensor(x)).asnumpy())
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    for key, expected in (("mean", 0.03 * mean), ("variance", 0.97 + 0.03 * variance)):
        assert np.array_equal(ranks[0][key], ranks[1][key])
        assert np.allclose(ranks[0][key], expected, rtol=5e-6)
