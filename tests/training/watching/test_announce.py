"""What a run says of objects that it will not learn."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data_tools.augment.settings import AugmentSettings
from tests.helpers.run_helpers import SMALL, make_set
from training.command_line.configure import compose
from training.learning.assemble import build_components
from training.learning.schedule import build_schedule
from training.learning.settings import OptimSettings
from training.process.world import World
from training.run.loop import open_training_split
from training.settings import TrainSettings
from training.watching.announce import _weights_in, closing, objects_cut, rising


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data", 12, 1)


def said(data: Path, *overrides: str) -> list[str]:
    settings: TrainSettings = compose(
        "train",
        "training.settings:TrainSettings",
        [*SMALL, f"data={data}", "loss.box=giou", "model.assign=tal", *overrides],
    )
    components = build_components(settings, World(), open_training_split(settings))
    components.pipeline.close()
    return objects_cut(components)


def test_objects_beyond_max_boxes_are_counted(data: Path) -> None:
    truth = json.loads((data / "train" / "annotations.json").read_text())
    counts = Counter(entry["image_id"] for entry in truth["annotations"]).values()
    over = [count for count in counts if count > 1]
    assert len(counts) > len(over) > 0  # some images have one object, some more
    (line,) = said(data, "model.max_boxes=1")
    assert line == (
        f"model.max_boxes=1: {len(over)} image(s) have more, up to {max(over)}; their "
        f"smallest objects are not learned, {sum(over) - len(over)} of {sum(counts)} in whole "
        "images"
    )


def test_nothing_is_said_where_none_is_left_out(data: Path) -> None:
    assert said(data, "model.max_boxes=100") == []
    assert said(data, "model.max_boxes=1", "model.assign=published") == []


def test_mixed_images_may_have_more(data: Path) -> None:
    truth = json.loads((data / "train" / "annotations.json").read_text())
    most = max(Counter(entry["image_id"] for entry in truth["annotations"]).values())
    mosaic = "augment.mosaic_probability=0.5"
    (line,) = said(data, f"model.max_boxes={most}", mosaic)
    assert line.startswith(f"model.max_boxes={most}: no image has more (up to {most}), one mixed")
    assert said(data, f"model.max_boxes={4 * most}", mosaic) == []
    assert said(data, f"model.max_boxes={2 * most}", "augment.mixup_probability=0.5") == []


def test_a_run_of_closing_epochs_alone_says_so() -> None:
    mixed = AugmentSettings(mosaic_probability=0.5, closing_epochs=3)
    assert closing(TrainSettings(epochs=4, augment=mixed)) == []
    (line,) = closing(TrainSettings(epochs=3, augment=mixed))
    assert line.startswith("augment.closing_epochs=3 of epochs=3: no image is mixed")
    assert closing(TrainSettings(epochs=1, augment=AugmentSettings(closing_epochs=3))) == []


def test_a_run_that_is_over_before_its_warm_up_says_so() -> None:
    def lines(**changes: Any) -> list[str]:
        optim = OptimSettings(lr=0.1, warmup_lr=0.0, **changes)
        return rising(build_schedule(optim, steps_per_epoch=5, epochs=2, global_batch=16), optim)

    assert lines(warmup_epochs=1) == lines(warmup_epochs=0) == lines(warmup_steps=9) == []
    assert lines(schedule="one_cycle", warmup_epochs=9) == []  # it has a rise of its own
    (line,) = lines(warmup_epochs=4)
    assert line.startswith("20 steps of warm-up") and "in a run of 10" in line
    assert line.endswith("the rate rises all the time, to 0.045 of optim.lr=0.1")


def test_a_finished_run_names_weights_that_are_there(tmp_path: Path) -> None:
    assert _weights_in(tmp_path, 6) == ""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("step-00000006.safetensors", "best.ckpt"):  # the best is taken first
        (folder / name).touch()
        assert _weights_in(tmp_path, 6) == f" (checkpoint={folder / name})"
