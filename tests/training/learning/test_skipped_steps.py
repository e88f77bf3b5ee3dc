"""Half precision, and steps that are left out: overflows, and batches that are not finite.

One run with a loss scale that is far too large at first, whose 14th, 16th and 17th batch are
poisoned.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.pipeline import TrainPipeline
from tests.helpers.run_helpers import SMALL, make_set, read_run
from training.checkpoints.checkpoint import read_arrays, stem
from training.command_line.configure import compose
from training.learning.assemble import build_state
from training.process.settings import RuntimeSettings
from training.run.loop import run
from training.settings import TrainSettings
from training.watching.blackbox import NotFiniteError
from training.watching.log import LogFile

POISONED = (14, 16, 17)
FIRST_SCALE = 2.0**22


def settings_of(*overrides: str) -> TrainSettings:
    composed: TrainSettings = compose(
        "train",
        "training.settings:TrainSettings",
        [*SMALL, "runtime.precision=fp16", f"runtime.loss_scale={FIRST_SCALE}", "optim.lr=0.001",
         "optim.schedule=constant", "optim.warmup_epochs=0", "checkpoint.every_steps=1",
         "checkpoint.keep=99", *overrides],
    )  # fmt: skip
    return composed


@dataclass
class GivenUp:
    """A run that gave up.

    Attributes:
        output: Its folder.
        error: Its last words.
        told: What it printed.
        lines: Its log lines by step.
    """

    output: Path
    error: str
    told: str
    lines: dict[int, dict[str, Any]]

    def weights(self, step: int) -> dict[str, np.ndarray]:
        """The weights after a step."""
        return read_arrays(self.output / "checkpoints" / f"{stem(step)}.ckpt")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "data", 12, 1)


@pytest.fixture(scope="module")
def given_up(tmp_path_factory: pytest.TempPathFactory, data: Path) -> GivenUp:
    real = TrainPipeline.batches

    def batches(self: TrainPipeline, first: int, stop: int) -> Iterator[TrainBatch]:
        for batch in real(self, first, stop):
            if batch.step + 1 in POISONED:
                nothing = np.full_like(batch.loc_targets, np.nan)
                batch = dataclasses.replace(batch, loc_targets=nothing)
            yield batch

    output = tmp_path_factory.mktemp("run") / "run"
    settings = settings_of(
        f"data={data}", f"output={output}", "max_steps=20", "log.every_steps=5",
        "runtime.nonfinite=skip", "runtime.max_skips=1",
    )  # fmt: skip
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainPipeline, "batches", batches)
        patch.setattr("sys.stderr", io.StringIO())  # no terminal: lines, not a bar
        patch.setattr("builtins.print", lambda *words, **_: told.append(" ".join(map(str, words))))
        with pytest.raises(NotFiniteError) as caught:
            run(settings)
    lines = {line["step"]: line for line in read_run(output)}
    return GivenUp(output, str(caught.value), "\n".join(told), lines)


def test_half_precision_overflows_until_the_scale_fits(given_up: GivenUp) -> None:
    lines = given_up.lines
    overflowed = [step for step in range(1, 14) if "skipped" in lines.get(step, {})]
    # In float32 no gradient of this network comes near its largest number.
    assert overflowed[:1] == [1]
    assert len(overflowed) < 13
    for count, step in enumerate(overflowed):
        assert lines[step]["loss_scale"] == FIRST_SCALE / 2**count
        assert np.isfinite(lines[step]["loss"])
    assert not (given_up.output / "blackbox" / f"{stem(1)}.json").exists()


def test_the_first_steps_of_a_default_run_are_applied(data: Path, tmp_path: Path) -> None:
    settings = settings_of(f"data={data}", f"output={tmp_path / 'run'}", "max_steps=3",
                           "log.every_steps=1", "checkpoint.every_steps=99")  # fmt: skip
    default = RuntimeSettings().loss_scale
    runtime = dataclasses.replace(settings.runtime, loss_scale=default)
    assert run(dataclasses.replace(settings, runtime=runtime)) == 0
    lines = read_run(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all("skipped" not in line and line["loss_scale"] == default for line in lines)


def test_the_share_of_the_scale_depends_on_the_global_batch_alone() -> None:
    def share(*overrides: str, ranks: int = 1) -> float:
        return build_state(settings_of(*overrides), 7, ranks)[0].scaler.share

    assert share("batch_size=32") == 1 / 2048
    assert share("batch_size=4", ranks=8) == 1 / 2048
    assert share("batch_size=32", "optim.accumulate=4") == 1 / 2048
    assert share("batch_size=24") in (1 / 1024, 1 / 2048)  # a power of two, whatever the batch
    assert share("batch_size=32", "runtime.precision=fp32") == 1


def test_the_convolutions_compute_in_half_precision() -> None:
    for precision, expected in (("fp16", ms.float16), ("fp32", ms.float32)):
        network = build_state(settings_of(f"runtime.precision={precision}"), 7)[0].network
        inner = next(c for _, c in network.cells_and_names() if isinstance(c, nn.Conv2d))
        images = Tensor(np.ones((1, inner.in_channels, 16, 16), np.float32))
        assert inner(images).dtype == expected


def test_a_skipped_step_changes_nothing_and_has_its_line(given_up: GivenUp) -> None:
    # Every fifth line is due: those of steps 14 and 16 are there because nothing was applied.
    due = {step for step in given_up.lines if "skipped" not in given_up.lines[step]}
    assert due <= {1, 5, 10, 15}
    assert 15 in due
    line = given_up.lines[14]
    assert line["skipped"] is True
    assert line["loss"] is None
    last_scale = f"{line['loss_scale']:.10g}"
    shown = [text for text in given_up.told.splitlines() if text.startswith("step 14/20 ")]
    assert len(shown) == 1
    assert shown[0].endswith(f", skipped, loss scale {last_scale}")
    assert "step 14: not finite, skipped; batch recorded in" in given_up.told
    before, skipped, after = (given_up.weights(step) for step in (13, 14, 15))
    for name, value in before.items():
        np.testing.assert_array_equal(skipped[name], value, err_msg=name)
    assert sum(not np.array_equal(after[name], skipped[name]) for name in after) > len(after) / 2


def test_it_gives_up_after_so_many_in_a_row(given_up: GivenUp) -> None:
    assert max(given_up.lines) == 16  # 14 was alone, 16 within the limit
    assert "step 17: the loss is not finite" in given_up.error
    assert "number 2 in a row; runtime.max_skips=1 is the most" in given_up.error
    assert "leaves such steps out" not in given_up.error
    recorded = {path.stem for path in (given_up.output / "blackbox").glob("*.json")}
    assert recorded == {stem(step) for step in POISONED}
    assert not (given_up.output / "summary.json").exists()


def test_the_log_counts_skipped_steps(given_up: GivenUp, tmp_path: Path) -> None:
    skipped = [step for step, line in given_up.lines.items() if "skipped" in line]
    assert LogFile(given_up.output / "log.jsonl").skipped() == len(skipped) > 2
    assert LogFile(tmp_path / "none.jsonl").skipped() == 0


@pytest.mark.slow
def test_a_summary_counts_skipped_steps(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(settings_of(f"data={data}", f"output={output}", "max_steps=2")) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["steps"], summary["skipped_steps"], summary["finished"]) == (2, 2, True)
    first = build_state(settings_of(), 7)[0].network
    saved = read_arrays(output / "checkpoints" / f"{stem(2)}.ckpt")
    for parameter in first.get_parameters():
        np.testing.assert_array_equal(saved[f"network.{parameter.name}"], parameter.asnumpy())
