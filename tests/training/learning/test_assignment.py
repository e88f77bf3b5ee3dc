"""Task-aligned assignment in the graph against a slow oracle: who learns what, and how well."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from training.boxes.codec import decode_boxes
from training.boxes.object_list import ObjectList
from training.learning.assignment import TaskAligned
from training.learning.losses import build_loss
from training.learning.settings import LossSettings
from training.nets.anchors import default_boxes
from training.nets.settings import model_settings

# 8x8, 4x4 and 2x2 cells: 84 anchors.
MODEL = model_settings("ssd_light", image_size=[64, 64])
ANCHORS = default_boxes(MODEL)
CLASSES = 4
TOP = 13


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    shared = sides[0] * sides[1]
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def oracle(
    found: np.ndarray, logits: np.ndarray, boxes: np.ndarray, labels: np.ndarray, ignore: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One image, object by object and anchor by anchor, in double precision."""
    count = len(ANCHORS)
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    owner = np.full(count, -1)
    held = np.zeros(count)
    aligned = np.zeros((len(labels), count))
    for m in np.flatnonzero(labels > 0):
        centres = ANCHORS[:, :2]
        inside = [bool((c > boxes[m, :2]).all() and (c < boxes[m, 2:]).all()) for c in centres]
        middle = (boxes[m, :2] + boxes[m, 2:]) / 2
        distances = ((centres - middle) ** 2).sum(1)
        inside = [i or bool(d == distances.min()) for i, d in zip(inside, distances, strict=True)]
        for a in np.flatnonzero(inside):
            fit = overlap(boxes[m].astype(np.float64), found[a].astype(np.float64))
            aligned[m, a] = (scores[a, labels[m]] + 1e-4) * (fit + 1e-4) ** 6
        wanted = [a for a in np.argsort(-aligned[m], kind="stable")[:TOP] if inside[a]]
        for a in range(count):
            if a in wanted:
                fit = overlap(boxes[m].astype(np.float64), found[a].astype(np.float64))
                if owner[a] < 0 or fit > held[a]:
                    owner[a], held[a] = m, fit
            else:
                aligned[m, a] = 0
    result = np.zeros(count, np.int32)
    quality = np.zeros(count)
    wanted_boxes = np.zeros((count, 4), np.float32)
    for a in range(count):
        if owner[a] >= 0:
            m = owner[a]
            mine = owner == m
            result[a], wanted_boxes[a] = labels[m], boxes[m]
            quality[a] = aligned[m, a] / aligned[m][mine].max() * held[mine].max()
        else:
            half = ANCHORS[a, 2:] / 2
            corners = np.concatenate([ANCHORS[a, :2] - half, ANCHORS[a, :2] + half])
            for m in np.flatnonzero(labels < 0):
                sides = np.minimum(corners[2:], boxes[m, 2:]) - np.maximum(
                    corners[:2], boxes[m, :2]
                )
                if np.maximum(sides, 0).prod() > ignore * ANCHORS[a, 2:].prod():
                    result[a] = -1
    return result, wanted_boxes, quality


def scene(seed: int, objects: int, crowds: int = 0, rows: int = 9) -> tuple[np.ndarray, ...]:
    """found (1, A, 4), logits (1, A, C), boxes (1, M, 4), labels (1, M)."""
    rng = np.random.default_rng(seed)
    boxes, labels = np.zeros((1, rows, 4), np.float32), np.zeros((1, rows), np.int32)
    for row in range(objects + crowds):
        low = rng.uniform(0, 0.6, 2)
        boxes[0, row] = np.concatenate([low, low + rng.uniform(0.02, 0.4, 2)])
        labels[0, row] = rng.integers(1, CLASSES) if row < objects else -1
    boxes[0, objects : objects + crowds] = [0.0, 0.0, 0.7, 0.7]
    loc = rng.normal(0, 2.0, (1, len(ANCHORS), 4)).astype(np.float32)
    found = decode_boxes(loc, ANCHORS)
    logits = rng.normal(-2, 2, (1, len(ANCHORS), CLASSES)).astype(np.float32)
    return found, logits, boxes, labels


