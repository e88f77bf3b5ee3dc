"""Lets a network that is already built compute its norms, activations and depthwise convolutions by
fused kernels.

Layers keep their places, names and parameters: a layer's class changes to one that computes more,
or passes on what came. A norm that does not use its batch (frozen) computes as it did before.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mindspore import Tensor, nn, ops

from data_tools.core.errors import SettingError
from training.nets.depthwise import is_depthwise, stride_and_padding
from training.nets.fused.operators import ChainKind, NormKind, Operators
from training.nets.layers import ConvBNReLU


class Passed(nn.Cell):
    """An activation that the norm before it has taken over, or none."""

    def construct(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


ACTIVATIONS: dict[type, tuple[float, float, Any]] = {
    type(None): (-math.inf, math.inf, Passed),
    nn.ReLU: (0.0, math.inf, ops.ReLU),
    nn.ReLU6: (0.0, 6.0, ops.ReLU6),
}
"""Least and largest value of an activation, and what computes it after a frozen norm."""


class FusedNorm(nn.BatchNorm2d):
    """Batch norm that applies the activation behind it as well.

    Attributes:
        fused: The operator.
        activation: What computes the activation while the norm is frozen.
        chained: Whether a depthwise convolution next to it computes it while both norms of that
            convolution train.
        other: The other norm of that convolution, or the norm itself.
    """

    fused: Any
    activation: Any
    chained: bool
    other: nn.BatchNorm2d

    def construct(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) float32; in training also update the moving statistics."""
        if not self.training:
            return self.activation(super().construct(x))
        if self.chained and self.other.training:
            return x
        y, _, mean, variance = self.fused(
            x, self.gamma, self.beta, self.moving_mean, self.moving_variance
        )
        ops.assign(self.moving_mean, mean)
        ops.assign(self.moving_variance, variance)
        return y


# MindSpore's compiler knows super() for one generation only: these two have no parent in common.
class HalfChain(nn.Conv2d):
    """Depthwise convolution with the norm and the activation behind it."""

    chain: Any
    after: Any

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float32 -> (N, C, H', W')."""
        after = self.after
        if not after.training:
            return super().construct(x)
        y, _, mean, variance = self.chain(
            x, self.weight, after.gamma, after.beta, after.moving_mean, after.moving_variance
        )
        ops.assign(after.moving_mean, mean)
        ops.assign(after.moving_variance, variance)
        return y


class Chain(nn.Conv2d):
    """Depthwise convolution with a norm and an activation on both sides."""

    chain: Any
    before: Any
    after: Any

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float32 -> (N, C, H', W')."""
        before, after = self.before, self.after
        if not (before.training and after.training):
            return super().construct(x)
        y, _, mean, variance, _, mean2, variance2 = self.chain(
            x, before.gamma, before.beta, before.moving_mean, before.moving_variance, self.weight,
            after.gamma, after.beta, after.moving_mean, after.moving_variance,
        )  # fmt: skip
        ops.assign(before.moving_mean, mean)
        ops.assign(before.moving_variance, variance)
        ops.assign(after.moving_mean, mean2)
        ops.assign(after.moving_variance, variance2)
        return y


@dataclass(frozen=True)
class Group:
    """Layers that follow each other.

    Attributes:
        norm: A norm.
        activation: The activation behind it, or None.
    """

    norm: nn.BatchNorm2d
    activation: nn.Cell | None

    def kind(self) -> NormKind:
        """What its kernel is."""
        low, high, _ = ACTIVATIONS[type(self.activation)]
        norm = self.norm
        return NormKind(float(norm.eps), float(norm.momentum), low, high)


