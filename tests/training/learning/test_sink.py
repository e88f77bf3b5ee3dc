"""Sinking: the same bits as step by step, nothing after a step that is not finite, Ascend's queue
faked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest

import training.learning.assemble
from data_tools.core.errors import DataError, SettingError
from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.sink import SinkSource
from tests.helpers.run_helpers import SMALL, make_set, read_run
from tests.helpers.toy import snapshot, toy_batch, toy_cells, toy_state, toy_step
from training.checkpoints.store import CheckpointStore
from training.command_line.configure import compose
from training.learning import sink
from training.learning.settings import OptimSettings
from training.learning.sink import SunkStep, open_channel
from training.learning.step_result import result_of
from training.run.loop import run
from training.settings import TrainSettings
from training.watching.blackbox import NotFiniteError
from training.watching.replay import replay
from training.watching.triggers import Triggers

OPTIM = OptimSettings(ema=0.9, clip_norm=1.0)
EXACT = ("step", "epoch", "loss", "loc_loss", "cls_loss", "lr", "positives", "grad_norm")
RECIPE = ("optim.ema=0.95", "optim.clip_norm=10", "augment=published", "checkpoint.every_steps=7")


def numbers(step: int) -> np.ndarray:
    return np.array([0.05 / (step + 1), 0.8], np.float32)


def source_of(steps: int, poisoned: int = -1) -> SinkSource:
    def make(start: int, stop: int) -> Iterator[TrainBatch]:
        for step in range(start, stop):
            images, targets, labels = toy_batch(step)
            if step == poisoned:
                targets = np.full_like(targets, np.nan)
            yield TrainBatch(step, images, targets, labels, np.arange(4), np.full(5, float(step)))

    return SinkSource(make, numbers, 0, steps)


def compiled(function: SunkStep) -> Any:
    @ms.jit
    def step(images: Any, loc_targets: Any, labels: Any, numbers: Any) -> Any:
        return function(images, loc_targets, labels, numbers)

    return step


def settings_of(*overrides: str) -> TrainSettings:
    composed: TrainSettings = compose(
        "train", "training.settings:TrainSettings", [*SMALL, *RECIPE, *overrides]
    )
    return composed


def test_sunk_steps_are_the_same_steps() -> None:
    plain, sunk = toy_state(OPTIM), toy_state(OPTIM)
    step = toy_step(plain, OPTIM)
    expected = [step(*toy_batch(k), *numbers(k).tolist()) for k in range(5)]
    function = SunkStep(*toy_cells(sunk, OPTIM, guard=True), 4)
    channel = open_channel(compiled(function), source_of(5), "CPU")
    got = []
    for count in (1, 4):
        function.begin(stop=count == 4)
        assert all(channel.step() >= 0 for _ in range(count))
        got += [result_of(row) for row in function.read(count)]
    channel.close()
    assert [result.stop for result in got] == [False, True, True, True, True]
    for one, other in zip(got, expected, strict=True):
        # The loss that is shown may differ in its last digit from call to call; weights may not.
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-6)
        assert (one.positives, one.applied) == (other.positives, True)
    after = snapshot(sunk)
    for name, array in snapshot(plain).items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_nothing_moves_after_a_step_that_is_not_finite() -> None:
    plain, sunk = toy_state(OPTIM), toy_state(OPTIM)
    step = toy_step(plain, OPTIM)
    for k in range(2):
        step(*toy_batch(k), *numbers(k).tolist())
    function = SunkStep(*toy_cells(sunk, OPTIM, guard=True), 5)
    channel = open_channel(compiled(function), source_of(5, poisoned=2), "CPU")
    for _ in range(5):
        channel.step()
    channel.close()
    rows = [result_of(row) for row in function.read(5)]
    assert [row.applied for row in rows] == [True, True, False, False, False]
    after = snapshot(sunk)
    for name, array in snapshot(plain).items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_an_overflow_of_half_precision_is_left_out_and_the_next_step_counts() -> None:
    state = toy_state(OPTIM, scaled=True)
    function = SunkStep(*toy_cells(state, OPTIM, guard=True), 3)
    state.scaler.scale.set_data(ms.Tensor(3e38, ms.float32))
    channel = open_channel(compiled(function), source_of(3), "CPU")
    for _ in range(3):
        channel.step()
    channel.close()
    rows = [result_of(row) for row in function.read(3)]
    assert not rows[0].applied
    assert np.isfinite(rows[0].loss)
    assert not np.isnan(rows[2].loss)
    assert rows[1].loss_scale == rows[0].loss_scale / 2


def test_a_source_makes_each_batch_once_whatever_the_engine_asks() -> None:
    source = source_of(3)
    first = source[0][0].copy()
    np.testing.assert_array_equal(source[0][0], first)
    assert len(source) == 3
    assert [int(source[k][3][0] * 1e6) for k in (1, 2)] == [25000, 16666]
    assert not any(column.any() for column in source[0])  # around again: nobody takes it
    assert [seconds[0] for seconds in source.stage_seconds] == [0, 1, 2]


def test_ascend_takes_the_same_road_up_to_the_device_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    # The package's name for the module is taken by its function.
    theirs: Any = importlib.import_module("mindspore.train.data_sink")
    calls: list[Any] = []
    source = source_of(3)

    class Queue:
        queue_name = "queue"

        def __init__(self, dataset: Any) -> None:
            self.rows = dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: calls.append((name, *arguments))

    def connect(dataset: Any, size: int, create_data_info_queue: bool) -> Queue:
        calls.append(("connect", size, create_data_info_queue))
        queues.append(Queue(dataset))
        return queues[0]

    def get_next(types: Any, shapes: Any, count: int, name: str) -> Any:
        calls.append(("GetNext", [str(t) for t in types], count, name))
        return lambda: tuple(ms.Tensor(column) for column in next(queues[0].rows))

    queues: list[Queue] = []
    device = SimpleNamespace(**vars(theirs.context))
    device.get_context = lambda key: {"device_target": "Ascend", "mode": 1}[key]
    monkeypatch.setattr(theirs, "context", device)
    monkeypatch.setattr(theirs, "_exec_datagraph", connect)
    monkeypatch.setattr(theirs, "_set_dataset_mode_config", lambda mode: None)
    monkeypatch.setattr(theirs, "_get_jit_func", lambda function, config: function)
    monkeypatch.setattr(theirs.ops, "GetNext", get_next)
    sums: list[float] = []
    channel = open_channel(
        lambda images, targets, labels, numbers: sums.append(float(numbers.asnumpy()[0])),
        source,
        "Ascend",
    )
    for _ in range(3):
        channel.step()
    channel.close()
    assert sums == [float(numbers(k)[0]) for k in range(3)]
    assert calls == [
        ("connect", 1, False),
        ("send", -1),
        ("GetNext", ["UInt8", "Float32", "Int32", "Float32"], 4, "queue"),
        ("stop_send",),
        ("release",),
    ]


def test_what_sinking_cannot_do_is_refused() -> None:
    for override, message in (
        ("runtime.sink_steps=1", r"runtime\.sink_steps.*0 \(off\) or a count >= 2"),
        ("runtime.nonfinite=skip", r"runtime\.nonfinite.*stop with runtime\.sink_steps=3"),
        ("optim.accumulate=2", r"optim\.accumulate.*1 with runtime\.sink_steps=3"),
    ):
        with pytest.raises(SettingError, match=message):
            settings_of("runtime.sink_steps=3", override)


def test_mindspore_has_no_queue_on_cpu() -> None:
    """The day this fails, `HostChannel` can go."""
    with pytest.raises(ValueError, match="Data sinking supports ascend or gpu device target"):
        sink.DeviceQueue(print, source_of(2))


@pytest.mark.slow
def test_a_sunk_run_is_the_same_run_over_a_restart(tmp_path: Path) -> None:
    data = make_set(tmp_path / "data")
    runs = {}
    for name, size in (("plain", 0), ("sunk", 4)):
        output = tmp_path / name
        options = [f"data={data}", f"output={output}", f"runtime.sink_steps={size}", "max_steps=17"]
        assert run(settings_of(*options, "max_steps=6")) == 0
        assert run(settings_of(*options, "resume=true")) == 0
        store = CheckpointStore(output / "checkpoints", 3)
        assert store.steps() == [7, 14, 17]  # a call ends where a checkpoint is due
        runs[name] = [array for k in store.steps() for array in store.open(k).read()]
        lines = read_run(output)
        assert [line["step"] for line in lines] == list(range(1, 18))
        assert all(line["images_per_s"] > 0 and line["read_ms"] > 0 for line in lines)
    for expected, got in zip(runs["plain"], runs["sunk"], strict=True):
        assert set(expected) == set(got)
        for name in expected:
            np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    for old, new in zip(*(read_run(tmp_path / name) for name in ("plain", "sunk")), strict=True):
        for key in EXACT:
            assert new[key] == pytest.approx(old[key], rel=1e-6), key


@pytest.mark.slow
def test_a_sunk_batch_that_is_not_finite_is_named_and_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = make_set(tmp_path / "data"), tmp_path / "run"
    real = training.learning.assemble.build_targets
    seen: list[int] = []

    def faulty(*arguments: Any) -> Any:
        inner = real(*arguments)

        def encode(
            boxes: Any, labels: Any, crowd: Any, images: Any, targets: Any, found: Any
        ) -> None:
            inner.encode_batch(boxes, labels, crowd, images, targets, found)
            if (labels == 3).sum() == 0:
                targets[found > 0] = np.inf
                seen.append(1)

        return SimpleNamespace(encode_batch=encode, num_anchors=inner.num_anchors)

    monkeypatch.setattr(training.learning.assemble, "build_targets", faulty)
    options = (f"data={data}", f"output={output}", "runtime.sink_steps=6", "max_steps=40")
    with pytest.raises(NotFiniteError, match=r"the loss is not finite.*weights were not changed"):
        run(settings_of(*options, "augment=none", "checkpoint.every_steps=40"))
    assert seen
    found = list((output / "blackbox").glob("*.json"))
    assert len(found) == 1
    bad = json.loads(found[0].read_text())["step"] + 1
    assert bad > 2
    assert [line["step"] for line in read_run(output)] == list(range(1, bad))
    assert replay(found[0], TrainSettings()) == 0
    assert "1 rank(s) rebuilt bit for bit" in capsys.readouterr().out


@pytest.mark.slow
def test_a_row_that_cannot_be_read_is_named_while_sinking(tmp_path: Path) -> None:
    def damage(split: str, index: int, row: dict[str, Any]) -> None:
        if (split, index) == ("train", 7):
            row["image"] = row["image"][:200]

    data = make_set(tmp_path / "data", change=damage)
    with pytest.raises(DataError, match="train-00000"):
        run(settings_of(f"data={data}", f"output={tmp_path / 'run'}", "runtime.sink_steps=3"))


def test_a_call_ends_where_something_is_due() -> None:
    from training.run.trainer import Trainer

    trainer = object.__new__(Trainer)
    trainer.step = 0
    stepper: Any = SimpleNamespace(longest=5, compiles=lambda step: step == 0)
    trainer.world, trainer.stop = SimpleNamespace(size=1), SimpleNamespace(wanted=False)  # type: ignore[assignment]
    settings = settings_of("checkpoint.every_steps=9", "log.histograms_every=11")
    trainer.triggers = Triggers(
        SimpleNamespace(settings=settings, total_steps=14, steps_per_epoch=5)
    )  # type: ignore[arg-type]
    lengths = []
    while trainer.step < 14:
        lengths.append(trainer.call_length(stepper, 14))
        trainer.step += lengths[-1]
    assert lengths == [1, 5, 3, 2, 3]
    trainer.step, trainer.stop = 1, SimpleNamespace(wanted=True)  # type: ignore[assignment]
    assert trainer.call_length(stepper, 12) == 1
    trainer.world = SimpleNamespace(size=2)  # type: ignore[assignment]
    assert trainer.call_length(stepper, 12) == 5
