"""Settings of the input pipeline: how rows are read and worked on.

How images are augmented is set in `augment/settings.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_tools.core.settings_fields import require, require_choice, setting

WORKER_KINDS = ("threads", "processes")
LAST_BATCH_RULES = ("drop", "wrap")
SAMPLERS = ("uniform", "repeat_factor", "class_balanced")


@dataclass
class PipelineSettings:
    """How batches are made; these change their bits: `sampler`, `last_batch`, `scaled_decode`,
    `crowd_ignore`.
    """

    workers: int = setting(
        0, "Batches made at the same time, each on its own core; 0 takes one for each core."
    )
    worker_kind: str = setting(
        "threads",
        "threads (the image library lets them run side by side; nothing is copied) or processes "
        "(for hosts where many workers would wait for one interpreter; each costs a start of some "
        "seconds).",
    )
    prefetch: int = setting(
        2, "Finished batches kept ready beyond those that the workers are making, at least 0."
    )
    last_batch: str = setting(
        "drop",
        "What happens to the images that do not fill a last global batch: drop leaves them out of "
        "this epoch (others in each epoch), wrap fills the batch up from the start of the epoch's "
        "order.",
    )
    sampler: str = setting(
        "uniform",
        "How often an image comes: uniform (once an epoch), repeat_factor (more often if it has a "
        "rare class, as in LVIS, arXiv:1908.03195), class_balanced (each class as often as any "
        "other). An epoch has as many images as before.",
    )
    repeat_threshold: float = setting(
        0.001,
        "repeat_factor: a class on a smaller share of the images is rare; 0.001 is LVIS's, with "
        "few classes about 1 / classes.",
    )
    scaled_decode: bool = setting(
        False,
        "Decode a JPEG at 1/2, 1/4 or 1/8 of its size where the crop still has at least the "
        "input's size. Faster on large photographs, but smooths them before the resize, which "
        "evaluation does not.",
    )
    crowd_ignore: float = setting(
        0.5,
        "An anchor of which more than this share lies on a crowd region does not count in the "
        "loss, unless it is positive; 1 lets every anchor count.",
    )
    verify: bool = setting(
        False, "Check the hash of every shard before the first step (about a second for each GB)."
    )

    def __post_init__(self) -> None:
        require(self.workers >= 0, "pipeline.workers", self.workers, "a number >= 0")
        require_choice("pipeline.worker_kind", self.worker_kind, WORKER_KINDS)
        require(self.prefetch >= 0, "pipeline.prefetch", self.prefetch, "a number >= 0")
        require_choice("pipeline.last_batch", self.last_batch, LAST_BATCH_RULES)
        require_choice("pipeline.sampler", self.sampler, SAMPLERS)
        require(
            0 < self.repeat_threshold <= 1,
            "pipeline.repeat_threshold",
            self.repeat_threshold,
            "0 < share of the images <= 1",
        )
        require(
            0 < self.crowd_ignore <= 1, "pipeline.crowd_ignore", self.crowd_ignore, "0 < x <= 1"
        )
