"""Weights of classes: each default box counts by its target class, background as ever."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from data_tools.core.errors import SettingError
from training.learning.assemble import build_state
from training.learning.losses import build_loss
from training.learning.settings import LossSettings
from training.nets.settings import model_settings
from training.settings import TrainSettings

WEIGHTS = [4.0, 0.5, 1.0]
CLASSES = 4
MODEL = model_settings("ssd_tiny", image_size=[64, 64])


def batch(anchors: int) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((2, anchors)) < 0.3, rng.integers(1, CLASSES, (2, anchors)), 0)
    labels[:, ::7] = -1
    loc, targets = rng.standard_normal((2, 2, anchors, 4)).astype(np.float32) * 0.3
    logits = rng.standard_normal((2, anchors, CLASSES)).astype(np.float32)
    return tuple(Tensor(x) for x in (loc, logits, targets, labels.astype(np.int32)))


def with_labels(inputs: tuple[Tensor, ...], keep: list[int]) -> tuple[Tensor, ...]:
    """Only default boxes with some labels count."""
    labels = inputs[3].asnumpy()
    return (*inputs[:3], Tensor(np.where(np.isin(labels, keep), labels, -1).astype(np.int32)))


@pytest.mark.parametrize("kind", ["focal", "varifocal"])
def test_each_class_counts_by_its_weight(kind: str) -> None:
    from training.nets.anchors import default_boxes

    inputs = batch(len(default_boxes(MODEL)))
    plain = build_loss(LossSettings(kind=kind, loc_weight=0.0), MODEL)
    weighted = build_loss(LossSettings(kind=kind, loc_weight=0.0, class_weights=WEIGHTS), MODEL)
    parts = [float(plain(*with_labels(inputs, [c]))[0]) for c in range(CLASSES)]
    assert min(parts) > 0
    want = parts[0] + sum(w * part for w, part in zip(WEIGHTS, parts[1:], strict=True))
    assert float(weighted(*inputs)[0]) == pytest.approx(want, rel=1e-5)
    assert float(weighted(*inputs)[1]) == float(plain(*inputs)[1])  # still divided by the same


def test_the_hardest_negatives_stay_those_of_the_unweighted_loss() -> None:
    inputs = batch(60)
    plain = build_loss(LossSettings(kind="multibox", loc_weight=0.0))
    weighted = build_loss(LossSettings(kind="multibox", loc_weight=0.0, class_weights=WEIGHTS))
    logits, labels = inputs[1].asnumpy().astype(np.float64), inputs[3].asnumpy()
    entropy = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(
        logits, np.maximum(labels, 0)[..., None], -1
    ).squeeze(-1)
    more = sum((w - 1) * entropy[labels == c].sum() for c, w in enumerate(WEIGHTS, 1))
    want = float(plain(*inputs)[0]) + more
    assert float(weighted(*inputs)[0]) == pytest.approx(want, rel=1e-5)


def test_weights_of_one_are_no_weights() -> None:
    inputs = batch(60)
    for kind in ("focal", "multibox"):
        one = build_loss(LossSettings(kind=kind, class_weights=[1.0] * 3))
        assert float(one(*inputs)[0]) == float(build_loss(LossSettings(kind=kind))(*inputs)[0])
    gradient = ms.grad(lambda x: one(inputs[0], x, *inputs[2:])[0])(inputs[1])
    assert np.isfinite(gradient.asnumpy()).all()


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match=r"loss.class_weights=\[1.0, 0.0\]: expected 0 < each"):
        LossSettings(class_weights=[1.0, 0.0])
    settings = TrainSettings(model=MODEL, loss=LossSettings(class_weights=[1.0, 2.0]))
    with pytest.raises(SettingError, match="expected 6 numbers, one for each class"):
        build_state(settings, 7)
