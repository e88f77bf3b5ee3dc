"""Networks of other libraries: what ours compute with their weights is what theirs computed.

The numbers were made by the libraries themselves, with weights filled by name:
`tests/golden/make_donor_goldens.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from data_tools.core.errors import CheckpointError
from tests.golden.donor_filling import fill, picture, sample
from tests.helpers.donors import NAMES
from training.boxes.codec import decode_boxes
from training.boxes.postprocess import Protocol, detect
from training.checkpoints.backbone_weights import load_backbone
from training.checkpoints.donors import COUNTER, find_donor
from training.checkpoints.identify import identify
from training.checkpoints.torchvision_detectors import (
    ORIGINALS,
    SETTINGS,
    from_torchvision,
    network_of,
    to_torchvision,
)
from training.checkpoints.weights import load_weights
from training.nets.anchors import default_boxes
from training.nets.build import build_network
from training.nets.settings import model_settings
from training.weights.entry import registry

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NETWORKS = {
    "mobilenet_v1": "ssd_mobilenet_v1",
    "mobilenet_v2": "ssd300",
    "mobilenet_v3_large": "ssdlite_mobilenet_v3",
    "resnet50": "ssd_resnet50_fpn",
    "vgg16": "ssd300_vgg16",
}


def filled(donor: str) -> dict[str, np.ndarray]:
    return {
        # The layers behind the backbone are large, and nobody looks at their values.
        name: np.broadcast_to(np.float32(0), shape)
        if "." in donor and len(shape) in (2, 4) and max(shape) > 3000
        else fill(name, tuple(shape))
        for name, shape in NAMES[donor].items()
    }


def backbone_of(network: Any) -> Any:
    extractor = getattr(network, "feature_extractor", None)
    if extractor is None:
        return network.backbone
    return getattr(extractor, "resnet", None) or extractor


@pytest.fixture(scope="module")
def backbone_goldens() -> dict[str, np.ndarray]:
    parts = [np.load(GOLDEN / f"donor_backbones_{library}.npz") for library in ("torch", "mindcv")]
    return {key: part[key] for part in parts for key in part}


FAST = ("mobilenet_v1.timm", "mobilenet_v2.torchvision", "mobilenet_v3_large.torchvision")


@pytest.mark.parametrize(
    "donor",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in NAMES
        if "." in name
    ],
)
def test_features_of_a_backbone_are_the_donors(
    donor: str, backbone_goldens: dict[str, np.ndarray]
) -> None:
    """With the settings of the registry's entry; every weight of the donor is loaded, or left out
    for a reason.
    """
    entry = registry()[donor]
    model = model_settings(NETWORKS[entry.network], **entry.model)
    network = build_network(model, 3)
    weights = filled(donor)
    report = load_backbone(network, weights)
    assert report.notes == () or donor == "vgg16.mindcv"
    assert set(report.skipped) == set(report.reasons)
    left = {name for name in report.skipped if not name.endswith(COUNTER)}
    assert left and all("classifier" in n or "fc" in n or "head" in n for n in left)
    names = (parameter.name for parameter in network.get_parameters())
    assert {name for name in names if network.classifier_name(name)} == set(report.loaded)
    pixels = picture(96, 96).astype(np.float32)
    x = (pixels - np.float32(model.mean)) / np.float32(model.std)
    maps = backbone_of(network)(ms.Tensor(np.ascontiguousarray(x.transpose(2, 0, 1)[None])))
    compared = 0
    for k, got in enumerate(maps):
        if f"{donor}/{k}" in backbone_goldens:
            want = backbone_goldens[f"{donor}/{k}"]
            assert tuple(got.shape) == tuple(backbone_goldens[f"{donor}/{k}/shape"])
            scale = np.abs(want).max()
            np.testing.assert_allclose(sample(got.asnumpy()) / scale, want / scale, atol=1e-4)
            compared += 1
    assert compared >= 2


def test_a_style_that_is_not_the_donors_is_told_and_gives_other_features() -> None:
    donor = "mobilenet_v2.torchvision"
    network = build_network(model_settings("ssd300"), 3)
    report = load_backbone(network, filled(donor))
    assert any("model.padding=symmetric" in note for note in report.notes)


@pytest.mark.parametrize(
    ("donor", "model", "words"),
    [
        ("resnet50.torchvision", "ssd300", "mobilenet_v2"),
        ("vgg16.torchvision", "ssd_vgg16", "model=ssd300_vgg16"),
        ("mobilenet_v3_large.timm", "ssdlite_mobilenet_v3", "model.tail=full"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_in_words(
    donor: str, model: str, words: str
) -> None:
    network = build_network(model_settings(model), 3)
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    with pytest.raises(CheckpointError, match=words):
        load_backbone(network, filled(donor))
    for parameter in network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])


def test_a_deeper_backbone_is_refused() -> None:
    weights = {**filled("resnet50.timm"), "layer3.6.conv1.weight": np.zeros((256, 1024, 1, 1))}
    with pytest.raises(CheckpointError, match="no place for 1 weights .* layer3.6.conv1.weight"):
        load_backbone(build_network(model_settings("ssd_resnet50_fpn"), 3), weights)


def test_a_backbone_with_a_nan_is_refused() -> None:
    weights = filled("mobilenet_v2.timm")
    weights["conv_stem.weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(CheckpointError, match="conv_stem.weight .* not finite"):
        load_backbone(build_network(model_settings("ssd300"), 3), weights)


def test_donors_are_told_apart() -> None:
    for donor in (name for name in NAMES if "." in name):
        backbone, library = donor.split(".")
        found = find_donor(backbone, dict.fromkeys(NAMES[donor], np.zeros(0))).library
        # timm calls the layers of ResNet-50 and VGG-16 as torchvision does.
        assert found == library or (found, library) == ("torchvision", "timm")


@pytest.fixture(
    scope="module",
    params=["ssdlite_mobilenet_v3", pytest.param("ssd300_vgg16", marks=pytest.mark.slow)],
)
def detector(request: pytest.FixtureRequest) -> tuple[str, Any, dict[str, np.ndarray], Any]:
    """Our network with torchvision's weights, those weights, and what torchvision computed."""
    name: str = request.param
    theirs = filled(ORIGINALS[name])
    golden = np.load(GOLDEN / f"donor_{ORIGINALS[name]}.npz")
    assert network_of(theirs) == name
    ours = from_torchvision(name, theirs)
    assert identify(ours) == (name, 91)
    network = build_network(model_settings(SETTINGS[name]), 91)
    load_weights(network, ours)
    return name, network, theirs, golden


