"""Settings of the optimizer and of the log, from the command line to what they change in a run.

What each computes is tested with its cell (`test_step.py`, `test_optimizer.py`); here a setting
that gets lost on its way fails. Skipped steps are in `test_skipped_steps.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

import training.run.validation_loss
from tests.helpers.run_helpers import SMALL, events_in, make_set, read_run
from training.checkpoints.checkpoint import read_arrays, stem
from training.command_line.configure import compose
from training.learning.assemble import build_components, build_state
from training.learning.statistics import statistics_of
from training.process.world import World
from training.run.first_weights import load_initial_weights
from training.run.loop import open_training_split, run
from training.settings import TrainSettings

Arrays = dict[str, NDArray[Any]]
EMA, CLIP, RATE, STEPS = 0.2, 20.0, 0.02, 3
DECAYS = (1 / 10, 2 / 11, EMA)
"""Shares of the average that are kept: min(ema, (1 + step) / (10 + step)), steps from 0."""
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}


def settings_of(*overrides: str) -> TrainSettings:
    composed: TrainSettings = compose(
        "train",
        "training.settings:TrainSettings",
        [*SMALL, f"optim.lr={RATE}", "optim.schedule=constant", "optim.warmup_epochs=0",
         "optim.weight_decay=0", "checkpoint.every_steps=1", "checkpoint.keep=9", *overrides],
    )  # fmt: skip
    return composed


@dataclass
class Finished:
    """A run of three steps that was saved after each.

    Attributes:
        settings: Its settings.
        first: The weights it began with.
        live: The weights that trained, after each step.
        saved: The detector's files, after each step.
        log: Its log lines.
        evaluated: The weights of the network that the evaluation saw.
    """

    settings: TrainSettings
    first: Arrays
    live: list[Arrays]
    saved: list[Arrays]
    log: list[dict[str, Any]]
    evaluated: Arrays


def weights_of(network: nn.Cell) -> Arrays:
    """All weights and statistics of a network by name."""
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}


def starting_with(arrays: Arrays, prefix: str) -> Arrays:
    """Those of the arrays whose name starts with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def move(before: Arrays, after: Arrays, settings: TrainSettings) -> float:
    """The length of the way that all trained weights went."""
    names = [p.name for p in build_state(settings, 7)[0].optimizer.weights]
    return float(np.sqrt(sum(np.sum(np.square(after[n] - before[n])) for n in names)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data", 12, 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Finished:
    """A run with average, clipping, a batch in two parts, and everything in TensorBoard."""
    output = tmp_path_factory.mktemp("run") / "run"
    settings = settings_of(
        f"data={data}", f"output={output}", f"max_steps={STEPS}", f"optim.ema={EMA}",
        f"optim.clip_norm={CLIP}", "optim.accumulate=2", "evaluate_at_end=true", "log.pictures=2",
        "log.tensorboard=true", "log.histograms_every=2",
    )  # fmt: skip
    seen: list[nn.Cell] = []
    real = training.run.validation_loss.detection_cell
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training.run.validation_loss,
            "detection_cell",
            lambda network, **how: seen.append(network) or real(network, **how),
        )
        assert run(settings) == 0
    folder = output / "checkpoints"
    rests = [read_arrays(folder / f"{stem(k)}.state.ckpt") for k in range(1, STEPS + 1)]
    files = [read_arrays(folder / f"{stem(k)}.ckpt") for k in range(1, STEPS + 1)]
    (evaluating,) = seen
    return Finished(
        settings,
        weights_of(build_state(settings, 7)[0].network),
        [starting_with(rest, "raw.") for rest in rests],
        [starting_with(file, "network.") for file in files],
        read_run(output),
        weights_of(evaluating),
    )


def test_ema_the_saved_and_evaluated_weights_are_the_average(finished: Finished) -> None:
    average = {name: value.astype(np.float64) for name, value in finished.first.items()}
    for decay, live, saved in zip(DECAYS, finished.live, finished.saved, strict=True):
        assert set(saved) == set(live) == set(average)
        for name, value in live.items():
            average[name] = decay * average[name] + (1 - decay) * value
            np.testing.assert_allclose(saved[name], average[name], **TOLERANCE, err_msg=name)
    last, live = finished.saved[-1], finished.live[-1]
    far = [name for name in live if not np.allclose(live[name], last[name], **TOLERANCE)]
    assert len(far) > len(live) / 2  # not the weights that train
    assert set(finished.evaluated) == set(last)
    for name, value in last.items():
        np.testing.assert_array_equal(finished.evaluated[name], value, err_msg=name)


def test_clip_norm_bounds_the_first_move(finished: Finished) -> None:
    first = finished.log[0]
    assert first["lr"] == pytest.approx(RATE)
    assert first["grad_norm"] > 2 * CLIP  # as it was before clipping
    moved = move(finished.first, finished.live[0], finished.settings)
    assert moved == pytest.approx(RATE * CLIP, rel=1e-2)


def test_accumulate_the_norms_see_the_parts_one_after_the_other(finished: Finished) -> None:
    settings = finished.settings
    state, normalize, _ = build_state(settings, 7)
    pipeline = build_components(settings, World(), open_training_split(settings)).pipeline
    try:
        images = pipeline.batch_at(0).images
    finally:
        pipeline.close()
    statistics: list[Arrays] = []
    for rows in (images[:2], images[2:]):
        state.network(normalize(Tensor(rows)))
        statistics.append({p.name: p.asnumpy().copy() for p in statistics_of(state.network)})
    once, twice = statistics
    assert len(twice) > 10
    for name, value in twice.items():
        np.testing.assert_allclose(
            finished.live[0][name], value, rtol=2e-3, atol=1e-4, err_msg=name
        )
    # The first norm's, which no other norm's rounding reaches: neither one part nor the whole
    # batch.
    name = next(iter(twice))
    assert (
        np.abs(once[name] - twice[name]).max()
        > 20 * np.abs(finished.live[0][name] - twice[name]).max()
    )


def test_tensorboard_holds_scalars_histograms_and_a_picture(finished: Finished) -> None:
    output = Path(finished.settings.output)
    events = list(events_in(output / "tensorboard"))

    def of_kind(kind: str) -> dict[tuple[str, int], Any]:
        return {(v.tag, s): getattr(v, kind) for s, v in events if v.WhichOneof("value") == kind}

    scalars = of_kind("simple_value")
    for line in finished.log:
        for name in ("loss", "lr", "grad_norm", "images_per_s"):
            assert scalars[f"train/{name}", line["step"]] == pytest.approx(line[name], rel=1e-6)
    coco = json.loads((output / "metrics.json").read_text())["coco"]
    assert scalars["val/AP", STEPS] == pytest.approx(coco["AP"], rel=1e-6)
    histograms = of_kind("histo")
    assert set(histograms) == {
        (f"network.{name}", k) for name in finished.first for k in (2, STEPS)
    }
    for step in (2, STEPS):  # every second one, and the last
        for name, value in finished.saved[step - 1].items():
            histogram = histograms[f"network.{name}", step]
            assert histogram.num == value.size
            assert (histogram.min, histogram.max) == (value.min(), value.max())
    pictures = of_kind("image")
    assert list(pictures) == [("predictions", STEPS)]
    encoded = pictures["predictions", STEPS].encoded_image_string
    shown = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, cv2.imread(str(output / "predictions.png")))


def test_ema_begins_at_loaded_weights(finished: Finished) -> None:
    checkpoint = Path(finished.settings.output) / "checkpoints" / f"{stem(STEPS)}.ckpt"
    settings = settings_of(
        f"data={finished.settings.data}", "optim.ema=0.9", f"checkpoint={checkpoint}"
    )
    parts = build_components(settings, World(), open_training_split(settings))
    said: list[str] = []
    load_initial_weights(parts, said.append)
    parts.pipeline.close()
    assert said
    average = parts.state.average
    assert average is not None
    averages = average.read()
    for live in average.tracked:
        for value in (live.asnumpy(), averages[live.name]):
            np.testing.assert_array_equal(value, finished.saved[-1][live.name], err_msg=live.name)
