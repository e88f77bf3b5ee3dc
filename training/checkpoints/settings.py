"""Settings of checkpoints: when a run is saved, what is kept, and which file it begins with.

Writing is `store.py`, going on is `resume.py`; the weights of a file are read in `weight_files.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from data_tools.core.settings_fields import require, require_choice, require_positive, setting

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.


@dataclass
class CheckpointSettings:
    """When the run is saved and how much is kept."""

    every_steps: Optional[int] = setting(
        None, "steps between two saves; replaces every_epochs if given"
    )
    every_epochs: float = setting(1.0, "epochs between two saves")
    keep: int = setting(3, "newest checkpoints kept; the best by AP is kept as well")
    format: str = setting(
        "ckpt",
        "files of new checkpoints: ckpt (MindSpore's) or safetensors; both are read everywhere",
    )
    accept_changes: bool = setting(
        False, "go on from a checkpoint although data, model or recipe differ from its own"
    )

    def __post_init__(self) -> None:
        require_positive("checkpoint.every_steps", self.every_steps)
        require_positive("checkpoint.every_epochs", self.every_epochs)
        require_choice("checkpoint.format", self.format, ("ckpt", "safetensors"))
        require(self.keep >= 1, "checkpoint.keep", self.keep, "a count >= 1")


@dataclass
class InitSettings:
    """Where the first weights come from; empty = random from the seed."""

    checkpoint: Optional[str] = setting(
        None, "detector checkpoint: a file, ours or published, or hub:NAME"
    )
    backbone: Optional[str] = setting(
        None, "classification checkpoint for the backbone: a file, or hub:NAME"
    )
    head: str = setting("strict", "strict: every weight fits; new: class heads may start afresh")
    model: str = setting(
        "settings", "the network: as in settings (model=...), or as in checkpoint if there is one"
    )
    sha256: Optional[str] = setting(None, "expected sha256 of the file; empty = not checked")
    if_unavailable: str = setting(
        "error",
        "if backbone=hub:NAME cannot be had: error, or scratch (start from random weights; "
        "init.checkpoint then goes before it)",
    )

    def __post_init__(self) -> None:
        require_choice("init.head", self.head, ("strict", "new"))
        require_choice("init.if_unavailable", self.if_unavailable, ("error", "scratch"))
        require_choice("init.model", self.model, ("settings", "checkpoint"))
        require(
            self.model == "settings" or bool(self.checkpoint or self.backbone),
            "init.checkpoint",
            self.checkpoint,
            "a detector's checkpoint, given as checkpoint=FILE (or hub:NAME), since "
            "init.model=checkpoint; or init.backbone=hub:NAME for the backbone of model=NAME alone",
        )
        require(
            not (self.checkpoint and self.backbone) or self.if_unavailable == "scratch",
            "init.backbone",
            self.backbone,
            "empty when init.checkpoint is given",
        )
