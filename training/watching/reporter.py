"""What a run says step by step: when a line is due, what is in it, and where it goes.

The files, the bar and the meter themselves are `log.py`; evaluations are drawn in
`training/run/evaluator.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.where_to_look import where_to_look
from data_tools.pipeline.stage_costs import describe_stage_costs
from training.learning.assemble import RunComponents
from training.learning.stepper import StepRecord
from training.watching.log import EVALUATIONS, LOG, LogFile, Meter, Terminal
from training.watching.tensorboard import TensorBoard
from training.watching.triggers import Triggers


class Reporter:
    """The reports of one run; silent on ranks other than 0.

    Args:
        components: The run.
        notify: Prints a line on the main rank.
        steps_left: From seconds a step to the steps for which `max_minutes` leaves time, or None.
    """

    def __init__(
        self,
        components: RunComponents,
        notify: Callable[[str], None],
        steps_left: Callable[[float], int | None] = lambda seconds: None,
    ) -> None:
        self.components, self.notify, self.steps_left = components, notify, steps_left
        self.epoch_losses: list[tuple[float, float, float]] = []
        self.epoch_mean: tuple[int, float] | None = None
        self.main = components.world.is_main
        self.log = LogFile(components.output / LOG, self.main)
        self.evaluations = LogFile(components.output / EVALUATIONS, self.main)
        split = components.settings.runtime.device != "CPU"  # on CPU to start a kernel is to run it
        self.meter = Meter(components.global_batch, components.settings.batch_size, split)
        self.triggers = Triggers(components)
        self.compiled_at = -1
        self.skipped = 0
        self.judged = False

    def start(self, step: int) -> None:
        """Begin after `step` steps: drop what was said of later ones, open the bar."""
        self.log.rewind(step)
        self.evaluations.rewind(step)
        enabled = self.components.settings.log.tensorboard and self.main
        self.tensorboard = TensorBoard(self.components.output / "tensorboard", enabled, step)
        self.terminal = Terminal(self.components.total_steps, step, self.main, self.steps_left)

    def plan_again(self) -> None:
        """Take over another number of steps."""
        self.triggers = Triggers(self.components)
        self.terminal.total = self.components.total_steps

    def restart(self) -> None:
        """Leave the time since the last line out of the rates (saving, evaluating)."""
        self.meter.restart()

    def step(self, step: int, done: StepRecord, last: bool) -> None:
        """Take note of a step, and write a line if one is due.

        Args:
            step: Steps done.
            done: What the step said and took.
            last: True if no step follows in this start of the run.

        Raises:
            DiskError: If the disk is full or fails.
        """
        self.meter.count(done.waited, done.stage_seconds, done.result.launch_seconds)
        speed = self.meter.read(done.ended)["images_per_s"]
        skipped = not done.result.applied
        self.skipped += skipped
        if step == self.compiled_at:
            self.terminal.begin_counting(step)  # compiling says nothing of the time that is left
        self.terminal.step(done.result.loss, done.rate, done.waited, speed, self.skipped)
        log = self.components.settings.log
        # Every skipped step has its line: a log that jumps over one would hide why weights stood
        # still.
        seldom = last or step == 1 or skipped or self.triggers.evaluation(step)
        if step % log.every_steps == 0 or seldom:
            self.write_line(step, done)
        elif step == self.compiled_at:
            self.meter.restart(done.ended)  # compiling is no throughput
        self.count_epoch(step, done)
        if self.triggers.histograms(step) and self.main:
            self.tensorboard.histograms(self.components.state.detector_weights(), step)

    def count_epoch(self, step: int, done: StepRecord) -> None:
        """Take a step into the means of its epoch, and say them at the epoch's end."""
        result = done.result
        if result.applied:
            self.epoch_losses.append((result.loss, result.loc_loss, result.cls_loss))
        if step % self.components.steps_per_epoch:
            return
        if self.epoch_losses:
            loss, loc, cls = np.mean(np.array(self.epoch_losses, np.float64), axis=0)
            steps = len(self.epoch_losses)
            self.epoch_mean = step // self.components.steps_per_epoch, float(loss)
            part = (
                "" if steps == self.components.steps_per_epoch else f" over its last {steps} steps"
            )
            self.notify(
                f"epoch {step // self.components.steps_per_epoch}: mean loss {loss:.4f} "
                f"(loc {loc:.4f}, cls {cls:.4f}){part}"
            )
        self.epoch_losses = []

    def write_line(self, step: int, done: StepRecord) -> None:
        """Write a log line, its TensorBoard twin, and the terminal's line."""
        result = done.result
        measured, costs = self.meter.read(done.ended), self.meter.batches.costs()
        line: dict[str, Any] = {
            "step": step,
            "epoch": self.epoch(step),
            "loss": result.loss,
            "loc_loss": result.loc_loss,
            "cls_loss": result.cls_loss,
            "lr": done.rate,
            "positives": result.positives,
            "grad_norm": result.grad_norm,
            **measured,
            **{f"{stage}_ms": value for stage, value in costs.milliseconds.items()},
        }
        if self.components.state.scaler.active:
            line["loss_scale"] = result.loss_scale
        if not result.applied:
            line["skipped"] = True
        clean = {key: finite_or_none(value) for key, value in line.items()}
        self.log.write(clean)
        shown = {f"train/{k}": v for k, v in clean.items() if k != "step" and v is not None}
        self.tensorboard.scalars(shown, step)
        self.terminal.line(clean)
        workers = self.components.pipeline.num_workers
        # Neither the step nor the first batch of a worker, which loads or compiles its code.
        if not self.judged and step - self.meter.steps >= self.compiled_at + workers - 1:
            self.judged = True
            size = self.components.settings.batch_size
            words = describe_stage_costs(costs, measured["compute"], size, workers)
            self.notify(f"pipeline: {words}")
        self.meter.restart(done.ended)

    def evaluation(self, step: int, metrics: dict[str, Any], loss: float | None = None) -> None:
        """Write an evaluation's numbers; one of the same step is replaced.

        Args:
            step: Steps done.
            metrics: The figures.
            loss: The loss on the evaluation split, None if it was not computed.
        """
        self.evaluations.rewind(step - 1)
        numbers = {"step": step, "epoch": self.epoch(step), **metrics["coco"]}
        if loss is not None:
            numbers["val_loss"] = finite_or_none(loss)
            self.log.amend(step, {"val_loss": numbers["val_loss"]})
            self.tensorboard.scalars({"val/loss": loss}, step)
            training = ""
            if self.epoch_mean is not None:
                epoch, mean = self.epoch_mean
                training = f"; training, mean of epoch {epoch}: {mean:.4f}"
            self.notify(f"  validation loss {loss:.4f}{training}")
        self.evaluations.write(numbers)

    def epoch(self, step: int) -> float:
        """Return how many epochs are done after `step` steps."""
        return round(step / self.components.steps_per_epoch, 4)

    def close(self) -> None:
        """Close the bar and the event file."""
        self.terminal.close()
        self.tensorboard.close()


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN: return None for one, and anything else as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pictures_of(output: Path) -> str:
    """Return where the pictures of a run are, and how to look at its TensorBoard events."""
    events = output / "tensorboard"
    return where_to_look(
        pictures=[p for n in ("curves.png", "predictions.png") if (p := output / n).is_file()],
        tensorboard=events if events.is_dir() else None,
    )


def describe_path(output: Path, finished: bool) -> str:
    """Return where the summary is, and how to go on if the run is not finished."""
    return f"{output / 'summary.json'}{'' if finished else '; go on with resume=true'}"
