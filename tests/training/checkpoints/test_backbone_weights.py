"""Classifier checkpoints in detectors: names, refusals, what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_tools.core.errors import CheckpointError
from training.checkpoints.backbone_weights import load_backbone
from training.nets.build import build_network
from training.nets.settings import model_settings

# First and last layers as the published classifiers name them.
KNOWN = {
    "ssd300": {
        "backbone.features_1.0.features.0.weight": "features.0.features.0.weight",
        "backbone.features_2.0.conv.3.gamma": "features.14.conv.3.gamma",
        "backbone.expand_layer_conv_13.features.1.beta": "features.14.conv.0.features.1.beta",
        "backbone.features_2.4.features.0.weight": "features.18.features.0.weight",
        "multi_residual.0.conv.2.weight": None,
    },
    "ssd_mobilenet_v1": {
        "feature_extractor.mobilenet_v1.network.26.0.weight": "26.0.weight",
        "multi_residual.0.features.0.weight": None,
    },
    "ssd_mobilenet_v1_fpn": {
        "feature_extractor.mobilenet_v1.network.0.1.gamma": "0.1.gamma",
        "feature_extractor.fpn.lateral_convs_list.0.weight": None,
    },
    "ssd_resnet50_fpn": {
        "feature_extractor.resnet.layer4.2.conv3.weight": "layer4.2.conv3.weight",
        "feature_extractor.bottom_up.blocks.0.0.weight": None,
    },
    "ssd_vgg16": {
        "backbone.b1.0.weight": "layers.0.weight",
        "backbone.b1.2.weight": "layers.2.weight",
        "backbone.b2.0.weight": "layers.5.weight",
        "backbone.b3.4.weight": "layers.14.weight",
        "backbone.b5.4.weight": "layers.28.weight",
        "b6_1.weight": None,
    },
}


@pytest.fixture(scope="module", params=KNOWN)
def network(request: pytest.FixtureRequest) -> Any:
    model = model_settings(request.param, image_size=[288, 288])
    model.anchors.steps = []
    return build_network(model, 3)


def classifier(network: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = {}
    for parameter in network.get_parameters():
        name = network.classifier_name(parameter.name)
        if name is not None:
            weights[name] = rng.standard_normal(parameter.shape).astype(np.float32)
    weights["classifier.weight"] = np.zeros((1000, 10), np.float32)
    return weights


def test_backbone_is_loaded_and_nothing_else(network: Any) -> None:
    for name, source in KNOWN[network.model.name].items():
        assert network.classifier_name(name) == source
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    weights = classifier(network)
    report = load_backbone(network, weights)
    assert report.skipped == ("classifier.weight",)
    assert report.lines()[-1] == (
        "    classifier.weight: shape (1000, 10), nothing of the detector's backbone is made from "
        "it"
    )
    assert len(report.loaded) + len(report.missing) == len(before)
    for parameter in network.get_parameters():
        source = network.classifier_name(parameter.name)
        want = before[parameter.name] if source is None else weights[source]
        assert np.array_equal(parameter.asnumpy(), want)


def test_incomplete_or_other_backbones_are_refused(network: Any) -> None:
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    weights = classifier(network)
    last = [n for n in weights if n != "classifier.weight"][-1]
    without = {n: w for n, w in weights.items() if n != last}
    with pytest.raises(CheckpointError, match=f"needs {last}"):
        load_backbone(network, without)
    with pytest.raises(CheckpointError, match="another backbone"):
        load_backbone(network, {**weights, last: np.zeros((2, 2), np.float32)})
    for parameter in network.get_parameters():
        assert np.array_equal(parameter.asnumpy(), before[parameter.name])


def test_network_without_a_known_classifier() -> None:
    network = build_network(model_settings("ssd_tiny"), 3)
    with pytest.raises(CheckpointError, match="no backbone"):
        load_backbone(network, {})
