"""The order of a run: each image once an epoch, the same for any number of devices and any
start.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.core.errors import SettingError
from data_tools.pipeline.order import TrainOrder, evaluation_rows, generator, permutation


@settings(max_examples=60, deadline=None)
@given(
    num_images=st.integers(8, 60),
    batch=st.integers(1, 8),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 2**31),
)
def test_an_epoch_takes_each_image_at_most_once(
    num_images: int, batch: int, seed: int, epoch: int
) -> None:
    order = TrainOrder(num_images, seed, batch)
    first = epoch * order.steps_per_epoch
    rows = np.concatenate([order.rows(first + i) for i in range(order.steps_per_epoch)])
    assert len(set(rows.tolist())) == len(rows) == num_images // batch * batch
    assert rows.min() >= 0 and rows.max() < num_images


@settings(max_examples=40, deadline=None)
@given(num_images=st.integers(1, 40), batch=st.integers(1, 16), world=st.sampled_from([1, 2, 4]))
def test_wrap_takes_every_image(num_images: int, batch: int, world: int) -> None:
    orders = [TrainOrder(num_images, 3, batch, r, world, "wrap") for r in range(world)]
    rows = [o.rows(s) for s in range(orders[0].steps_per_epoch) for o in orders]
    assert all(len(part) == batch for part in rows)
    assert set(np.concatenate(rows).tolist()) == set(range(num_images))


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("last_batch", ["drop", "wrap"])
def test_the_devices_share_the_single_devices_batch_in_order(world: int, last_batch: str) -> None:
    single = TrainOrder(53, 7, 8, last_batch=last_batch)
    ranks = [TrainOrder(53, 7, 8 // world, r, world, last_batch) for r in range(world)]
    assert {o.steps_per_epoch for o in ranks} == {single.steps_per_epoch}
    for step in range(3 * single.steps_per_epoch):
        np.testing.assert_array_equal(
            np.concatenate([o.rows(step) for o in ranks]), single.rows(step)
        )


def test_any_start_gives_the_same_step() -> None:
    through = TrainOrder(30, 5, 4)
    all_rows = [through.rows(step) for step in range(25)]
    for step in (24, 0, 13, 7):
        np.testing.assert_array_equal(TrainOrder(30, 5, 4).rows(step), all_rows[step])


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = [tuple(permutation(seed, epoch, 50)) for seed in (0, 1) for epoch in range(3)]
    assert len(set(orders)) == 6


def test_samples_draw_their_own_numbers() -> None:
    draws = [
        generator(seed, epoch, index).random()
        for seed in (0, 1)
        for epoch in (0, 1)
        for index in range(4)
    ]
    assert len(set(draws)) == len(draws)
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()


def test_the_images_left_out_change_with_the_epoch() -> None:
    order = TrainOrder(10, 1, 4)
    left_out = []
    for epoch in range(6):
        rows = np.concatenate([order.rows(2 * epoch), order.rows(2 * epoch + 1)])
        left_out.append(frozenset(range(10)) - set(rows.tolist()))
    assert all(len(images) == 2 for images in left_out)
    assert len(set(left_out)) > 1


def test_too_few_images_name_batch_and_count() -> None:
    with pytest.raises(
        SettingError, match=r"batch_size=8 on 4 device.* takes 32 .* only 20\..*wrap"
    ):
        TrainOrder(20, 0, 8, 0, 4)
    assert TrainOrder(20, 0, 8, 0, 4, "wrap").steps_per_epoch == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "rank=2"),
        ({"num_images": 0, "batch_size": 1}, "data=0"),
    ],
)
def test_impossible_orders_are_refused(options: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        TrainOrder(**{"num_images": 5, "seed": 0, **options})


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 70), batch=st.integers(1, 9), world=st.integers(1, 5))
def test_evaluation_takes_every_image_once_over_all_ranks(n: int, batch: int, world: int) -> None:
    shares = [evaluation_rows(n, batch, rank, world) for rank in range(world)]
    assert len({share.shape for share in shares}) == 1
    rows = np.concatenate([share.ravel() for share in shares])
    assert sorted(rows[rows >= 0].tolist()) == list(range(n))