def assigned(cell: TaskAligned, scenes: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    inputs = [Tensor(np.concatenate(column)) for column in zip(*scenes, strict=True)]

    @ms.jit
    def run(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return cell(a, b, c, d)

    return [x.asnumpy() for x in run(*inputs)]


@pytest.mark.parametrize("ignore", [0.5, 1.0])
def test_it_is_the_oracle_for_every_image_of_a_batch(ignore: float) -> None:
    scenes = [scene(seed, seed % 8, crowds=seed % 2) for seed in range(24)]
    labels, wanted, quality = assigned(TaskAligned(MODEL, ignore), scenes)
    kinds = set()
    for n, (found, logits, boxes, given) in enumerate(scenes):
        want = oracle(found[0], logits[0], boxes[0], given[0], ignore)
        assert np.array_equal(labels[n], want[0]), n
        assert np.array_equal(wanted[n], want[1])
        assert np.allclose(quality[n], want[2], rtol=1e-4, atol=1e-6)
        kinds |= set(np.unique(want[0]).tolist())
    assert kinds == ({-1, 0, 1, 2, 3} if ignore < 1 else {0, 1, 2, 3})


def test_every_object_is_learned_however_small_and_however_bad_the_boxes() -> None:
    found, logits, boxes, labels = scene(1, 3)
    boxes[0, 0] = [0.401, 0.401, 0.402, 0.402]  # between centres
    boxes[0, 1] = [0.0, 0.0, 1e-6, 1.0]  # next to no height
    boxes[0, 2] = [0.9, 0.9, 1.0, 1.0]
    found[:] = [0.0, 0.0, 1e-20, 1e-20]  # nothing overlaps anything
    logits[:] = -200
    result, _, quality = assigned(TaskAligned(MODEL, 0.5), [(found, logits, boxes, labels)])
    assert set(result[0][result[0] > 0].tolist()) == set(labels[0, :3].tolist())
    assert np.isfinite(quality).all()
    assert (quality >= 0).all()


def test_objects_that_coincide_share_nothing() -> None:
    found, logits, boxes, labels = scene(2, 2)
    boxes[0, 1], labels[0, :2] = boxes[0, 0], (1, 2)
    result, _, _ = assigned(TaskAligned(MODEL, 0.5), [(found, logits, boxes, labels)])
    want = oracle(found[0], logits[0], boxes[0], labels[0], 0.5)[0]
    assert np.array_equal(result[0], want)


def test_the_loss_with_it_has_gradients_on_positives_only_and_stays_finite() -> None:
    scenes = [scene(seed, 4, crowds=1) for seed in range(3)]
    loss = build_loss(LossSettings(kind="varifocal", box="giou"), MODEL, 0.5)
    rng = np.random.default_rng(0)
    loc = rng.normal(0, 1, (3, len(ANCHORS), 4)).astype(np.float32)
    logits, boxes, labels = (np.concatenate([s[k] for s in scenes]) for k in (1, 2, 3))

    def total(loc: Tensor, logits: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        return loss(loc, logits, boxes, labels)[0]

    forward = ms.jit(ms.value_and_grad(total, (0, 1)))
    value, (by_loc, by_logits) = forward(*map(Tensor, (loc, logits, boxes, labels)))
    found = decode_boxes(loc, ANCHORS)
    for n in range(3):
        want = oracle(found[n], logits[n], boxes[n], labels[n], 0.5)[0]
        assert not by_loc.asnumpy()[n][want <= 0].any()
        assert by_loc.asnumpy()[n][want > 0].any(1).all()
        assert not by_logits.asnumpy()[n][want < 0].any()
        assert by_logits.asnumpy()[n][want >= 0][:, 1:].all()
    assert not by_logits.asnumpy()[..., 0].any()
    assert np.isfinite(float(value))
    for extreme in (1e30, -1e30, 0.0):
        value, gradients = forward(
            *map(Tensor, (np.full_like(loc, extreme), np.full_like(logits, extreme), boxes, labels))
        )
        assert np.isfinite(float(value))
        assert all(np.isfinite(g.asnumpy()).all() for g in gradients)
    empty = (loc, logits, boxes * 0, labels * 0)
    value, gradients = forward(*map(Tensor, empty))
    assert np.isfinite(float(value))
    assert not gradients[0].asnumpy().any()


def test_the_list_of_objects_keeps_their_order_and_the_largest() -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 0.5, (9, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.01, 0.5, (9, 2))], 1).astype(np.float32)
    labels, crowd = np.arange(1, 10, dtype=np.int32), np.arange(9) == 4
    images = np.array([0, 0, 2, 2, 2, 2, 2, 2, 3])
    targets, found = np.full((4, 5, 4), 7, np.float32), np.full((4, 5), 7, np.int32)
    ObjectList(5).encode_batch(boxes, labels, crowd, images, targets, found)
    assert found[0].tolist() == [1, 2, 0, 0, 0]
    assert not found[1].any()
    assert not targets[1].any()
    smallest = 2 + np.prod(boxes[2:8, 2:] - boxes[2:8, :2], 1).argmin()
    kept = [row for row in range(2, 8) if row != smallest]
    assert found[2].tolist() == [-1 if row == 4 else row + 1 for row in kept]
    assert np.array_equal(targets[2], boxes[kept])
    one = ObjectList(5)(boxes[:2], labels[:2])
    assert np.array_equal(one[0], targets[0])
    assert np.array_equal(one[1], found[0])
