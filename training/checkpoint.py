"""Checkpoint files: written whole or not at all, hashed, counted, found again.

What goes into them is gathered in `state.py`; whether one may be resumed from is decided in
`resume.py`. This module knows files, names and hashes only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from data_tools.errors import CheckpointError
from data_tools.manifest import sha256_of_file, write_atomic

FORMAT = "ssd-checkpoint/1"
BEST = "best"


@dataclass
class Card:
    """What a checkpoint says of itself; written last, so a card means a whole checkpoint.

    Attributes:
        step: Steps done.
        epoch: Whole epochs done.
        seed: Seed of the run.
        model: The model settings.
        num_classes: Classes with background: C + 1.
        classes: `label`, `name`, `category_id` of each class.
        data_fingerprint: Fingerprint of the training split.
        settings: All settings of the run.
        versions: Versions of Python, MindSpore and the libraries that matter.
        files: File name to sha256.
        metrics: Evaluation of these weights, or None.
        best: Step and AP of the best evaluation so far, or None.
        global_batch: Images per step over all devices.
        wall_seconds: Time the run has taken so far, over all its starts.
        format: Version of this layout.
    """

    step: int
    epoch: int
    seed: int
    model: dict[str, Any]
    num_classes: int
    classes: list[dict[str, Any]]
    data_fingerprint: str
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    metrics: Optional[dict[str, Any]] = None
    best: Optional[dict[str, Any]] = None
    global_batch: int = 0
    wall_seconds: float = 0.0
    format: str = FORMAT

    def write(self, path: Path) -> None:
        """Write the card as JSON, whole or not at all."""
        write_atomic(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint on disk."""

    folder: Path
    card: Card

    @property
    def weights_path(self) -> Path:
        """The detector's weights, under their published names."""
        return self.folder / f"{stem(self.card.step)}.ckpt"

    @property
    def state_path(self) -> Path:
        """Everything else that training needs to go on."""
        return self.folder / f"{stem(self.card.step)}.state.ckpt"

    @property
    def card_path(self) -> Path:
        """The card."""
        return self.folder / f"{stem(self.card.step)}.json"

    def read(self) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Return the weights by published name, and the rest of the state."""
        return read_arrays(self.weights_path), read_arrays(self.state_path)


def stem(step: int) -> str:
    """Return the name of a step's files without their endings.

    >>> stem(400)
    'step-00000400'
    """
    return f"step-{step:08d}"


def read_card(checkpoint: str | Path) -> Card | None:
    """Read the card beside a checkpoint file.

    Args:
        checkpoint: The weights file, for instance `step-00000400.ckpt`.

    Returns:
        The card, or None if there is none (a published checkpoint).

    Raises:
        CheckpointError: If the card is damaged or of a format this version cannot read.
    """
    path = Path(checkpoint).with_suffix(".json")
    if not path.is_file():
        return None
    return _parse_card(path)


def write_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write named arrays as a MindSpore checkpoint file, flushed to the disk, then renamed.

    Args:
        arrays: Name to array (float32 or integer, any shape).
        path: The file; its name must end in `.ckpt`.
    """
    import mindspore as ms

    # MindSpore's own writer deletes the old file first and never flushes: give it a name of its own.
    temporary = path.with_name(f".{path.name}.tmp.ckpt")
    temporary.unlink(missing_ok=True)
    entries = [{"name": k, "data": ms.Tensor(np.asarray(v))} for k, v in arrays.items()]
    ms.save_checkpoint(entries, str(temporary))
    os.chmod(temporary, 0o644)
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file that `write_arrays` wrote.

    Raises:
        CheckpointError: If MindSpore cannot read it.
    """
    import mindspore as ms

    try:
        return {name: p.asnumpy() for name, p in ms.load_checkpoint(str(path)).items()}
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not readable as a checkpoint ({error}).") from error


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: `RUN/checkpoints`; made when the first one is saved.
        keep: How many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(
        self,
        card: Card,
        weights: Mapping[str, NDArray[Any]],
        state: Mapping[str, NDArray[Any]],
        after_write: Callable[[str], None] = lambda name: None,
    ) -> Checkpoint:
        """Write a checkpoint and drop those that are too old.

        Args:
            card: The card, without hashes.
            weights: The detector's weights by published name.
            state: Everything else.
            after_write: Called with each file's name once it is in place (tests cut the power here).

        Returns:
            The checkpoint.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint(self.folder, card)
        # A step saved before (a run resumed from an older one) loses its card first.
        checkpoint.card_path.unlink(missing_ok=True)
        for path, arrays in ((checkpoint.weights_path, weights), (checkpoint.state_path, state)):
            write_arrays(arrays, path)
            card.files[path.name] = sha256_of_file(path)
            after_write(path.name)
        card.write(checkpoint.card_path)
        _flush_folder(self.folder)
        after_write(checkpoint.card_path.name)
        self._drop_old()
        return checkpoint

    def mark(self, checkpoint: Checkpoint, metrics: dict[str, Any], best: dict[str, Any]) -> None:
        """Add an evaluation to a checkpoint's card; copy it to `best.ckpt` if it is the best.

        Args:
            checkpoint: The checkpoint that was evaluated.
            metrics: Its metrics.
            best: Step and AP of the best one so far, this one included.
        """
        card = checkpoint.card
        card.metrics, card.best = metrics, best
        card.write(checkpoint.card_path)
        if best["step"] != card.step:
            return
        weights, card_path = self.folder / f"{BEST}.ckpt", self.folder / f"{BEST}.json"
        temporary = self.folder / f".{BEST}.ckpt.tmp"
        shutil.copyfile(checkpoint.weights_path, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        card_path.unlink(missing_ok=True)  # never an old card beside new weights
        os.replace(temporary, weights)
        sha256 = card.files[checkpoint.weights_path.name]
        dataclasses.replace(card, files={weights.name: sha256}).write(card_path)
        _flush_folder(self.folder)

    def steps(self) -> list[int]:
        """Return the steps that have a card, oldest first."""
        names = (path.stem for path in self.folder.glob("step-*.json"))
        return sorted(int(name[5:]) for name in names if name[5:].isdigit())

    def newest(self, report: Callable[[str], None] = print) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; damaged ones are reported and passed over.

        Args:
            report: Called with a line for each damaged checkpoint.
        """
        for step in reversed(self.steps()):
            try:
                return self.open(step)
            except CheckpointError as error:
                report(f"damaged checkpoint passed over: {error}")
        return None

    def open(self, step: int) -> Checkpoint:
        """Open one checkpoint and check its hashes.

        Raises:
            CheckpointError: If a file is missing or is not what the card says.
        """
        card = _parse_card(self.folder / f"{stem(step)}.json")
        checkpoint = Checkpoint(self.folder, card)
        for path in (checkpoint.weights_path, checkpoint.state_path):
            if not path.is_file():
                raise CheckpointError(f"{path}: missing.")
            found = sha256_of_file(path)
            if found != card.files.get(path.name):
                raise CheckpointError(
                    f"{path}: sha256 {found[:16]}..., its card says "
                    f"{str(card.files.get(path.name))[:16]}...: cut short or changed."
                )
        return checkpoint

    def forget_after(self, step: int) -> None:
        """Drop checkpoints newer than `step`: damaged ones that a resumed run passes by."""
        for later in self.steps():
            if later > step:
                self._drop(later)

    def sweep(self) -> None:
        """Remove what a kill in the middle of a save left: files without a card, temporary names."""
        whole = {stem(step) for step in self.steps()}
        for path in self.folder.glob("step-*.ckpt"):
            if path.name.split(".")[0] not in whole:
                path.unlink()
        for path in (*self.folder.glob(".*.tmp*"), *self.folder.glob("*.json.tmp")):
            path.unlink()

    def _drop_old(self) -> None:
        for step in self.steps()[: -self.keep]:
            self._drop(step)

    def _drop(self, step: int) -> None:
        # The card goes first: files without a card are no checkpoint.
        for ending in (".json", ".state.ckpt", ".ckpt"):
            (self.folder / f"{stem(step)}{ending}").unlink(missing_ok=True)


def _parse_card(path: Path) -> Card:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: format {content['format']!r}; this version reads {FORMAT!r}."
            )
        return Card(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not a checkpoint's card ({error!r}).") from error


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
