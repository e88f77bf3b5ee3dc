"""Batch-norm statistics around a step: put back after one that is left out, and, if wanted,
corrected for what they start from.

The forward pass has already moved them when it turns out that something is not finite (`step.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

from training.learning.flat import Layout
from training.learning.update import per_element

Arrays = dict[str, NDArray[Any]]


class Statistics(nn.Cell):
    """The statistics of a network, and a copy of them as the last good step left them.

    Args:
        live: Parameters that the forward pass moves by itself, at least one.
    """

    def __init__(self, live: Sequence[Parameter]) -> None:
        super().__init__(auto_prefix=False)
        self.live = ParameterTuple(live)
        self.layout = Layout([p.shape for p in live])
        first = self.layout.join(tuple(live))
        self.last_good = Parameter(Tensor(first.asnumpy()), name="last_good", requires_grad=False)

    def keep(self) -> Tensor:
        """Copy the statistics, before a step."""
        return ops.assign(self.last_good, self.layout.join(self.live))

    def restore(self) -> Tensor:
        """Put the copy back, after a step that was left out."""
        kept = self.last_good * 1.0
        self.layout.put(self.live, kept)
        return kept

    def settle(self, finite: Tensor) -> Tensor:
        """Keep the statistics if the step was finite, else put the copy back; all on the device.

        It takes a kernel for each statistic, so only steps whose results nobody reads in between do
        it.
        """
        kept = ops.select(finite, self.layout.join(self.live), self.last_good * 1.0)
        self.layout.put(self.live, kept)
        return ops.assign(self.last_good, kept)


class CorrectedStatistics(Statistics):
    """Statistics that are the weighted mean of the batches seen, and of nothing else.

    A running average that keeps a share k starts from 0 (mean) and 1 (variance) and after n batches
    still has k^n of that in it: with the published 0.97, 5 % after 100 steps, which is more than
    many a variance. Adam's correction for the same (Kingma and Ba, arXiv:1412.6980, section 3),
    applied in every step so that what is stored, evaluated, averaged and exported is right at any
    time:

        new = old + (live - old) / (1 - k^n),

    `live` being what the forward pass made of `old`. By induction `new` is the mean of the n
    batches with weights k^(n-i), scaled to sum to one. A batch in p parts moves the average p
    times; the same line holds, with k^p for k. 1 - k^n is carried as the sum c <- k c + (1 - k),
    which is exact to its last digits.

    Args:
        live: Parameters that the forward pass moves by itself, at least one.
        keeps: The share of the old value that a step keeps, for each of them.
        shares: (1 - k^n) of each so far, 0 before its first batch.
    """

    def __init__(
        self, live: Sequence[Parameter], keeps: Sequence[float], shares: Sequence[float]
    ) -> None:
        for parameter, share in zip(live, shares, strict=True):
            if share == 0:
                # It weighs nothing. A variance of 1 next to one of 0.001 would cost digits.
                ops.assign(parameter, Tensor(np.zeros(parameter.shape, np.float32)))
        super().__init__(live)
        self.names = [share_name(p) for p in live]
        sizes = self.layout.sizes
        self.keep: Any = per_element(keeps, sizes, "keeps")
        self.fresh: Any = per_element([1.0 - keep for keep in keeps], sizes, "fresh")
        values = np.asarray(shares, np.float32)
        one = len(set(shares)) == len(set(keeps)) == 1
        flat = values[:1] if one else np.repeat(values, sizes)
        self.share = Parameter(Tensor(flat.copy()), name="norm_shares", requires_grad=False)

    def settle(self, finite: Tensor) -> Tensor:
        """Correct the statistics if the step was finite, else put the copy back; all on the
        device.
        """
        before, share = self.last_good * 1.0, self.share * 1.0
        more = self.keep * share + self.fresh
        corrected = before + (self.layout.join(self.live) - before) / more
        kept = ops.select(finite, corrected, before)
        ops.assign(self.share, ops.select(finite, more, share))
        self.layout.put(self.live, kept)
        return ops.assign(self.last_good, kept)

    def shares(self) -> Arrays:
        """Return the () share of each statistic by name."""
        flat = self.share.asnumpy()
        starts = np.cumsum([0, *self.layout.sizes[:-1]])
        return {
            name: np.array(flat[start if len(flat) > 1 else 0])
            for name, start in zip(self.names, starts, strict=True)
        }


class NormShares:
    """How far the statistics of a network are averages of batches, also of norms that rest now.

    Args:
        network: The detector.
    """

    def __init__(self, network: nn.Cell) -> None:
        self.network = network
        self.resting: Arrays = {
            share_name(p): np.zeros((), np.float32) for p in statistics_of(network)
        }
        self.names = tuple(self.resting)
        self.moving: CorrectedStatistics | None = None

    def cell(self, parts: int) -> CorrectedStatistics | None:
        """Return what corrects the norms that use batches now; None if all are frozen.

        Args:
            parts: Parts that a batch is cut into, each of which moves the statistics.
        """
        shares = self.read()
        live: list[Parameter] = []
        keeps: list[float] = []
        for _, norm in self.network.cells_and_names():
            if isinstance(norm, nn.BatchNorm2d) and uses_batches(norm):
                live += [norm.moving_mean, norm.moving_variance]
                keeps += [(1.0 - norm.momentum) ** parts] * 2
        self.resting, self.moving = shares, None
        if live:
            known = [float(shares[share_name(p)]) for p in live]
            self.moving = CorrectedStatistics(live, keeps, known)
        return self.moving

    def read(self) -> Arrays:
        """Return all shares by name."""
        shares = dict(self.resting)
        if self.moving is not None:
            shares |= self.moving.shares()
        return {name: shares[name] for name in self.names}

    def write(self, shares: Mapping[str, NDArray[Any]]) -> None:
        """Take over all shares by name, before a step is built."""
        self.resting = {name: np.array(shares[name], np.float32) for name in self.names}
        self.moving = None


def uses_batches(norm: nn.BatchNorm2d) -> bool:
    """True if a norm now takes the statistics of each batch and moves its own."""
    if norm.use_batch_statistics is None:
        return bool(norm.training)
    return bool(norm.use_batch_statistics)


def share_name(statistic: Parameter) -> str:
    """Return the name of a statistic's share in a checkpoint."""
    return f"norm_shares.{statistic.name}"


def statistics_of(network: nn.Cell) -> list[Parameter]:
    """Return the parameters of a network that its forward pass moves by itself."""
    return [
        p for p in network.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))
    ]
