"""`schedule_to=max_minutes`: the recipe is cut to the time there is, once, and then is a recipe
like any other.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import training.run.fit_schedule
from data_tools.core.errors import SettingError
from tests.helpers.run_helpers import SMALL, make_set, read_run
from training.checkpoints.checkpoint import read_card
from training.checkpoints.store import CheckpointStore
from training.command_line.configure import compose
from training.run.fit_schedule import MEASURED_STEPS, shortened, steps_that_fit, taken_over
from training.run.loop import run
from training.settings import TrainSettings
from training.watching.announce import closing


def settings_of(*overrides: str) -> TrainSettings:
    composed: TrainSettings = compose(
        "train", "training.settings:TrainSettings", [*SMALL, *overrides]
    )
    return composed


def test_a_shorter_recipe_keeps_its_shape() -> None:
    recipe = settings_of("data=x", "max_minutes=5", "schedule_to=max_minutes", "epochs=40",
                         "optim.warmup_epochs=2", "optim.milestones=[20,30]")  # fmt: skip
    short = shortened(recipe, 10.0)
    assert (short.epochs, short.optim.warmup_epochs) == (10.0, 0.5)
    assert short.optim.milestones == [5.0, 7.5] and short.schedule_to == "recipe"


def test_evaluations_on_the_way_take_their_time() -> None:
    for seconds, left, evaluation, every in ((0.5, 600.0, 20.0, 100), (2.0, 60.0, 0.0, 0)):
        steps = steps_that_fit(seconds, left, evaluation, every)
        inner = steps // every if every else 0
        assert steps * seconds + (inner + 1) * evaluation <= left
        assert (steps + 10) * seconds + (inner + 1) * evaluation > 0.9 * left
    assert steps_that_fit(1.0, 3.0, 10.0, 0) == 0


def test_a_limit_must_be_given_with_it() -> None:
    with pytest.raises(SettingError, match="schedule_to.*max_minutes as well"):
        settings_of("data=x", "schedule_to=max_minutes")


def test_it_has_no_closing_epochs_and_says_so() -> None:
    words = ["data=x", "augment.mosaic_probability=0.5", "augment.closing_epochs=3"]
    fitted = settings_of(*words, "max_minutes=5", "schedule_to=max_minutes")
    assert fitted.augment.closing_epochs == 0
    assert "no closing epochs" in closing(fitted)[0]
    assert settings_of(*words).augment.closing_epochs == 3 and not closing(settings_of(*words))


def test_a_run_is_cut_once_and_goes_on_as_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training.run.fit_schedule, "steps_that_fit", lambda *_: 7)
    output = tmp_path / "run"
    data = make_set(tmp_path / "data", train=8)  # two steps an epoch
    words = [f"data={data}", f"output={output}", "max_minutes=60", "schedule_to=max_minutes",
             "epochs=1000", "checkpoint.every_steps=4", "checkpoint.keep=9"]  # fmt: skip
    assert run(settings_of(*words)) == 0
    total = 1 + MEASURED_STEPS + 7
    assert f"the run has {total} steps ({total / 2:.2f} epochs) in place of 2000" in (
        capsys.readouterr().out
    )
    lines = read_run(output)
    assert lines[-1]["step"] == total
    settings = settings_of(*words)
    # The last step is one before the end of the cosine.
    assert lines[-1]["lr"] < 0.1 * settings.optim.lr and lines[1]["lr"] > 0
    written = yaml.safe_load((output / "settings.yaml").read_text())
    assert written["epochs"] == total / 2 and written["schedule_to"] == "recipe"

    # The same command goes on with the recipe as it was cut, to the same weights.
    newest = CheckpointStore(output / "checkpoints", 9).newest()
    assert newest is not None and newest.card.settings["epochs"] == total / 2
    whole = newest.weights_path.read_bytes()
    for path in (output / "checkpoints").glob(f"*{total:08d}*"):
        path.unlink()
    monkeypatch.setattr(training.run.fit_schedule, "steps_that_fit", lambda *_: 500)
    assert run(settings_of(*words, "resume=true")) == 0
    again = CheckpointStore(output / "checkpoints", 9).newest()
    assert again is not None and again.card.step == total
    assert again.weights_path.read_bytes() == whole
    card = read_card(again.weights_path)
    assert card is not None
    assert taken_over(settings, card.settings).epochs == total / 2


def test_a_recipe_that_fits_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training.run.fit_schedule, "steps_that_fit", lambda *_: 9999)
    data = make_set(tmp_path / "data", train=8)
    words = (f"data={data}", f"output={tmp_path}/run", "max_minutes=60", "epochs=7")
    assert run(settings_of(*words, "schedule_to=max_minutes")) == 0
    assert "all 14 steps of the recipe fit" in capsys.readouterr().out
    assert read_run(tmp_path / "run")[-1]["step"] == 14
