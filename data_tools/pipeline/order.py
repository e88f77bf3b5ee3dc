"""Which images make up which global step, and each image's own random numbers: pure functions.

Nothing is read here; `pipeline.py` asks this module which rows to read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import SettingError
from data_tools.core.settings_fields import require
from data_tools.pipeline.sampler import Weights, drawn_rows, occurrences

_WORD = (1 << 64) - 1
_ORDER_STREAM = (1 << 32) - 1  # in place of a sample's index, which is always smaller


def generator(
    seed: int, epoch: int, index: int, occurrence: int = 0, stream: int = 0
) -> np.random.Generator:
    """Return the random numbers of one image in one epoch.

    Counter-based, so that they depend on nothing else: not on the worker, the rank, or what was
    drawn before.

    Args:
        seed: The run's seed.
        epoch: The epoch, from 0.
        index: The image's row in the split, 0..n-1.
        occurrence: How often the image came in this epoch before (`sampler.occurrences`).
        stream: Which of its streams; what draws from one does not move another.

    Returns:
        A generator at the start of its stream.
    """
    key = np.array([seed & _WORD, (epoch << 32) | index], dtype=np.uint64)
    # The counter's lower half counts what is drawn.
    counter = np.array([0, 0, occurrence, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def permutation(seed: int, epoch: int, num_images: int) -> npt.NDArray[np.int64]:
    """Return the order of an epoch: (num_images,) int64, each row of the split once."""
    return generator(seed, epoch, _ORDER_STREAM).permutation(num_images)


@dataclass(frozen=True)
class EpochRows:
    """The rows of one epoch, by position.

    Args:
        rows: (n,) int64.
        before: (n,) int64, how often the row came at earlier positions.
    """

    rows: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainOrder:
    """The images of every global step of a training run, for one rank of `world_size`.

    A global batch is `batch_size * world_size` consecutive positions of the epoch's permutation,
    and rank r takes the r-th part of it: the ranks' batches, joined in the order of the ranks, are
    the batch of a single device with the same global batch. With `last_batch="drop"` the positions
    beyond the last whole global batch are left out, other images in every epoch; with `"wrap"` a
    last batch takes them and is filled up from the start of the permutation, so that every image
    comes at least once.

    Args:
        num_images: Images in the split.
        seed: The run's seed.
        batch_size: Images per device and step.
        rank: This device, 0..world_size-1.
        world_size: Number of devices.
        last_batch: `drop` or `wrap`.
        weights: (num_images,) how often each image comes in an epoch on average, with the sum
            num_images, see `sampler.image_weights`; None takes each once.

    Raises:
        SettingError: If there is no whole global batch in an epoch and `last_batch` is `drop`.
    """

    num_images: int
    seed: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    last_batch: str = "drop"
    weights: Weights | None = field(default=None, repr=False, compare=False)
    _epochs: dict[int, EpochRows] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "a number >= 1")
        require(0 < self.num_images < _ORDER_STREAM, "data", self.num_images, "1..2**32-2 images")
        require(0 <= self.rank < self.world_size, "rank", self.rank, f"0..{self.world_size - 1}")
        if self.steps_per_epoch < 1:
            raise SettingError(
                f"batch_size={self.batch_size} on {self.world_size} device(s) takes "
                f"{self.global_batch} images a step, but the split has only {self.num_images}. "
                "Lower batch_size, or set pipeline.last_batch=wrap to fill a batch with repeated "
                "images."
            )

    @property
    def global_batch(self) -> int:
        """Images per step over all devices."""
        return self.batch_size * self.world_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch."""
        whole, rest = divmod(self.num_images, self.global_batch)
        return whole + (self.last_batch == "wrap" and rest > 0)

    def epoch_of(self, step: int) -> int:
        """Epoch (from 0) that global step `step` (from 0) belongs to."""
        return step // self.steps_per_epoch

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """Return the rows of the split that this rank takes at a global step: (batch_size,)
        int64.
        """
        return self._epoch(self.epoch_of(step)).rows[self._positions(step)]

    def occurrences(self, step: int) -> npt.NDArray[np.int64]:
        """Return for each of `rows(step)` how often it came before in its epoch: (batch_size,)
        int64.

        All zeros but where a sampler takes images several times. What `last_batch="wrap"` fills up
        with are the images of the epoch's start over again, as they were.
        """
        return self._epoch(self.epoch_of(step)).before[self._positions(step)]

    def at(self, epoch: int, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the rows at some positions of an epoch, given as numbers in 0..1: (k,) to (k,)
        int64.

        Whoever draws the numbers evenly draws rows as often as the epoch has them.
        """
        positions = np.minimum((shares * self.num_images).astype(np.int64), self.num_images - 1)
        return self._epoch(epoch).rows[positions]

    def _positions(self, step: int) -> npt.NDArray[np.int64]:
        first = step % self.steps_per_epoch * self.global_batch + self.rank * self.batch_size
        return np.arange(first, first + self.batch_size) % self.num_images

    def _epoch(self, epoch: int) -> EpochRows:
        # Kept for two epochs, since readahead crosses the border. Threads may both compute one: the
        # same.
        order = self._epochs.get(epoch)
        if order is None:
            if self.weights is None:
                rows = permutation(self.seed, epoch, self.num_images)
                order = EpochRows(rows, np.zeros(len(rows), np.int64))
            else:
                rows = drawn_rows(self.weights, generator(self.seed, epoch, _ORDER_STREAM))
                order = EpochRows(rows, occurrences(rows))
            for old in [e for e in list(self._epochs) if abs(e - epoch) > 1]:
                self._epochs.pop(old, None)
            self._epochs[epoch] = order
        return order


def evaluation_rows(
    num_images: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> npt.NDArray[np.int64]:
    """Return the rows that one rank evaluates, batch by batch, padded with -1.

    Every row of the split belongs to exactly one rank, and all ranks have the same number of
    batches.

    Returns:
        (batches, batch_size) int64; -1 marks padding.
    """
    share = -(-num_images // world_size)
    batches = -(-share // batch_size)
    rows = np.full(batches * batch_size, -1, np.int64)
    mine = np.arange(rank, num_images, world_size)
    rows[: len(mine)] = mine
    return rows.reshape(batches, batch_size)
