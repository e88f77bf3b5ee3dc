"""Networks whose norms are fused with their neighbours, beside the same with MindSpore's own."""

from __future__ import annotations

import sys
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from data_tools.core.errors import SettingError
from training.learning.training_network import build_trainable
from training.nets.build import build_network
from training.nets.depthwise import speed_up_depthwise
from training.nets.fused import library
from training.nets.fused.cells import Chain, FusedNorm, HalfChain, find, speed_up_norms
from training.nets.layers import ConvBNReLU, InvertedResidual
from training.nets.norm import make_norm
from training.nets.settings import model_settings
from training.process.settings import RuntimeSettings
from training.settings import TrainSettings

Arrays = dict[str, NDArray[np.float32]]


def network_of(norm: str = "local") -> nn.SequentialCell:
    """A stem and three blocks: chains with stride 1 and 2, one without a norm before it."""
    ms.set_seed(3)
    np.random.seed(3)
    make = make_norm(norm)
    network = nn.SequentialCell(
        ConvBNReLU(3, 8, make, stride=2),
        InvertedResidual(8, 8, make, 1, 1),
        InvertedResidual(8, 12, make, 2, 3),
        InvertedResidual(12, 12, make, 1, 2, last_relu=True),
        nn.SequentialCell(nn.Conv2d(12, 8, 1), make(8), nn.ReLU()),
    )
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        if parameter.name.endswith(("gamma", "moving_variance")):
            parameter.set_data(Tensor(rng.uniform(0.5, 2, parameter.shape), ms.float32))
        elif parameter.name.endswith(("beta", "moving_mean")):
            parameter.set_data(Tensor(rng.normal(0.5, 1, parameter.shape), ms.float32))
    network.set_train(True)
    return network


def two_steps(network: nn.Cell) -> tuple[float, Arrays, Arrays]:
    """Return loss and gradients of a batch seen twice, and all parameters after that."""
    weights = list(network.trainable_params())

    def forward(x: Tensor) -> Tensor:
        y = network(x)
        return (y * ops.cos(y)).sum()

    differentiate = ms.value_and_grad(forward, None, weights)

    @ms.jit
    def run(x: Tensor) -> Any:
        return differentiate(x)

    images = np.random.default_rng(0).standard_normal((2, 3, 42, 60)).astype(np.float32)
    run(Tensor(images))
    value, gradients = run(Tensor(images))
    return (
        float(value.asnumpy()),
        {p.name: g.asnumpy() for p, g in zip(weights, gradients, strict=True)},
        {p.name: p.asnumpy() for p in network.get_parameters()},
    )


def freeze(network: nn.Cell, part: str) -> None:
    for name, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d) and part in name:
            cell.set_train(False)


@pytest.mark.parametrize("frozen", ["nothing", "conv.1.features", "conv.0.features"])
def test_a_compiled_network_trains_as_it_does_with_the_norms_of_mindspore(frozen: str) -> None:
    found = []
    for fused in (False, True):
        network = network_of()
        names = [p.name for p in network.get_parameters()]
        layers = [name for name, _ in network.cells_and_names()]
        speed_up_depthwise(network, 2)
        if fused:
            assert speed_up_norms(network, 2) == 10
        assert names == [p.name for p in network.get_parameters()]
        assert layers == [name for name, _ in network.cells_and_names()]
        freeze(network, frozen)
        found.append(two_steps(network))
    (stock, stock_gradients, stock_after), (ours, gradients, after) = found
    assert ours == pytest.approx(stock, rel=2e-5)
    assert list(gradients) == list(stock_gradients)
    largest = max(np.abs(gradient).max() for gradient in stock_gradients.values())
    for name, theirs in stock_gradients.items():
        np.testing.assert_allclose(
            gradients[name], theirs, rtol=2e-3, atol=2e-5 * largest, err_msg=name
        )
    for name, theirs in stock_after.items():
        np.testing.assert_allclose(after[name], theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    moved = [name for name in after if "moving" in name and frozen not in name]
    before = {p.name: p.asnumpy() for p in network_of().get_parameters()}
    assert moved
    assert all(np.abs(after[name] - before[name]).max() > 1e-3 for name in moved)


@pytest.mark.parametrize(
    ("name", "chains", "halves"),
    [("ssd300", 20, 13), ("ssdlite_mobilenet_v3", 9, 22), ("ssd_light", 0, 0)],
)
def test_every_norm_of_a_model_is_found(name: str, chains: int, halves: int) -> None:
    settings = TrainSettings(model=model_settings(name), runtime=RuntimeSettings(norms="fused"))
    network = build_trainable(settings, 3)
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]
    assert all(type(cell) is FusedNorm for cell in norms)
    kinds = [type(cell) for _, cell in network.cells_and_names()]
    assert (kinds.count(Chain), kinds.count(HalfChain)) == (chains, halves)
    stock = build_network(settings.model, 3, seed=settings.seed)
    assert [p.name for p in network.get_parameters()] == [p.name for p in stock.get_parameters()]


@pytest.mark.parametrize("norm", ["sync", "frozen"])
def test_other_norms_are_left_alone(norm: str) -> None:
    assert find(network_of(norm)) == ([], [])
    assert speed_up_norms(network_of(norm), 2) == 0


def test_layers_that_occur_twice_are_left_alone() -> None:
    norm, relu = make_norm("local")(8), nn.ReLU()
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), norm, relu, nn.Conv2d(8, 8, 1), norm)
    assert find(network) == ([], [])
    other = make_norm("local")(8)
    groups, _ = find(nn.SequentialCell(nn.Conv2d(3, 8, 1), relu, nn.Conv2d(8, 8, 1), other, relu))
    assert [(group.norm, group.activation) for group in groups] == [(other, None)]


@pytest.mark.parametrize(
    ("name", "runtime", "fused"),
    [
        ("ssd300", {}, True),
        ("ssd300", {"norms": "mindspore"}, False),
        ("ssd300", {"depthwise": "mindspore"}, False),
        ("ssd_light", {}, False),
        ("ssd_light", {"norms": "fused"}, True),
    ],
)
def test_a_run_fuses_norms_where_that_pays_unless_told(
    name: str, runtime: dict[str, str], fused: bool
) -> None:
    settings = TrainSettings(model=model_settings(name), runtime=RuntimeSettings(**runtime))
    network = build_trainable(settings, 3)
    assert fused == any(isinstance(cell, FusedNorm) for _, cell in network.cells_and_names())


def test_without_numba_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import training.nets.fused

    monkeypatch.setitem(sys.modules, "training.nets.fused.calls", None)
    monkeypatch.delattr(training.nets.fused, "calls", raising=False)
    with pytest.raises(SettingError, match=r"runtime.norms=fused.*runtime.norms=mindspore"):
        speed_up_norms(network_of(), 1)


def test_where_no_library_can_be_loaded_mindspore_computes_and_a_note_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(library.platform, "machine", lambda: "riscv64")
    network = network_of()
    assert speed_up_norms(network, 1) == 0
    assert "runtime.norms=fused: no jumps are known for linux on riscv64" in capsys.readouterr().err
    assert not any(isinstance(cell, FusedNorm) for _, cell in network.cells_and_names())
