"""Every network of the zoo: outputs, modes, first weights, image sizes, settings."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from data_tools.core.errors import SettingError
from training.nets.build import build_network
from training.nets.feature_maps import feature_sizes
from training.nets.initialize import PUBLISHED_SIGMA, random_weight
from training.nets.settings import (
    CONFIG_DIR,
    ModelSettings,
    model_settings,
    settings_from_dict,
    zoo_names,
)

SMALL = {
    "ssd300": 96,
    "ssd_mobilenet_v1": 96,
    "ssd_vgg16": 272,
    "ssd300_vgg16": 272,
    "ssd_mobilenet_v1_fpn": 128,
    "ssd_resnet50_fpn": 128,
    "ssdlite_mobilenet_v3": 96,
    "ssd_tiny": 64,
    "ssd_light": 64,
}
"""A side at which each network is quick."""


def small(name: str, **overrides: object) -> ModelSettings:
    settings = model_settings(name, image_size=[SMALL[name]] * 2, **overrides)
    settings.anchors.steps = []
    return settings


def random_input(model: ModelSettings, batch: int = 2, seed: int = 0) -> ms.Tensor:
    rng = np.random.default_rng(seed)
    return ms.Tensor(rng.standard_normal((batch, 3, *model.image_size)).astype(np.float32))


@pytest.mark.parametrize("name", zoo_names())
def test_outputs_at_another_image_size(name: str) -> None:
    model = small(name)
    network = build_network(model, 5)
    assert not network.training
    x = random_input(model)
    loc, scores = network(x)
    assert loc.shape == (2, network.num_anchors, 4)
    assert scores.shape == (2, network.num_anchors, 5)
    assert loc.dtype == scores.dtype == ms.float32
    assert (scores.asnumpy() >= 0).all()
    assert (scores.asnumpy() <= 1).all()
    if model.scores == "softmax":
        assert np.allclose(scores.asnumpy().sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("scores", ["sigmoid", "softmax"])
def test_training_mode_gives_logits(scores: str) -> None:
    model = small("ssd_tiny", scores=scores, norm="frozen")
    network = build_network(model, 5)
    x = random_input(model)
    probabilities = network(x)[1].asnumpy()
    logits = network.set_train(True)(x)[1].asnumpy()
    exp = np.exp(logits)
    want = 1 / (1 + 1 / exp) if scores == "sigmoid" else exp / exp.sum(-1, keepdims=True)
    assert np.allclose(probabilities, want, atol=1e-5)


def test_rows_of_the_output_are_those_of_the_default_boxes() -> None:
    """A change in one corner of the image moves only predictions of boxes near that corner."""
    from training.nets.anchors import default_boxes

    model = model_settings("ssd_tiny", norm="frozen", init="he")
    network = build_network(model, 3)
    x = random_input(model, 1).asnumpy()
    moved = x.copy()
    moved[..., :8, -8:] += 3
    before, after = (network(ms.Tensor(v))[0].asnumpy()[0] for v in (x, moved))
    changed = np.abs(before - after).max(-1) > 1e-6
    level0 = slice(0, 20 * 20 * 4)
    cy, cx = default_boxes(model)[level0, :2].T
    assert changed[level0].any()
    assert cy[changed[level0]].max() < 0.5
    assert cx[changed[level0]].min() > 0.5


def test_first_weights_depend_on_seed_and_name_only() -> None:
    a, b, c = (build_network(small("ssd_tiny"), 5, seed=s) for s in (1, 1, 2))
    for p, q, r in zip(a.get_parameters(), b.get_parameters(), c.get_parameters(), strict=True):
        assert np.array_equal(p.asnumpy(), q.asnumpy())
        if p.name.endswith(".weight"):
            assert not np.array_equal(p.asnumpy(), r.asnumpy())
    # Neither the image size nor what was built before matters.
    other = build_network(model_settings("ssd_tiny"), 5, seed=1)
    for p, q in zip(a.get_parameters(), other.get_parameters(), strict=True):
        assert np.array_equal(p.asnumpy(), q.asnumpy())


def test_distributions_of_first_weights() -> None:
    rng = np.random.default_rng(0)
    published = random_weight("published", (64, 32, 3, 3), rng)
    assert np.abs(published).max() <= 2 * PUBLISHED_SIGMA
    assert np.isclose(published.std(), 0.88 * PUBLISHED_SIGMA, rtol=0.02)
    he = random_weight("he", (64, 32, 3, 3), rng)
    assert np.isclose(he.std(), np.sqrt(2 / (64 * 9)), rtol=0.03)
    depthwise = random_weight("he", (512, 1, 3, 3), rng)
    assert np.isclose(depthwise.std(), np.sqrt(2 / 9), rtol=0.05)


def test_head_prior_is_the_first_score() -> None:
    model = small("ssd_tiny", head_prior=0.02)
    network = build_network(model, 4)
    for p in network.trainable_params():
        if p.name.startswith("multi_box.cls_layers") and p.name.endswith("weight"):
            p.set_data(ms.Tensor(np.zeros(p.shape, np.float32)))
    scores = network(random_input(model))[1].asnumpy()
    assert np.allclose(scores[..., 0], 0.98)
    assert np.allclose(scores[..., 1:], 0.02)


def test_normalize() -> None:
    from training.nets.normalize import Normalize

    model = model_settings("ssd300")
    cell = Normalize(model.mean, model.std)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7)).astype(np.uint8)
    mean = np.array([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1) * 255
    std = np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1) * 255
    for x in (images, images.astype(np.float32)):
        y = cell(ms.Tensor(x))
        assert y.dtype == ms.float32
        assert np.allclose(y.asnumpy(), (images - mean) / std, atol=1e-5)
    assert not list(cell.get_parameters())


def test_every_network_has_a_config_and_every_config_a_network() -> None:
    # A file may hold other settings of a network that has a file of its own.
    files = {p.stem for p in CONFIG_DIR.glob("*.yaml")}
    assert files == {*zoo_names(), "ssdlite320_torchvision"}
    for name in files:
        network = model_settings(name).name
        assert network == name or name == "ssdlite320_torchvision"


def test_default_settings_are_ssd300() -> None:
    assert ModelSettings() == model_settings("ssd300")


def test_settings_survive_a_card() -> None:
    import dataclasses
    import json

    for name in zoo_names():
        model = model_settings(name)
        card = json.loads(json.dumps(dataclasses.asdict(model)))
        assert settings_from_dict(card) == model


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "yolo"),
        ("image_size", [300]),
        ("image_size", [8, 300]),
        ("norm", "group"),
        ("scores", "tanh"),
        ("init", "zero"),
        ("head_prior", 1.0),
        ("match_threshold", 0.0),
        ("prior_scaling", [0.1]),
        ("mean", [0.0]),
        ("std", [1.0, 1.0, 0.0]),
        ("shape", [1]),
    ],
)
def test_settings_that_cannot_work(key: str, value: object) -> None:
    with pytest.raises(SettingError, match=f"model.{key}"):
        settings_from_dict({key: value})


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(SettingError, match=r"model=ssd512.*ssd300"):
        model_settings("ssd512")


def test_feature_sizes_of_a_wide_image() -> None:
    model = model_settings("ssd_mobilenet_v1_fpn", image_size=[128, 256])
    assert feature_sizes(model) == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]