def test_default_boxes_are_torchvisions(detector: tuple[str, Any, Any, Any]) -> None:
    _, network, _, golden = detector
    height, width = network.model.image_size
    x1, y1, x2, y2 = golden["anchors_xyxy_px"].T.astype(np.float64)
    want = np.stack([(y1 + y2) / 2 / height, (x1 + x2) / 2 / width, (y2 - y1) / height,
                     (x2 - x1) / width], -1)  # fmt: skip
    np.testing.assert_allclose(default_boxes(network.model), want, atol=1e-6)


def test_outputs_and_detections_are_torchvisions(detector: tuple[str, Any, Any, Any]) -> None:
    """Raw outputs to 1e-4, then the detections of their own post-processing."""
    _, network, _, golden = detector
    model = network.model
    height, width = (int(side) for side in model.image_size)
    pixels = picture(height, width).astype(np.float32)
    x = (pixels - np.float32(model.mean)) / np.float32(model.std)
    network.set_train(
        True
    )  # logits, not scores; neither net has a layer whose inference differs from them
    for _, cell in network.cells_and_names():
        if hasattr(cell, "moving_mean"):
            cell.set_train(False)
    loc, logits = network(ms.Tensor(np.ascontiguousarray(x.transpose(2, 0, 1)[None])))
    network.set_train(False)
    loc, logits = loc.asnumpy()[0], logits.asnumpy()[0]
    np.testing.assert_allclose(loc[:, [1, 0, 3, 2]], golden["regression"], atol=1e-4)
    np.testing.assert_allclose(logits[::29], golden["logits"], atol=1e-4)

    floor, iou, candidates, most = golden["settings"]
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    boxes = decode_boxes(loc, default_boxes(model), model.prior_scaling)
    protocol = Protocol(
        "theirs",
        floor,
        iou,
        max_per_image=int(most),
        candidates_per_class=int(candidates),
    )
    found = detect(np.clip(boxes, 0, 1), scores.astype(np.float32), height, width, protocol)
    assert len(found) == len(golden["scores"])
    np.testing.assert_allclose(found.scores, golden["scores"], atol=1e-4)
    # Scores that agree to the last bit or two may change places: compare as sets, box by box.
    ours = np.column_stack([found.labels * 1000.0, found.boxes_yxyx_px[:, [1, 0, 3, 2]]])
    theirs = np.column_stack([golden["labels"] * 1000.0, golden["boxes"]])
    nearest = np.abs(ours[:, None] - theirs[None]).max(-1)
    assert (nearest.min(1) < 0.02).all() and (nearest.min(0) < 0.02).all()


def test_round_trip_is_bit_equal(detector: tuple[str, Any, Any, Any]) -> None:
    name, network, theirs, _ = detector
    ours = {p.name: p.asnumpy() for p in network.get_parameters()}
    back = to_torchvision(name, ours)
    assert set(back) == {n for n in theirs if not n.endswith(COUNTER)}
    for key, value in back.items():
        assert value.dtype == theirs[key].dtype
        np.testing.assert_array_equal(value, theirs[key])


def test_a_detector_cut_short_is_refused() -> None:
    weights = filled("ssd300_vgg16")
    del weights["backbone.extra.4.2.bias"]
    with pytest.raises(CheckpointError, match="1 are missing, the first backbone.extra.4.2.bias"):
        from_torchvision("ssd300_vgg16", weights)
