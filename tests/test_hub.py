"""The Hub's entry point, loaded as the Hub's loader does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

import mindspore_hub_conf
from tests.helpers.checkpoints import random_weights, write_trainer_file
from training.checkpoints.identify import PUBLISHED
from training.checkpoints.weight_files import EMPTY_SHA256, save_weights

LOADER = """
import importlib.util, json, sys
root, name, checkpoint = sys.argv[1:]
sys.path.insert(0, root)
spec = importlib.util.spec_from_file_location("mindspore_hub_conf", root + "/mindspore_hub_conf.py")
module = importlib.util.module_from_spec(spec)
sys.modules["mindspore_hub_conf"] = module
spec.loader.exec_module(module)
network = module.create_network(name.lower(), num_classes=4)
import mindspore as ms
import numpy as np
ms.load_param_into_net(network, ms.load_checkpoint(checkpoint))
loc, scores = network(ms.Tensor(np.ones((1, 3, 160, 160), np.float32)))
print(json.dumps([list(loc.shape), list(scores.shape), float(scores.asnumpy().sum())]))
"""


def test_loaded_from_its_file_from_any_directory(tmp_path: Path, repository: Path) -> None:
    network = mindspore_hub_conf.create_network("ssd_tiny", num_classes=4)
    save_weights(network, tmp_path / "published.ckpt")
    script = tmp_path / "loader.py"
    script.write_text(LOADER)
    result = subprocess.run(
        [
            sys.executable,
            str(script),
            str(repository),
            "SSD_Tiny",
            str(tmp_path / "published.ckpt"),
        ],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    loc_shape, scores_shape, total = json.loads(result.stdout.splitlines()[-1])
    want = network(ms.Tensor(np.ones((1, 3, 160, 160), np.float32)))
    assert loc_shape == list(want[0].shape)
    assert scores_shape == list(want[1].shape)
    assert np.isclose(total, want[1].asnumpy().sum(), rtol=1e-5)


@pytest.mark.parametrize("card", ["SSD", *PUBLISHED])
def test_published_weights_reach_every_card(card: str, tmp_path: Path) -> None:
    """A published file, as the trainer writes it, through the Hub's own `load_param_into_net`."""
    network = mindspore_hub_conf.create_network(card.lower())
    weights = random_weights(network.model.name, 81)
    write_trainer_file(weights, tmp_path / "card.ckpt")
    missing, _ = ms.load_param_into_net(network, ms.load_checkpoint(str(tmp_path / "card.ckpt")))
    assert not missing
    for parameter in network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), weights[parameter.name])


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ssd300", "ssd300"),
        ("ssd", "ssd300"),
        ("SSD-MobileNet-V1", "ssd_mobilenet_v1"),
        ("ssdvgg16", "ssd_vgg16"),
        ("ssd_vgg16", "ssd_vgg16"),
        ("ssd_mobilenet_v1_fpn", "ssd_mobilenet_v1_fpn"),
        ("ssd_mobilenetv1_fpn", "ssd_mobilenet_v1_fpn"),
        ("ssd_resnet50_fpn", "ssd_resnet50_fpn"),
    ],
)
def test_card_names(name: str, model: str) -> None:
    assert mindspore_hub_conf.model_name(name) == model


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="ssd300"):
        mindspore_hub_conf.create_network("yolo")


def test_result_is_ready_for_inference() -> None:
    network = mindspore_hub_conf.create_network("ssd_tiny", num_classes=5, norm="frozen")
    assert not network.training
    assert network.model.norm == "frozen"
    loc, scores = network(ms.Tensor(np.zeros((2, 3, 160, 160), np.float32)))
    assert loc.shape == (2, network.num_anchors, 4)
    assert scores.shape == (2, network.num_anchors, 5)
    assert scores.asnumpy().min() >= 0
    assert scores.asnumpy().max() <= 1


def test_checkpoint_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    save_weights(mindspore_hub_conf.create_network("ssd300"), tmp_path / "card.ckpt")
    loaded = mindspore_hub_conf.create_network("ssd", checkpoint=str(tmp_path / "card.ckpt"))
    assert loaded.num_classes == 81
    with pytest.raises(ValueError, match=r"is of ssd300 with 81 classes; the network is ssd_tiny"):
        mindspore_hub_conf.create_network("ssd_tiny", checkpoint=str(tmp_path / "card.ckpt"))
    with pytest.raises(ValueError, match="empty file"):
        mindspore_hub_conf.create_network(
            "ssd", checkpoint=str(tmp_path / "card.ckpt"), sha256=EMPTY_SHA256
        )
