"""One rank's training run: begin or resume, step, log, save, evaluate, finish.

Sums and gradients are `learning/step.py`, files `checkpoints/checkpoint.py`, words
`watching/announce.py`; this is the order of it all.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path

from data_tools.shards.manifest import ConvertedSplit
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.ledger import write_ledger
from training.checkpoints.resume import check_resumable
from training.checkpoints.store import CheckpointStore
from training.learning.assemble import build_components
from training.learning.step_result import StepResult
from training.learning.stepper import Stepper, build_stepper
from training.process.disk_errors import DiskError
from training.process.rank_status import FINISHED, RankStatus
from training.process.runtime import Environment
from training.process.signals import Interrupted, StopRequest
from training.process.world import World
from training.run.evaluator import Evaluator
from training.run.first_weights import load_initial_weights
from training.run.fit_schedule import MEASURED_STEPS, fit, taken_over
from training.run.preflight import preflight
from training.run.save_and_evaluate import SaveAndEvaluate
from training.settings import TrainSettings
from training.watching.announce import announce
from training.watching.blackbox import BlackBox
from training.watching.reporter import Reporter, describe_path, finite_or_none, pictures_of
from training.watching.run_folder import (
    check_folder,
    locked_run,
    refuse_live_run,
    remove_earlier,
    write_settings,
    write_summary,
)
from training.watching.stopwatch import Stopwatch
from training.watching.triggers import Triggers


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
        self.environment, self.clock = environment, Stopwatch(started)
        self.output = Path(settings.output)
        self.store = CheckpointStore(
            self.output / "checkpoints", settings.checkpoint.keep, settings.checkpoint.format
        )
        self.status = RankStatus(world.rank)
        self.stop = StopRequest(settings.max_minutes, started)
        self.saver = SaveAndEvaluate(self.store, self.status, self.stop, self.clock, self.notify)
        self.step = 0
        self.skips = 0
        self.last: StepResult | None = None
        self.left_open = ExitStack()

    def run(self) -> int:
        """Train to the end, to a limit, or to a signal; return the exit code."""
        alone = self.world.size == 1  # among others, nobody may leave a collective by himself
        with self.stop, self.left_open:
            try:
                self.stop.interruptible = alone
                self.begin()
                self.stop.interruptible = False
                # The run may have been stopped between saving and evaluating.
                missing = self.step > 0 and self.evaluation_missing
                judged = not missing or self.saver.evaluate_unless_stopped(self.step)
                if judged and not self.saver.ends_early(self.step):
                    self.steps()
                self.stop.interruptible = alone
                self.finish()
            except Interrupted:
                self.notify("stopped by a signal; what was saved before is whole")
            except DiskError as error:
                error.saved_step = self.saver.saved_step
                raise
        self.world.barrier()  # nobody leaves while another still writes or waits
        self.status.tell(self.step, FINISHED)
        # To the launcher, a rank that was asked to stop and did is a success.
        return 0 if self.status.path else self.stop.exit_code

    def notify(self, text: str) -> None:
        """Print a line on the main rank."""
        if self.world.is_main:
            print(text, flush=True)

    def begin(self) -> None:
        """Build everything, find the point to start from, and compare notes with the other
        ranks.
        """
        settings, world = self.settings, self.world
        self.status.tell(0, "building", patience=120)
        if world.is_main:
            refuse_live_run(self.output)
            check_folder(settings)
            self.left_open.enter_context(locked_run(self.output))
        checkpoint = self.store.newest(self.notify) if settings.resume else None
        if checkpoint is not None:
            settings = self.settings = taken_over(settings, checkpoint.card.settings)
        self.components = build_components(settings, world, self.split)
        self.reporter = Reporter(self.components, self.notify, self.stop.steps_left)
        self.blackbox = BlackBox(self.components)
        self.saver.open(self.components, Evaluator(self.components), self.reporter)
        self.triggers = Triggers(self.components)
        record = None
        if checkpoint is not None:
            self.resume_from(checkpoint)
        else:
            if settings.resume:
                self.notify(
                    f"resume: no checkpoint in {self.store.folder}; starting from the beginning"
                )
            record = load_initial_weights(self.components, self.notify)
        if world.size > 1 and settings.runtime.preflight:
            self.status.tell(0, "comparing notes in the preflight")
            self.notify(preflight(self.components, self.step, self.saver.evaluator.fingerprint))
        # Only now: whatever was wrong with this run has been said. Other ranks write nothing before
        # their first step, which waits for this rank.
        if world.is_main:
            remove_earlier(settings)
        self.reporter.start(self.step)
        self.left_open.callback(self.close_reporter)
        if world.is_main:
            self.store.set_aside_after(self.step)
            self.store.sweep()
            write_settings(settings, self.output)
            if record is not None:
                write_ledger(self.output / "first_weights", record)
            announce(self.components, self.environment, self.step)
            if self.step < self.components.total_steps:
                self.notify(f"step {self.step + 1} compiles the network first, which takes a while")

    def close_reporter(self) -> None:
        """Close what an error left open; what the disk does not take of it is not worth another
        error.
        """
        with suppress(DiskError):
            self.reporter.close()

    def resume_from(self, checkpoint: Checkpoint) -> None:
        """Take over a checkpoint of this run."""
        expected = self.components.card(checkpoint.card.step)
        name = str(checkpoint.weights_path)
        for line in check_resumable(checkpoint.card, self.settings, expected, name):
            self.notify(f"resume: accepted change: {line}")
        self.components.state.load(*checkpoint.read())
        self.step = checkpoint.card.step
        self.saver.resume_from(checkpoint)
        self.notify(f"resume: going on after step {self.step} ({name})")

    def steps(self) -> None:
        """Train from the current step to the last one, phase by phase."""
        phases = self.components.phases
        while self.step < self.components.total_steps:
            total = self.components.total_steps
            current = max(i for i, phase in enumerate(phases) if phase.first_step <= self.step)
            ends = [phase.first_step for phase in phases[current + 1 :]] + [total]
            until = min(ends[0], total)
            stepper = build_stepper(self.components, phases[current], self.step, until)
            try:
                while self.step < until:
                    if self.one_call(stepper, until):
                        return
                    until = min(until, self.components.total_steps)
            finally:
                stepper.close()

    def call_length(self, stepper: Stepper, until: int) -> int:
        """Return how many steps the next call has; it ends where something is due."""
        # A step that compiles is a call of its own. Alone, a run that should stop goes on by single
        # steps; ranks may not, as they could differ on it.
        if stepper.compiles(self.step) or (self.world.size == 1 and self.stop.wanted):
            return 1
        return self.triggers.call_length(self.step, min(stepper.longest, until - self.step))

    def one_call(self, stepper: Stepper, until: int) -> bool:
        """Do a call's steps and what is due after them; return True if the run should leave."""
        begun = time.monotonic()
        self.stop.rearm()
        count = self.call_length(stepper, until)
        fresh = stepper.compiles(self.step)
        if fresh:
            self.reporter.compiled_at = self.step + 1

        def tell(doing: str) -> None:
            # Compiling may take minutes; a call of several steps, the limit of each.
            limit = 1800 if fresh else self.settings.runtime.hang_seconds * (count - 1)
            self.status.tell(self.step + 1, doing, limit if doing == "computing" else 0)

        steps = stepper.call(self.step, count, tell, lambda: self.stop.wanted)
        if not fresh:  # what compiling takes says nothing of the steps to come
            self.stop.took(time.monotonic() - begun, count)
            self.expect_evaluation((time.monotonic() - begun) / count)
        leaving = steps[-1].result.stop
        full: DiskError | None = None
        for k, done in enumerate(steps, 1):
            if done.result.applied:
                self.skips = 0
            else:
                self.not_applied(done.result, stepper)
            self.step += 1
            self.last = done.result
            last = self.step == self.components.total_steps or (leaving and k == count)
            if full is None:
                try:
                    self.reporter.step(self.step, done, last)
                except DiskError as error:
                    full = error  # the weights are those after the call's last step: on to it
        if full is not None:
            # A log line less is no reason to lose the steps since the last checkpoint as well.
            # Where there is no space for one either, its own error says so.
            self.saver.save(self.step)
            raise full
        # The order matters: a line is logged before its step is saved.
        if last or self.triggers.save(self.step) or self.triggers.evaluation(self.step):
            self.saver.save(self.step)
            if self.triggers.evaluation(self.step) and not leaving:
                leaving = not self.saver.evaluate_in_time(self.step) or self.saver.ends_early(
                    self.step
                )
            elif leaving and self.settings.evaluate_at_end:
                self.saver.evaluate_at_stop(self.step)
            self.reporter.restart()
        if self.settings.schedule_to == "max_minutes" and not fresh and not leaving:
            self.fit_schedule()
        return leaving

    def fit_schedule(self) -> None:
        """Once enough steps were measured, cut the recipe to what `max_minutes` leaves time for."""
        if self.stop.measured_steps < MEASURED_STEPS:
            return
        seconds = self.stop.measured_s / self.stop.measured_steps
        self.notify(fit(self.components, self.world, self.stop, self.step, seconds))
        self.settings = self.components.settings
        self.triggers = Triggers(self.components)
        self.reporter.plan_again()
        if self.world.is_main:
            write_settings(self.settings, self.output)

    def expect_evaluation(self, seconds_a_step: float) -> None:
        """Judge by a step how long the evaluation at the stop will take, until one was made."""
        images = self.saver.evaluation_images / self.world.size
        if images and self.settings.evaluate_at_end:
            # Half of what training takes for as many: no gradients, but boxes and their matching.
            self.stop.expect_evaluation(0.5 * images * seconds_a_step / self.settings.batch_size)

    @property
    def evaluation_missing(self) -> bool:
        """True if the current step's evaluation is due and was not made."""
        return self.triggers.evaluation(self.step) and self.saver.metrics is None

    def not_applied(self, result: StepResult, stepper: Stepper) -> None:
        """Handle a step whose update was left out: an overflow of half precision, or worse."""
        if self.blackbox.is_overflow(result):
            return
        self.skips = self.skips + 1
        path = self.blackbox.write(self.step, stepper.batch(self.step), result)
        skipping = self.settings.runtime.nonfinite == "skip"
        if not skipping or self.skips > self.settings.runtime.max_skips:
            raise self.blackbox.error(self.step, result, path, self.skips)
        self.notify(f"step {self.step + 1}: not finite, skipped; batch recorded in {path}")

    def finish(self) -> None:
        """Draw the curves and write the summary."""
        self.reporter.close()
        if not self.world.is_main:
            return
        whole = self.step >= self.components.total_steps and not self.evaluation_missing
        done = whole or self.saver.stopped_early
        summary = {
            "steps": self.step,
            "final_loss": finite_or_none(self.last.loss)
            if self.last
            else self.reporter.log.last_loss(),
            "metrics": self.saver.metrics,
            "wall_seconds": self.clock.seconds(),
            "processor_seconds": self.clock.processor_seconds(),
            "images_seen": self.step * self.components.global_batch,
            "skipped_steps": self.reporter.log.skipped(),
            "best": self.saver.best,
            "stopped_early": self.saver.stopped_early,
            "finished": done,
        }
        write_summary(self.output, summary)
        took = (
            f"{summary['wall_seconds']:.0f} s, {summary['processor_seconds']:.0f} processor seconds"
        )
        self.notify(f"after step {self.step}: {describe_path(self.output, done)} ({took})")
        self.notify(pictures_of(self.output))
