"""Learning rates against tables worked out by hand."""

from __future__ import annotations

import math

import pytest

from training.learning.schedule import build_schedule, ema_decay, multistep, polynomial, scaled_lr
from training.learning.settings import OptimSettings


def test_published_schedule_at_the_published_length() -> None:
    # 117,266 images in batches of 32: 3664 steps an epoch, 500 epochs, 2 of warm-up.
    schedule = build_schedule(OptimSettings(), steps_per_epoch=3664, epochs=500, global_batch=32)
    warmup, total = 7328, 1832000
    table = {
        0: 0.001,
        1: 0.001 + 0.049 / warmup,
        warmup // 2: 0.0255,
        warmup: 0.05,
        (warmup + total) // 2: (0.05 + 0.00005) / 2,
        total: 0.00005,
        total + 1000: 0.00005,
    }
    for step, rate in table.items():
        assert schedule(step) == pytest.approx(rate, rel=1e-12), step


def test_cosine_by_hand() -> None:
    optim = OptimSettings(lr=0.4, warmup_epochs=0, final_ratio=0.0)
    schedule = build_schedule(optim, steps_per_epoch=2, epochs=4, global_batch=32)
    expected = [0.2 * (1 + math.cos(math.pi * k / 8)) for k in range(9)]
    assert [schedule(k) for k in range(9)] == pytest.approx(expected)
    assert schedule(4) == pytest.approx(0.2)


def test_one_cycle_by_hand() -> None:
    optim = OptimSettings(
        lr=0.4, schedule="one_cycle", rise=0.25, warmup_lr=0.1, final_ratio=0.01, warmup_steps=999
    )
    schedule = build_schedule(optim, steps_per_epoch=2, epochs=4, global_batch=32)
    up = [0.1 + 0.3 * (1 - math.cos(math.pi * k / 2)) / 2 for k in range(2)]
    down = [0.004 + 0.396 * (1 + math.cos(math.pi * k / 6)) / 2 for k in range(7)]
    assert [schedule(k) for k in range(10)] == pytest.approx([*up, *down, 0.004])
    assert max(schedule(k) for k in range(9)) == schedule(2) == 0.4
    # The rate for another batch scales the peak, as with every schedule.
    twice = OptimSettings(lr=0.4, schedule="one_cycle", lr_scaling="linear")
    assert build_schedule(twice, steps_per_epoch=5, epochs=2, global_batch=64)(3) == 0.8


def test_warmup_in_steps_replaces_epochs() -> None:
    optim = OptimSettings(
        lr=0.5, warmup_lr=0.1, warmup_steps=4, warmup_epochs=100, schedule="constant"
    )
    schedule = build_schedule(optim, steps_per_epoch=10, epochs=2, global_batch=32)
    assert [schedule(k) for k in range(6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])


def test_multistep_cuts_at_epochs() -> None:
    optim = OptimSettings(lr=1.0, schedule="multistep", milestones=[1, 1.5], warmup_epochs=0)
    schedule = build_schedule(optim, steps_per_epoch=4, epochs=3, global_batch=32)
    rates = [schedule(k) for k in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert multistep(3, 2.0, [], 0.1) == 2.0


def test_polynomial_is_a_line_with_power_one() -> None:
    assert [polynomial(k, 1.0, 0.2, 0, 4, 1.0) for k in range(6)] == pytest.approx(
        [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    )


@pytest.mark.parametrize(
    ("rule", "batch", "expected"),
    [("none", 256, 0.05), ("linear", 256, 0.4), ("linear", 16, 0.025), ("sqrt", 128, 0.1)],
)
def test_rate_for_a_global_batch(rule: str, batch: int, expected: float) -> None:
    assert scaled_lr(0.05, rule, batch, 32) == pytest.approx(expected)
    optim = OptimSettings(lr_scaling=rule)
    schedule = build_schedule(optim, steps_per_epoch=10, epochs=10, global_batch=batch)
    assert schedule(20) == pytest.approx(expected)


def test_average_starts_fast() -> None:
    assert [ema_decay(0.99, k, True) for k in (0, 8, 10**6)] == pytest.approx([0.1, 0.5, 0.99])
    assert ema_decay(0.99, 0, False) == 0.99
