"""What a run keeps: its checkpoints, their evaluations, and which was best.

When to save or evaluate is the trainer's business; the files are `checkpoints/store.py`, the
figures `evaluator.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.store import CheckpointStore
from training.learning.assemble import RunComponents
from training.process.rank_status import RankStatus
from training.process.signals import Interrupted, StopRequest
from training.run.evaluator import Evaluator
from training.watching.reporter import Reporter
from training.watching.stopwatch import Stopwatch


class SaveAndEvaluate:
    """Saves and evaluates one rank's run.

    Args:
        store: The run's checkpoints.
        status: Tells the launcher what this rank does.
        stop: Whether the run should stop, and what its parts take.
        clock: How long the run took.
        notify: Prints a line on the main rank.

    Attributes:
        saved: The last checkpoint; None on other ranks than the main one.
        saved_step: Its step, on every rank; -1 if there is none.
        best: Step and AP of the best evaluation.
        metrics: The evaluation of the saved step, None if it was not made.
        stopped_early: The run ends because it gets no better.
        evaluation_images: Images of the evaluation split, 0 without one.
    """

    def __init__(
        self,
        store: CheckpointStore,
        status: RankStatus,
        stop: StopRequest,
        clock: Stopwatch,
        notify: Callable[[str], None],
    ) -> None:
        self.store, self.status, self.stop = store, status, stop
        self.clock, self.notify = clock, notify
        self.saved: Checkpoint | None = None
        self.saved_step = -1
        self.best: dict[str, Any] | None = None
        self.metrics: dict[str, Any] | None = None
        self.stopped_early = False
        self.evaluation_images = 0

    def open(self, components: RunComponents, evaluator: Evaluator, reporter: Reporter) -> None:
        """Take what is only there when the run is built."""
        self.components, self.evaluator, self.reporter = components, evaluator, reporter
        self.evaluation_images = evaluator.split.num_images if evaluator.split is not None else 0

    def resume_from(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, which is the last one saved."""
        self.saved, self.saved_step = checkpoint, checkpoint.card.step
        self.clock.before = checkpoint.card.wall_seconds
        self.clock.processor_before = checkpoint.card.processor_seconds
        self.best, self.metrics = checkpoint.card.best, checkpoint.card.metrics

    def evaluate_in_time(self, step: int) -> bool:
        """Evaluate if the time limit allows it; return True if the run may go on."""
        return self.time_to_evaluate(step) and self.evaluate_unless_stopped(step)

    def time_to_evaluate(self, step: int, *, at_stop: bool = False) -> bool:
        """True if an evaluation fits before the time limit; otherwise a resumed run makes up for
        it.
        """
        reason = self.stop.no_time_to_evaluate(self.components.world, at_stop=at_stop)
        if reason:
            self.notify(f"evaluation after step {step} left to the resumed run: {reason}")
        return not reason

    def evaluate_at_stop(self, step: int) -> None:
        """Evaluate the weights with which `max_minutes` ends the run: call it on every rank.

        A signal wants the run gone at once, and may have reached some ranks only: they agree on it.
        """
        if not self.evaluation_images or self.stop.deadline is None:
            return
        world = self.components.world
        if world.sum(np.array([not self.stop.time_is_up], np.float32))[0] > 0:
            return
        if self.time_to_evaluate(step, at_stop=True):
            self.evaluate_unless_stopped(step)

    def evaluate_unless_stopped(self, step: int) -> bool:
        """Evaluate; alone, a signal may interrupt it, since the step is saved.

        Returns:
            True if the run may go on; else a resumed one makes up for the evaluation.
        """
        try:
            self.stop.interruptible = self.components.world.size == 1
            if self.stop.interruptible and self.stop.signal is not None:
                raise Interrupted
            self.evaluate(step)
        except Interrupted:
            self.notify(f"evaluation after step {step} stopped by a signal")
            return False
        finally:
            self.stop.interruptible = False
        return True

    def save(self, step: int) -> None:
        """Write a checkpoint of the current step, once."""
        if self.saved_step == step:
            return
        begun = time.monotonic()
        self.status.tell(step, "saving a checkpoint", patience=300)
        card = self.components.card(step)
        card.best, card.wall_seconds = self.best, self.clock.seconds()
        card.processor_seconds = self.clock.processor_seconds()
        if self.components.world.is_main:
            state = self.components.state
            self.saved = self.store.save(card, state.detector_weights(), state.rest())
        self.saved_step, self.metrics = step, None
        self.stop.saved(time.monotonic() - begun)

    def patience_ends(self, step: int) -> bool:
        """True if `early_stop.patience` epochs went by without a better AP; the same on every rank.

        A pure function of settings, step and `best`, which the card holds: a resumed run judges
        alike.
        """
        patience = self.components.settings.early_stop.patience
        if patience is None or self.best is None or self.metrics is None:
            return False
        return step - int(self.best["step"]) >= patience * self.components.steps_per_epoch

    def ends_early(self, step: int) -> bool:
        """Judge after an evaluation whether the run gets no better; log it if it ends for that."""
        if step >= self.components.total_steps or not self.patience_ends(step):
            return False
        self.stopped_early = True
        patience = self.components.settings.early_stop.patience
        best: dict[str, Any] = self.best or {}
        self.notify(
            f"early stop after step {step}: no better AP than {best['AP']:.4f} of step "
            f"{best['step']} in {patience:g} epochs (early_stop.patience; a larger one with "
            "resume=true goes on)"
        )
        return True

    def evaluate(self, step: int) -> None:
        """Evaluate the current weights on all ranks and note the result."""
        begun = time.monotonic()
        self.status.tell(step, "evaluating", patience=3600)
        metrics = self.evaluator.evaluate(self.notify)
        if metrics is None:
            return
        score = metrics["coco"]["AP"]
        if self.best is None or score > self.best["AP"]:
            self.best = {"step": step, "AP": score}
        if self.components.world.is_main:
            # First: a run that could not write them is resumed as one that was not evaluated yet.
            self.evaluator.publish(step, metrics, self.reporter.tensorboard)
            if self.saved is not None and self.saved_step == step:
                self.store.mark(self.saved, metrics, self.best)
            self.reporter.evaluation(step, metrics, self.evaluator.loss)
        self.metrics = metrics
        self.stop.evaluated(time.monotonic() - begun)
