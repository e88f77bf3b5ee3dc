"""The family's recipes: each says where it is from, composes, compiles and takes steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_tools.core.errors import SettingError
from tests.helpers.warm import run_warm
from training.command_line.configure import compose
from training.learning.schedule import build_schedule
from training.learning.settings import require_matching
from training.settings import TrainSettings

RECIPES = {
    "coco": ("ssd300", 96),
    "coco_mobilenet_v1": ("ssd_mobilenet_v1", 96),
    "coco_vgg16": ("ssd_vgg16", 272),
    "coco_mobilenet_v1_fpn": ("ssd_mobilenet_v1_fpn", 128),
    "coco_resnet50_fpn": ("ssd_resnet50_fpn", 128),
    "coco_ssdlite": ("ssdlite_mobilenet_v3", 96),
}
"""Model, and an image side at which steps are quick."""


def recipe(name: str, *overrides: str) -> TrainSettings:
    return compose("train", "training.settings:TrainSettings", [f"+experiment={name}", *overrides])


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_composes_and_names_its_source(name: str, repository: Path) -> None:
    from training.nets.anchors import default_boxes
    from training.nets.settings import model_settings

    settings = recipe(name)
    assert settings.model == model_settings(RECIPES[name][0])
    assert len(default_boxes(settings.model)) > 1000
    header = (repository / "conf" / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    for word in ("+experiment=" + name, "Published", "AP 0.", "Source:", "batch"):
        assert word in header, f"{name}: the header does not say {word!r}"


def test_published_hyper_parameters() -> None:
    coco = recipe("coco")
    assert (coco.epochs, coco.batch_size) == (500, 32)
    optim = coco.optim
    assert (optim.lr, optim.warmup_lr, optim.warmup_epochs) == (0.05, 0.001, 2)
    assert (optim.momentum, optim.weight_decay, optim.final_ratio) == (0.9, 1.5e-4, 0.001)
    assert (optim.schedule, optim.clip_norm, optim.decay) == ("cosine", None, "all")
    assert (coco.loss.kind, coco.loss.gamma, coco.loss.alpha) == ("focal", 2.0, 0.75)
    for name, decay in (("coco_mobilenet_v1_fpn", 4e-5), ("coco_resnet50_fpn", 4e-4)):
        fpn = recipe(name)
        assert (fpn.epochs, fpn.loss.alpha) == (60, 0.25)
        assert (fpn.optim.weight_decay, fpn.optim.clip_norm) == (decay, 1.0)
        assert (fpn.optim.warmup_lr, fpn.optim.final_ratio) == (0.01333, 0.0)
    lite = recipe("coco_ssdlite")
    assert (lite.loss.kind, lite.model.scores) == ("multibox", "softmax")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("demo", "sqrt"),
        ("small_dataset", "sqrt"),
        ("small_dataset_ssd300", "linear"),
        ("finetune", "linear"),
    ],
)
def test_the_rate_of_our_own_recipes_follows_the_batch(name: str, rule: str) -> None:
    extra = ["init.model=settings", "init.backbone=null"]
    settings = recipe(name, *extra)
    assert (settings.optim.lr_scaling, settings.optim.reference_batch) == (
        rule,
        settings.batch_size,
    )

    def rate(times: int, *words: str) -> float:
        optim = recipe(name, *extra, *words).optim
        batch = times * settings.batch_size
        return build_schedule(optim, steps_per_epoch=9, epochs=9, global_batch=batch).base_lr

    assert rate(1) == settings.optim.lr  # to the bit
    assert rate(4) == settings.optim.lr * {"sqrt": 2, "linear": 4}[rule]
    assert rate(4, "optim.lr_scaling=none") == settings.optim.lr


def test_published_recipes_keep_their_rate() -> None:
    for name in RECIPES:
        assert recipe(name).optim.lr_scaling == "none"


def test_loss_and_scores_go_together() -> None:
    assert compose("train", "training.settings:TrainSettings", ["loss=multibox"]).model.scores == (
        "softmax"
    )
    alone = compose("train", "training.settings:TrainSettings", ["model=ssdlite_mobilenet_v3"])
    with pytest.raises(SettingError, match=r"model\.scores='softmax'.*loss=multibox"):
        require_matching(alone.model, alone.loss)
    both = recipe("coco_ssdlite")
    require_matching(both.model, both.loss)


@pytest.fixture(scope="module")
def shapes(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shapes") / "data"
    counts = ["dataset.splits.train.count=6", "dataset.splits.val.count=2"]
    command(repository, "convert.py", "dataset=shapes", f"out={out}", *counts)
    return out


def command(repository: Path, *arguments: str) -> None:
    done = run_warm(*arguments, cwd=repository)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_takes_steps(name: str, repository: Path, shapes: Path, tmp_path: Path) -> None:
    side = RECIPES[name][1]
    command(
        repository,
        "train.py",
        f"+experiment={name}",
        f"data={shapes}",
        f"output={tmp_path}",
        f"model.image_size=[{side},{side}]",
        "model.anchors.steps=[]",
        "batch_size=2",
        "max_steps=2",
        "log.every_steps=1",
        "evaluate_at_end=false",
        "workers=1",
    )
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
