"""One rank's training run: begin or resume, step, log, save, evaluate, finish.

Sums and gradients are `step.py`, files `checkpoint.py`, words `announce.py`; this is the order of it all.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from data_tools.manifest import ConvertedSplit
from data_tools.pipeline import TrainBatch
from data_tools.verdict import verdict
from training.announce import announce
from training.assemble import build_parts, build_phase_step
from training.blackbox import BlackBox
from training.checkpoint import Checkpoint
from training.checkpoint_store import CheckpointStore
from training.distributed import World
from training.evaluator import Evaluator
from training.initial import load_initial_weights
from training.job_watch import FINISHED
from training.preflight import preflight
from training.resume import check_resumable
from training.run_folder import prepare_folder, write_settings, write_summary
from training.runtime import Environment
from training.schedule import ema_decay
from training.settings import TrainSettings
from training.signals import Interrupted, StopRequest
from training.step import StepFunction, StepResult
from training.watch import (
    EVALUATIONS,
    LOG,
    LogFile,
    Meter,
    RankStatus,
    TensorBoard,
    Terminal,
)


class Trainer:
    """A run of one rank, from its settings to its exit code.

    Args:
        settings: All settings.
        world: This rank; communication has started.
        split: The training split.
        environment: What was done to the process, for the log.
        started: `time.monotonic()` at the start of the process.
    """

    def __init__(
        self,
        settings: TrainSettings,
        world: World,
        split: ConvertedSplit,
        environment: Environment,
        started: float,
    ) -> None:
        self.settings, self.world, self.split = settings, world, split
        self.environment, self.started = environment, started
        self.output = Path(settings.output)
        self.store = CheckpointStore(self.output / "checkpoints", settings.checkpoint.keep)
        self.log = LogFile(self.output / LOG, world.is_main)
        self.evaluations = LogFile(self.output / EVALUATIONS, world.is_main)
        self.status = RankStatus(world.rank)
        self.stop = StopRequest(settings.max_minutes, started)
        self.step = 0
        self.wall_before = 0.0
        self.skips = 0
        self.judged = False
        self.phase_begun = 0
        self.saved: Checkpoint | None = None
        self.saved_step = -1
        self.best: dict[str, Any] | None = None
        self.metrics: dict[str, Any] | None = None
        self.last: StepResult | None = None

    def run(self) -> int:
        """Train to the end, to a limit, or to a signal; return the exit code."""
        with self.stop:
            try:
                self.begin()
                self.stop.interruptible = False
                self.steps()
                self.stop.interruptible = True
                self.finish()
            except Interrupted:
                self.say("stopped by a signal; what was saved before is whole")
        self.world.barrier()  # nobody leaves while another still writes or waits
        self.status.tell(self.step, FINISHED)
        # To the launcher, a rank that was asked to stop and did is a success.
        return 0 if self.status.path else self.stop.exit_code

    def say(self, text: str) -> None:
        """Print a line on the main rank."""
        if self.world.is_main:
            print(text, flush=True)

    def begin(self) -> None:
        """Build everything, find the point to start from, and compare notes with the other ranks."""
        settings, world = self.settings, self.world
        self.status.tell(0, "building", patience=120)
        if world.is_main:
            prepare_folder(settings)
        self.pipeline, self.parts = build_parts(settings, world, self.split)
        self.blackbox = BlackBox(self.parts)
        self.evaluator = Evaluator(self.parts)
        found = self.store.newest(self.say) if settings.resume else None
        if found is not None:
            self.resume_from(found)
        else:
            if settings.resume:
                self.say(
                    f"resume: no checkpoint in {self.store.folder}; starting from the beginning"
                )
            load_initial_weights(self.parts, self.say)
        if world.size > 1 and settings.runtime.preflight:
            self.status.tell(0, "comparing notes in the preflight")
            self.say(preflight(self.parts, self.step))
        if world.is_main:
            self.log.rewind(self.step)
            self.evaluations.rewind(self.step)
            self.store.forget_after(self.step)
            self.store.sweep()
            write_settings(settings, self.output)
            announce(self.parts, self.environment, self.step)
        self.tensorboard = TensorBoard(
            self.output / "tensorboard", settings.log.tensorboard and world.is_main, self.step
        )
        if self.step and self.evaluation_due() and self.metrics is None:
            self.evaluate()  # the run was stopped between saving and evaluating

    def resume_from(self, found: Checkpoint) -> None:
        """Take over a checkpoint of this run."""
        expected = self.parts.card(found.card.step)
        name = str(found.weights_path)
        for line in check_resumable(found.card, self.settings, expected, name):
            self.say(f"resume: accepted change: {line}")
        self.parts.state.load(*found.read())
        self.step = self.saved_step = found.card.step
        self.saved, self.wall_before = found, found.card.wall_seconds
        self.best, self.metrics = found.card.best, found.card.metrics
        self.say(f"resume: going on after step {self.step} ({name})")

    def steps(self) -> None:
        """Train from the current step to the last one."""
        parts, total = self.parts, self.parts.total_steps
        meter = Meter(parts.global_batch)
        terminal = Terminal(total, self.step, self.world.is_main)
        batches = self.pipeline.batches(self.step, total)
        try:
            while self.step < total:
                function, until = self.phase_step()
                while self.step < min(until, total):
                    if self.one_step(function, batches, meter, terminal):
                        return
        finally:
            terminal.close()
            self.pipeline.close()

    def phase_step(self) -> tuple[StepFunction, int]:
        """Return the step function of the current phase and the step at which the phase ends."""
        phases = self.parts.phases
        current = max(i for i, phase in enumerate(phases) if phase.first_step <= self.step)
        self.phase_begun = self.step
        ends = phases[current + 1].first_step if current + 1 < len(phases) else 2**62
        return build_phase_step(self.parts, phases[current]), ends

    def one_step(
        self, function: StepFunction, batches: Any, meter: Meter, terminal: Terminal
    ) -> bool:
        """Do one step and what is due after it; return True if the run should leave."""
        optim, begun = self.settings.optim, time.monotonic()
        self.stop.rearm()
        self.status.tell(self.step + 1, "waiting for data")
        batch: TrainBatch = next(batches)
        waited = time.monotonic() - begun
        # The first step of a phase compiles, which may take minutes.
        fresh = self.step == self.phase_begun
        self.status.tell(self.step + 1, "computing", patience=1800 if fresh else 0)
        rate = self.parts.schedule(self.step)
        decay = 0.0 if optim.ema is None else ema_decay(optim.ema, self.step, optim.ema_warmup)
        result = function(
            batch.images, batch.loc_targets, batch.labels, rate, decay, self.stop.wanted
        )
        if not result.applied:
            self.not_applied(result, batch)
        self.step += 1
        self.last = result
        meter.count(waited, batch)
        self.stop.took(time.monotonic() - begun)
        terminal.step(result.loss, rate, waited, meter.read()["images_per_s"])
        self.after_step(result, rate, meter, terminal)
        return result.stop

    def after_step(self, result: StepResult, rate: float, meter: Meter, terminal: Terminal) -> None:
        """Log, save and evaluate where due. The order matters: a line is logged before it is saved."""
        last = self.step == self.parts.total_steps or result.stop
        every = self.settings.log.every_steps
        if self.step % every == 0 or last or self.step == 1:
            self.write_line(result, rate, meter, terminal)
        histograms = self.settings.log.histograms_every
        if histograms and self.step % histograms == 0 and self.world.is_main:
            self.tensorboard.histograms(self.parts.state.detector_weights(), self.step)
        if last or self.save_due() or self.evaluation_due():
            self.save()
            if self.evaluation_due() and not result.stop:
                self.stop.interruptible = True
                if self.stop.signal is not None:
                    raise Interrupted
                self.evaluate()
                self.stop.interruptible = False
            meter.restart()

    def write_line(self, result: StepResult, rate: float, meter: Meter, terminal: Terminal) -> None:
        """Write a log line, its TensorBoard twin, and the terminal's note."""
        measured, costs = meter.read(), meter.batches.costs()
        line: dict[str, Any] = {
            "step": self.step,
            "epoch": self.epoch(),
            "loss": result.loss,
            "loc_loss": result.loc_loss,
            "cls_loss": result.cls_loss,
            "lr": rate,
            "positives": result.positives,
            "grad_norm": result.grad_norm,
            **measured,
            **{f"{stage}_ms": value for stage, value in costs.milliseconds.items()},
        }
        if self.parts.state.scaler.active:
            line["loss_scale"] = result.loss_scale
        if not result.applied:
            line["skipped"] = True
        clean = {key: value if _is_finite(value) else None for key, value in line.items()}
        self.log.write(clean)
        shown = {f"train/{k}": v for k, v in clean.items() if k != "step" and v is not None}
        self.tensorboard.scalars(shown, self.step)
        terminal.line(clean)
        if not self.judged and self.step - meter.steps > self.phase_begun:  # nothing compiled in it
            self.judged = True
            size, workers = self.settings.batch_size, self.pipeline.num_workers
            self.say(f"pipeline: {verdict(costs, measured['compute'], size, workers)}")
        meter.restart()

    def not_applied(self, result: StepResult, batch: TrainBatch) -> None:
        """Handle a step whose update was left out: an overflow of half precision, or worse."""
        if self.blackbox.is_overflow(result):
            return
        self.skips = self.skips + 1
        path = self.blackbox.write(self.step, batch, result)
        skipping = self.settings.runtime.nonfinite == "skip"
        if not skipping or self.skips > self.settings.runtime.max_skips:
            raise self.blackbox.error(self.step, result, path)
        self.say(f"step {self.step + 1}: not finite, skipped; batch recorded in {path}")

    def save_due(self) -> bool:
        """True if the current step ends with a checkpoint."""
        settings = self.settings.checkpoint
        every = settings.every_steps
        if every is None:
            every = max(1, round(settings.every_epochs * self.parts.steps_per_epoch))
        return self.step % every == 0

    def evaluation_due(self) -> bool:
        """True if the current step ends with an evaluation."""
        if self.step == self.parts.total_steps:
            return self.settings.evaluate_at_end
        every = round(self.settings.evaluate_every_epochs * self.parts.steps_per_epoch)
        return every > 0 and self.step % every == 0

    def save(self) -> None:
        """Write a checkpoint of the current step, once."""
        if self.saved_step == self.step:
            return
        self.status.tell(self.step, "saving a checkpoint", patience=300)
        card = self.parts.card(self.step)
        card.best, card.wall_seconds = self.best, self.wall_seconds()
        if self.world.is_main:
            state = self.parts.state
            self.saved = self.store.save(card, state.detector_weights(), state.rest())
        self.saved_step, self.metrics = self.step, None

    def evaluate(self) -> None:
        """Evaluate the current weights on all ranks and note the result."""
        self.status.tell(self.step, "evaluating", patience=3600)
        metrics = self.evaluator.evaluate(self.say)
        if metrics is None:
            return
        self.metrics = metrics
        score = metrics["coco"]["AP"]
        if self.best is None or score > self.best["AP"]:
            self.best = {"step": self.step, "AP": score}
        if self.world.is_main and self.saved is not None and self.saved_step == self.step:
            self.store.mark(self.saved, metrics, self.best)
        if self.world.is_main:
            self.evaluations.rewind(self.step - 1)
            self.evaluations.write({"step": self.step, "epoch": self.epoch(), **metrics["coco"]})
            self.evaluator.publish(self.step, metrics, self.tensorboard)

    def epoch(self) -> float:
        """Return how many epochs are done."""
        return round(self.step / self.parts.steps_per_epoch, 4)

    def wall_seconds(self) -> float:
        """Return the time the run has taken, over all its starts."""
        return round(self.wall_before + time.monotonic() - self.started, 3)

    def finish(self) -> None:
        """Draw the curves and write the summary."""
        self.tensorboard.close()
        done = self.step >= self.parts.total_steps
        if self.world.is_main:
            loss = self.last.loss if self.last else self.log.last_loss()
            write_summary(
                self.output,
                {
                    "steps": self.step,
                    "final_loss": loss,
                    "metrics": self.metrics,
                    "wall_seconds": self.wall_seconds(),
                    "images_seen": self.step * self.parts.global_batch,
                    "best": self.best,
                    "finished": done,
                },
            )
            reason = "" if done else "; go on with resume=true"
            self.say(f"after step {self.step}: {self.output / 'summary.json'}{reason}")


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
