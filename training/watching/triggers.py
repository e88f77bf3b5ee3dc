"""When something is due after a step: a checkpoint, an evaluation, a look at the weights.

The trainer does what is due; how many steps a call may have follows from it.
"""

from __future__ import annotations

from training.learning.assemble import RunComponents


class Triggers:
    """The calendar of a run: a pure function of settings and step, so the same on every rank.

    Args:
        components: The run.
    """

    def __init__(self, components: RunComponents) -> None:
        self.settings, self.total = components.settings, components.total_steps
        self.steps_per_epoch = components.steps_per_epoch

    def save(self, step: int) -> bool:
        """True if a step (from 1) ends with a checkpoint."""
        every = self.settings.checkpoint.every_steps
        if every is None:
            every = max(1, round(self.settings.checkpoint.every_epochs * self.steps_per_epoch))
        return step % every == 0

    def evaluation(self, step: int) -> bool:
        """True if a step ends with an evaluation."""
        if step == self.total:
            return self.settings.evaluate_at_end
        every = round(self.settings.evaluate_every_epochs * self.steps_per_epoch)
        return every > 0 and step % every == 0

    def histograms(self, step: int) -> bool:
        """True if the report of a step shows the weights after it; a run's last step does."""
        every = self.settings.log.histograms_every
        return every > 0 and (step % every == 0 or step == self.total)

    def call_length(self, step: int, most: int) -> int:
        """Return how many steps may run in one call: up to the first that needs the weights as they
        are.

        Args:
            step: Steps done.
            most: Steps it may be at most.
        """
        count = 1
        while count < most and not self._anything(step + count):
            count += 1
        return count

    def _anything(self, step: int) -> bool:
        return self.save(step) or self.evaluation(step) or self.histograms(step)
