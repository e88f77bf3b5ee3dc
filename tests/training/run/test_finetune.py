"""Fine-tuning on other classes: the checkpoint's network, a backbone that rests, then learns
slowly.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from mindspore.nn.utils import no_init_parameters

from data_tools.core.errors import CheckpointError, SettingError
from data_tools.core.sample import ClassInfo
from data_tools.shards.manifest import read_manifest
from tests.helpers.run_helpers import SMALL, make_set
from training.checkpoints.checkpoint import read_card
from training.checkpoints.weight_files import read_weights
from training.command_line.configure import compose
from training.learning.settings import LossSettings, OptimSettings
from training.learning.weight_groups import expand_backbone, factor_of
from training.nets.build import build_network
from training.nets.settings import model_settings, zoo_names
from training.run.first_weights import with_model_of_first_weights
from training.run.loop import run
from training.settings import TrainSettings

COMMON = [option for option in SMALL if not option.startswith(("model", "epochs"))]


def settings_of(*overrides: str) -> TrainSettings:
    composed: TrainSettings = compose("train", "training.settings:TrainSettings", list(overrides))
    return composed


@pytest.mark.parametrize("name", zoo_names())
def test_the_backbone_is_known_by_name(name: str) -> None:
    with no_init_parameters():
        network = build_network(model_settings(name), 4)
    names = [p.name for p in network.trainable_params()]
    found = expand_backbone(network, ["backbone", "*beta"])
    assert found[-1] == "*beta" and 10 < len(found) < len(names)
    assert set(found[:-1]) < set(names)
    heads = [n for n in names if "box" in n or "head" in n]
    assert heads and not set(heads) & set(found)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The checkpoint of a short run, and a set with a class more than it knows."""
    root = tmp_path_factory.mktemp("finetune")
    data = make_set(root / "data")
    assert run(settings_of(*SMALL, f"data={data}", f"output={root / 'run'}", "max_steps=2")) == 0
    for split in ("train", "val"):
        manifest = read_manifest(data / split)
        extra = ClassInfo(len(manifest.classes) + 1, "spiral", 99)
        dataclasses.replace(manifest, classes=(*manifest.classes, extra)).write(data / split)
    (checkpoint,) = (root / "run/checkpoints").glob("*2.ckpt")
    return checkpoint, data


def test_the_experiment(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, data = trained
    settings = settings_of(
        *COMMON, "+experiment=finetune", f"checkpoint={checkpoint}", f"data={data}",
        f"output={tmp_path / 'tuned'}", "epochs=2", "optim.freeze_epochs=1",
        "checkpoint.every_steps=5",
        "optim.ema=null",
    )  # fmt: skip
    assert run(settings) == 0
    told = capsys.readouterr().out
    record = json.loads((tmp_path / "tuned/first_weights.parity.json").read_text())
    assert record["donor"]["file"] == str(checkpoint) and len(record["names"]) > 10
    assert "first weights from" in told and "multi_box.cls_layers.0" in told
    before = read_weights(checkpoint)
    frozen, thawed = (
        read_weights(next((tmp_path / "tuned/checkpoints").glob(f"*{step}.ckpt")))
        for step in (5, 10)
    )
    card = read_card(next((tmp_path / "tuned/checkpoints").glob("*10.ckpt")))
    assert card is not None and card.model["image_size"] == [64, 64] and card.num_classes == 8
    backbone = [name for name in before if not name.startswith("multi_box.")]
    assert any(name.endswith("moving_mean") for name in backbone)
    for name in backbone:
        np.testing.assert_array_equal(frozen[name], before[name], err_msg=name)
        assert not np.array_equal(thawed[name], frozen[name]), name
    heads = [name for name in before if "cls_layers" in name]
    assert heads and all(frozen[name].shape != before[name].shape for name in heads)
    assert all(not np.array_equal(thawed[name], frozen[name]) for name in heads)


def test_the_backbones_rate(trained: tuple[Path, Path]) -> None:
    from training.learning.assemble import build_state

    settings = settings_of("model=ssd_tiny", "+optim.lr_factors.backbone=0.1")
    state, _, _ = build_state(settings, 4)
    optim = state.optimizer.optim
    assert factor_of("stem.0.0.weight", optim) == 0.1
    assert factor_of("multi_box.cls_layers.0.weight", optim) == 1.0
    assert settings.optim.lr_factors == {"backbone": 0.1}


def test_a_checkpoint_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"init\.checkpoint.*checkpoint=FILE"):
        settings_of("+experiment=finetune", "data=x")
    with pytest.raises(CheckpointError, match="no such file"):
        with_model_of_first_weights(settings_of("+experiment=finetune", "checkpoint=no.ckpt"))
    with pytest.raises(CheckpointError, match="exported"):
        with_model_of_first_weights(settings_of("+experiment=finetune", "checkpoint=a.onnx"))


def test_a_word_that_is_no_backbone() -> None:
    from training.learning.weight_groups import trainable

    with no_init_parameters():
        network = build_network(model_settings("ssd_tiny"), 4)
    with pytest.raises(SettingError, match="optim.freeze: 'body' fits no parameter"):
        trainable(network.trainable_params(), expand_backbone(network, ["body"]))
    assert OptimSettings().freeze == []


def test_the_loss_is_the_checkpoints_as_the_network_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network with task-aligned assignment cannot be trained by the default loss."""
    data, before = make_set(tmp_path / "data", 8, 2), tmp_path / "before"
    words = [*SMALL, "loss=varifocal", "model.assign=tal", "loss.class_weights=[1,2,1,1,1,1]"]
    assert run(settings_of(*words, f"data={data}", f"output={before}", "max_steps=1")) == 0
    (checkpoint,) = (before / "checkpoints").glob("*1.ckpt")
    recipe = [*COMMON, "+experiment=finetune", f"checkpoint={checkpoint}", f"data={data}"]
    recipe += ["optim.warmup_epochs=1", f"output={tmp_path / 'tuned'}", "max_steps=1"]
    capsys.readouterr()
    assert run(settings_of(*recipe)) == 0
    assert "loss: varifocal of scores, giou of boxes" in capsys.readouterr().out
    card = read_card(next((tmp_path / "tuned/checkpoints").glob("*1.ckpt")))
    assert card is not None and card.model["assign"] == "tal"
    assert card.settings["loss"] == dataclasses.asdict(
        LossSettings("varifocal", 2.0, 0.75, 3.0, "giou", 2.0)
    )
    chosen = with_model_of_first_weights(settings_of(*recipe, "loss.box=ciou", "loss.kind=quality"))
    assert (chosen.loss.kind, chosen.loss.box, chosen.loss.loc_weight) == ("quality", "ciou", 1.0)
    checkpoint.with_suffix(".json").unlink()  # its card: then it is taken for a published one
    assert with_model_of_first_weights(settings_of(*recipe)).loss == LossSettings()