def speed_up_norms(network: nn.Cell, threads: int, chains: bool = True) -> int:
    """Let the norms of a network be computed by fused kernels.

    Only for float32 on CPU; the network's graph must not be compiled yet.

    Args:
        network: Any network, in training mode.
        threads: Threads to compute with.
        chains: Take depthwise convolutions between them as well.

    Returns:
        Number of norms changed: none, with a note, where this system does not load the kernels.

    Raises:
        SettingError: If Numba cannot be imported.
    """
    groups, links = find(network)
    links = links if chains else []
    if not groups:
        return 0
    kinds = [(cell, _chain_kind(cell, before, after)) for cell, before, after in links]
    try:
        operators = Operators([*(g.kind() for g in groups), *(kind for _, kind in kinds)], threads)
    except ImportError as error:
        raise SettingError(
            f"runtime.norms=fused: Numba cannot be used here ({error}). "
            "Install it (pip install numba), or set runtime.norms=mindspore."
        ) from error
    except OSError as error:
        print(f"runtime.norms=fused: {error}; taking MindSpore's own, slower.", file=sys.stderr)
        return 0
    for group in groups:
        norm = group.norm
        _become(norm, FusedNorm)
        norm.fused, norm.chained = operators.build(group.kind()), False
        _refer(norm, activation=ACTIVATIONS[type(group.activation)][2](), other=norm)
        if group.activation is not None:
            _become(group.activation, Passed)
    for (cell, before, after), (_, kind) in zip(links, kinds, strict=True):
        _become(cell, HalfChain if before is None else Chain)
        cell.chain = operators.build(kind)
        first = (before or after).norm
        _refer(cell, before=first, after=after.norm)
        for norm, other in ((first, after.norm), (after.norm, first)):
            norm.chained = True
            _refer(norm, other=other)
    return len(groups)


def pays(network: nn.Cell) -> bool:
    """True if fused kernels are faster than MindSpore's for a network: if a depthwise convolution
    has norms on both sides. Norms alone are not (docs/benchmarks.md, step).
    """
    return any(before is not None for _, before, _ in find(network)[1])


SEQUENCES = (nn.SequentialCell, ConvBNReLU)
"""Cells that apply their layers one after the other, and nothing else."""

Link = tuple[nn.Conv2d, Group | None, Group]


def find(network: nn.Cell) -> tuple[list[Group], list[Link]]:
    """Return the norms, and the depthwise convolutions with those before (if any) and behind."""
    groups: list[Group] = []
    links: list[Link] = []
    runs = list(_sequences(network))
    times = Counter(id(cell) for run in runs for cell in run)
    for run in runs:
        known: dict[int, Group] = {}
        for i, cell in enumerate(run):
            if _is_plain_norm(cell) and times[id(cell)] == 1:
                behind = run[i + 1] if i + 1 < len(run) else None
                taken = type(behind) in ACTIVATIONS and times[id(behind)] == 1
                known[i] = Group(cell, behind if taken else None)
        groups += known.values()
        for i, cell in enumerate(run):
            if is_depthwise(cell) and not cell.has_bias and times[id(cell)] == 1 and i + 1 in known:
                ends = {id(group.activation or group.norm): group for group in known.values()}
                links.append((cell, ends.get(id(run[i - 1])) if i else None, known[i + 1]))
    return groups, links


def _sequences(cell: nn.Cell) -> Iterator[list[nn.Cell]]:
    """Yield the lists of layers that are applied one after the other, whatever is in them."""
    if type(cell) in SEQUENCES:
        run = list(_layers(cell))
        yield run
        for layer in run:
            yield from _sequences(layer)
        return
    for child in cell.cells():
        yield from _sequences(child)


def _layers(cell: nn.Cell) -> Iterator[nn.Cell]:
    """Yield the layers of a sequence, those of sequences in it too."""
    if type(cell) in SEQUENCES:
        # Not `cells()`, which names a layer once that is applied twice.
        for child in cell._cells.values():
            yield from _layers(child)
    else:
        yield cell


def _is_plain_norm(cell: Any) -> bool:
    """True for a norm of this device's batch."""
    return type(cell) is nn.BatchNorm2d and cell.use_batch_statistics is None


def _chain_kind(cell: nn.Conv2d, before: Group | None, after: Group) -> ChainKind:
    stride, symmetric = stride_and_padding(cell)
    return ChainKind(before.kind() if before else None, after.kind(), stride, symmetric)


def _become(cell: Any, kind: type[nn.Cell]) -> None:
    """Change what a layer computes, and nothing else of it."""
    cell.__class__ = kind


def _refer(cell: nn.Cell, **others: Any) -> None:
    """Let a layer know of others that are not its members."""
    cell.__dict__.update(others)
