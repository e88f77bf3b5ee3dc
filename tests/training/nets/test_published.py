"""The five published models, against the numbers of the published definitions."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from tests.helpers.golden_weights import (
    PUBLISHED,
    golden,
    golden_input,
    golden_loss_inputs,
    golden_parameters,
    golden_weights,
)
from training.boxes.codec import decode_boxes
from training.checkpoints.weights import load_weights
from training.learning.losses import build_loss
from training.learning.settings import LossSettings
from training.nets.build import build_network
from training.nets.settings import model_settings

TOLERANCE = {"ssd_resnet50_fpn": 1e-3}


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("name", PUBLISHED)
def test_network_equals_the_published_one(name: str) -> None:
    settings = model_settings(name)
    numbers = golden(name)
    tolerance = TOLERANCE.get(name, 1e-4)
    network = build_network(settings, 81)

    parameters = [
        [f"network.{p.name}", list(p.shape), p.requires_grad] for p in network.get_parameters()
    ]
    assert parameters == golden_parameters(name)

    weights = {n.removeprefix("network."): w for n, w in golden_weights(name).items()}
    report = load_weights(network, weights)
    assert len(report.loaded) == len(parameters)
    assert not report.skipped
    assert not report.missing

    x = golden_input(settings.image_size)
    assert np.isclose(x.sum(dtype=np.float64), numbers["x_sum"], atol=1e-3)
    loc, scores = (y.asnumpy()[0] for y in network(ms.Tensor(x)))
    idx = numbers["idx"]
    assert relative_error(loc[idx], numbers["loc"]) < tolerance
    assert relative_error(scores[idx], numbers["scores"]) < tolerance
    assert np.isclose(np.abs(loc).sum(dtype=np.float64), numbers["loc_abs_sum"], rtol=tolerance)
    assert np.isclose(scores.sum(dtype=np.float64), numbers["scores_sum"], rtol=tolerance)
    boxes = decode_boxes(loc[idx], numbers["default_boxes"][idx]).clip(0, 1)
    assert relative_error(boxes, numbers["boxes"]) < tolerance


@pytest.mark.parametrize("name", PUBLISHED)
def test_loss_equals_the_published_one(name: str) -> None:
    settings = model_settings(name)
    numbers = golden(name)
    alpha = 0.25 if name.endswith("fpn") else 0.75
    inputs = golden_loss_inputs(name, settings.image_size, len(numbers["default_boxes"]))
    loss = build_loss(LossSettings(gamma=2.0, alpha=alpha))
    loss_sum, positives = loss(*map(ms.Tensor, inputs))
    assert float(positives) == numbers["enc0_num"][0] + numbers["enc1_num"][0]
    assert np.isclose(float(loss_sum) / float(positives), numbers["loss"], rtol=1e-4)
