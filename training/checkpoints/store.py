"""The checkpoints of a run: saved whole or not at all, hashed, counted, found again.

One checkpoint's files are `checkpoint.py`; whether one may be resumed from is `resume.py`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from data_tools.core.errors import CheckpointError, UserError
from data_tools.core.files import sha256_of_file, sync_path
from training.checkpoints.checkpoint import (
    ENDINGS,
    Card,
    Checkpoint,
    parse_card,
    stem,
    write_arrays,
)
from training.checkpoints.header_card import header_of
from training.process.disk_errors import remedy

BEST = "best"
FILE_ENDINGS = tuple(f"{part}{ending}" for part in (".state", "") for ending in ENDINGS.values())
"""Endings of a checkpoint's files next to its card, in either format."""


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: `RUN/checkpoints`; made when the first one is saved.
        keep: How many of the newest stay.
        format: In what new ones are written, `ckpt` or `safetensors`; both are read.
    """

    def __init__(self, folder: Path, keep: int, format: str = "ckpt") -> None:
        self.folder, self.keep, self.ending = folder, keep, ENDINGS[format]

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
            after_write: Called with each file's name once it is in place (tests cut the power
                here).

        Returns:
            The checkpoint.

        Raises:
            UserError: If the disk is full or fails; what was half written is gone, older ones stay.
        """
        checkpoint = Checkpoint(self.folder, card, self.ending)
        with self._tell_if_disk_fails(f"the checkpoint of step {card.step}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            # A step saved before (a run resumed from an older one) loses its card first, and its
            # files where they are of the other format.
            checkpoint.card_path.unlink(missing_ok=True)
            for ending in set(ENDINGS.values()) - {self.ending}:
                for name in (f"{stem(card.step)}.state{ending}", f"{stem(card.step)}{ending}"):
                    (self.folder / name).unlink(missing_ok=True)
            for path, arrays, header in (
                (checkpoint.weights_path, weights, header_of(card)),
                (checkpoint.state_path, state, None),
            ):
                write_arrays(arrays, path, header)
                card.files[path.name] = sha256_of_file(path)
                after_write(path.name)
            card.write(checkpoint.card_path)
            sync_path(self.folder)
            after_write(checkpoint.card_path.name)
        self._drop_old()
        return checkpoint

    def mark(self, checkpoint: Checkpoint, metrics: dict[str, Any], best: dict[str, Any]) -> None:
        """Add an evaluation to a checkpoint's card; copy it to `best.ckpt` (or `best.safetensors`)
        if it is the best.

        Args:
            checkpoint: The checkpoint that was evaluated.
            metrics: Its metrics.
            best: Step and AP of the best one so far, this one included.

        Raises:
            UserError: If the disk is full or fails; the checkpoints of the steps stay.
        """
        with self._tell_if_disk_fails(f"the evaluation of step {checkpoint.card.step}"):
            self._mark(checkpoint, metrics, best)

    def _mark(self, checkpoint: Checkpoint, metrics: dict[str, Any], best: dict[str, Any]) -> None:
        card = checkpoint.card
        card.metrics, card.best = metrics, best
        card.write(checkpoint.card_path)
        if best["step"] != card.step:
            return
        ending = checkpoint.ending
        weights, card_path = self.folder / f"{BEST}{ending}", self.folder / f"{BEST}.json"
        temporary = self.folder / f".{BEST}{ending}.tmp"
        shutil.copyfile(checkpoint.weights_path, temporary)
        sync_path(temporary)
        card_path.unlink(missing_ok=True)  # never an old card next to new weights
        temporary.replace(weights)
        sha256 = card.files[checkpoint.weights_path.name]
        dataclasses.replace(card, files={weights.name: sha256}).write(card_path)
        for other in set(ENDINGS.values()) - {ending}:  # that of a run begun in the other format
            (self.folder / f"{BEST}{other}").unlink(missing_ok=True)
        sync_path(self.folder)

    def steps(self) -> list[int]:
        """Return the steps that have a card, oldest first.

        Raises:
            CheckpointError: If the folder is there but cannot be read.
        """
        try:
            names = [path.stem for path in self.folder.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be read ({error.strerror}).") from error
        names = [name for name in names if name.startswith("step-")]
        return sorted(int(name[5:]) for name in names if name[5:].isdigit())

    def newest(self, report: Callable[[str], None] = print) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; damaged ones are reported and passed over.

        Args:
            report: Called with a line for each damaged checkpoint.

        Returns:
            The checkpoint; None if no checkpoint was ever saved whole.

        Raises:
            CheckpointError: If there are checkpoints and none can be opened. A run that began anew
                instead would drop them, although often only this version cannot read them.
        """
        problems = []
        for step in reversed(self.steps()):
            try:
                checkpoint = self.open(step)
            except CheckpointError as error:
                problems.append(str(error))
                continue
            for problem in problems:
                report(f"damaged checkpoint passed over: {problem}")
            if not checkpoint.card.card_sha256:
                report(
                    f"{checkpoint.card_path}: a card of before cards had a hash: whether its step, "
                    "seed, settings or metrics were changed cannot be checked; the files' own "
                    "hashes fit"
                )
            return checkpoint
        cardless = self._cardless()
        # A kill in the middle of the first save leaves one without a card, never two.
        if not problems and len(cardless) > 1:
            problems = [f"{self.folder / name}.json: missing." for name in cardless]
        if problems:
            listed = "\n".join(f"  {problem}" for problem in problems)
            raise CheckpointError(
                f"{self.folder}: resume=true cannot open any of the checkpoints in it:\n{listed}\n"
                "Nothing was changed. Go on with the version of this program that wrote them, put "
                "back the files from a copy, or start anew: with another output, or with "
                "overwrite=true, which deletes them."
            )
        return None

    def open(self, step: int) -> Checkpoint:
        """Open one checkpoint and check its hashes.

        Raises:
            CheckpointError: If a file is missing, cannot be read, or is not what the card says.
        """
        path = self.folder / f"{stem(step)}.json"
        card = parse_card(path)
        if card.step != step:
            raise CheckpointError(f"{path}: is the card of step {card.step}, by another name.")
        checkpoint = Checkpoint.of_card(self.folder, card)
        for path in (checkpoint.weights_path, checkpoint.state_path):
            if not path.is_file():
                raise CheckpointError(f"{path}: missing.")
            try:
                actual = sha256_of_file(path)
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error
            if actual != card.files.get(path.name):
                raise CheckpointError(
                    f"{path}: sha256 {actual[:16]}..., its card says "
                    f"{str(card.files.get(path.name))[:16]}...: cut short or changed."
                )
        return checkpoint

    def set_aside_after(self, step: int) -> None:
        """Rename checkpoints newer than `step`, which a resumed run passed by, to `*.damaged`.

        They are not deleted: another version, or a repaired disk, may still read them.
        """
        for later in self.steps():
            if later <= step:
                continue
            # The card goes last: what has none is swept away.
            for ending in (*FILE_ENDINGS, ".json"):
                path = self.folder / f"{stem(later)}{ending}"
                if path.exists():
                    path.rename(_free_name(path))

    def sweep(self) -> None:
        """Remove what a kill in the middle of a save left: files without a card, temporary
        names.
        """
        for name in self._cardless():
            for ending in FILE_ENDINGS:
                (self.folder / f"{name}{ending}").unlink(missing_ok=True)
        for path in (*self.folder.glob(".*.tmp*"), *self.folder.glob("*.json.tmp")):
            path.unlink()

    @contextmanager
    def _tell_if_disk_fails(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError, CheckpointError):
                self.sweep()  # the space that the half of it takes may be what is missing
            raise UserError(
                f"{self.folder}: {what} could not be written ({error.strerror or error}). "
                f"{self._last_whole()}; {remedy(error)} and run again with resume=true."
            ) from error

    def _last_whole(self) -> str:
        with suppress(CheckpointError):
            newest = self.newest(lambda line: None)
            if newest is not None:
                return f"The last whole checkpoint is step {newest.card.step}"
        return "No whole checkpoint is there"

    def _cardless(self) -> list[str]:
        whole = {stem(step) for step in self.steps()}
        files = {p.name for p in self.folder.glob("step-*") if p.name.endswith(FILE_ENDINGS)}
        return sorted({name.split(".")[0] for name in files} - whole)

    def _drop_old(self) -> None:
        for step in self.steps()[: -self.keep]:
            self._drop(step)

    def _drop(self, step: int) -> None:
        # The card goes first: files without a card are no checkpoint.
        for ending in (".json", *FILE_ENDINGS):
            (self.folder / f"{stem(step)}{ending}").unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    """Return `path` with `.damaged` behind it, or `.damaged-2` and so on if that is taken."""
    free, count = path.with_name(f"{path.name}.damaged"), 1
    while free.exists():
        count += 1
        free = path.with_name(f"{path.name}.damaged-{count}")
    return free
