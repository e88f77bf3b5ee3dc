"""Suppression, compiled and in NumPy, against the textbook loop: the same to the last box."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.eval_fixtures import loop_nms
from training.boxes import nms as module
from training.boxes import nms_plain
from training.boxes.nms import best_first, candidates, kernels, nms


@pytest.fixture(scope="module", params=["compiled", "numpy"], autouse=True)
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this module, with the one and with the other."""
    chosen = kernels() if request.param == "compiled" else nms_plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_loops", lambda size: chosen)
        yield


def slow_nms(
    boxes: np.ndarray,
    labels: np.ndarray,
    limit: float,
    offset: float = 0.0,
    per_class: int | None = None,
    total: int | None = None,
) -> list[int]:
    """Run the textbook loop on every class, then join in the order given."""
    picked: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        picked += [int(rows[k]) for k in loop_nms(boxes[rows], limit, offset, per_class)]
    return sorted(picked)[:total]


def random_boxes(rng: np.random.Generator, count: int, spread: float = 100.0) -> np.ndarray:
    corner = rng.random((count, 2)) * spread
    return np.concatenate([corner, corner + rng.random((count, 2)) * 60], axis=1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 60),
    classes=st.integers(1, 4),
    limit=st.sampled_from([0.1, 0.45, 0.5, 0.6, 0.9, 1.0]),
    offset=st.sampled_from([0.0, 1.0]),
    whole=st.booleans(),
)
def test_equals_the_textbook_loop(
    seed: int, count: int, classes: int, limit: float, offset: float, whole: bool
) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count)
    if whole:  # whole pixels make overlaps of exactly the limit, equal boxes and empty ones likely
        boxes = np.round(boxes / 20) * 4
    labels = rng.integers(0, classes, count)
    got = nms(boxes, labels, limit, pixel_offset=offset).tolist()
    assert got == slow_nms(boxes, labels, limit, offset)


@pytest.mark.parametrize("per_class", [None, 1, 7])
@pytest.mark.parametrize("total", [None, 1, 25, 10_000])
def test_limits_keep_the_best(per_class: int | None, total: int | None) -> None:
    rng = np.random.default_rng(5)
    boxes, labels = random_boxes(rng, 300, spread=40.0), rng.integers(0, 5, 300)
    got = nms(boxes, labels, 0.5, max_per_class=per_class, max_total=total).tolist()
    assert got == slow_nms(boxes, labels, 0.5, 0.0, per_class, total)


def test_a_removed_box_removes_nobody() -> None:
    # b overlaps a and goes; c overlaps only b and stays.
    boxes = np.array([[0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18]], float)
    assert nms(boxes, np.zeros(3, int), 0.4).tolist() == [0, 2]


def test_overlap_of_exactly_the_limit_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], float)  # overlap 0.5
    assert nms(boxes, np.zeros(2, int), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.zeros(2, int), 0.4999).tolist() == [0]


def test_pixel_offset_changes_small_boxes() -> None:
    # Side by side, 2 x 1 pixels apart: no overlap as areas, a third as inclusive pixels.
    boxes = np.array([[0, 0, 1, 1], [0, 1, 1, 2]], float)
    assert nms(boxes, np.zeros(2, int), 0.3).tolist() == [0, 1]
    assert nms(boxes, np.zeros(2, int), 0.3, pixel_offset=1.0).tolist() == [0]


def test_other_classes_never_meet() -> None:
    boxes = np.tile([[0.0, 0.0, 9.0, 9.0]], (4, 1))
    assert nms(boxes, np.array([1, 2, 1, 3]), 0.5).tolist() == [0, 1, 3]


def test_nothing_gives_nothing() -> None:
    assert nms(np.zeros((0, 4)), np.zeros(0, int), 0.5).tolist() == []


def test_many_equal_boxes_are_quickly_one() -> None:
    boxes = np.tile([[10.0, 10.0, 50.0, 50.0]], (20_000, 1))
    assert nms(boxes, np.zeros(20_000, int), 0.5).tolist() == [0]


def test_boxes_of_any_layout_and_type() -> None:
    rng = np.random.default_rng(2)
    boxes, labels = random_boxes(rng, 50).astype(np.float32), rng.integers(0, 3, 50)
    expected = nms(boxes.astype(np.float64), labels, 0.3).tolist()
    assert nms(np.asfortranarray(boxes), labels.astype(np.int32)[:], 0.3).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), floor=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_candidates_are_all_finite_scores_above_the_floor(seed: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, 11, (rng.integers(0, 9), rng.integers(1, 6))) / 10).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    usable = rng.random(len(scores)) < 0.8
    expected = [
        (anchor, column - 1, scores[anchor, column])
        for column in range(1, scores.shape[1])
        for anchor in range(len(scores))
        if usable[anchor]
        and np.isfinite(scores[anchor, column])
        and scores[anchor, column] > np.float32(floor)
    ]
    assert list(zip(*candidates(scores, usable, floor), strict=True)) == expected


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.floats(0, width=32, allow_infinity=False) | st.sampled_from([0.5, 0.25])))
def test_the_best_come_first_and_equals_as_they_are(scores: list[float]) -> None:
    array = np.array(scores, np.float32)
    assert best_first(array).tolist() == np.argsort(-array, kind="stable").tolist()


def test_few_calls_need_no_compiled_loops() -> None:
    program = (
        "import sys, time\nimport numpy as np\nfrom training.boxes import nms\n"
        "boxes, labels = np.zeros((1, 4)), np.zeros(1, int)\n"
        "for _ in range(nms._FIRST_CALLS - 1):\n"
        "    nms.nms(boxes, labels, 0.5)\n"
        "print('numba' in sys.modules)\n"
        "while 'numba' not in sys.modules:\n"
        "    nms.nms(boxes, labels, 0.5)\n"
        "    time.sleep(0.01)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert (ended.returncode, ended.stdout) == (0, "False\n"), ended.stderr
