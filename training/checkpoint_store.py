"""The checkpoints of a run: saved whole or not at all, hashed, counted, found again.

One checkpoint's files are `checkpoint.py`; whether one may be resumed from is `resume.py`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from data_tools.errors import CheckpointError
from data_tools.files import sha256_of_file, sync_path
from training.checkpoint import Card, Checkpoint, parse_card, stem, write_arrays

BEST = "best"


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
        sync_path(self.folder)
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
        sync_path(temporary)
        card_path.unlink(missing_ok=True)  # never an old card beside new weights
        temporary.replace(weights)
        sha256 = card.files[checkpoint.weights_path.name]
        dataclasses.replace(card, files={weights.name: sha256}).write(card_path)
        sync_path(self.folder)

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
        card = parse_card(self.folder / f"{stem(step)}.json")
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
