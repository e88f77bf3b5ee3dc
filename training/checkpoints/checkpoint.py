"""One checkpoint: its card, its files' names, and how arrays are written and read.

A run's collection of them is `store.py`; what goes into one is gathered in `learning/state.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from data_tools.core.errors import CheckpointError
from data_tools.core.files import publish, write_atomic
from data_tools.core.json_dataclass import build, first_line, read_json, shown
from data_tools.core.sample import ClassInfo
from training.checkpoints.ckpt_values import read_values

FORMAT = "ssd-checkpoint/1"
ENDINGS = {"ckpt": ".ckpt", "safetensors": ".safetensors"}
"""Endings of the files of each `checkpoint.format`."""

LARGEST_CARD = 8 << 20
"""Bytes. One of a thousand classes takes under 1 MB; parsing takes many times the file's size."""


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
        thresholds: Best threshold of each class on the split that was evaluated, or None.
        best: Step and AP of the best evaluation so far, or None.
        global_batch: Images per step over all devices.
        wall_seconds: Time the run has taken so far, over all its starts.
        processor_seconds: Time that cores were busy for rank 0 in it, over all its starts.
        format: Version of this layout.
        card_sha256: Hash of all the rest; empty on cards of before it was written.
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
    thresholds: Optional[dict[str, Any]] = None
    best: Optional[dict[str, Any]] = None
    global_batch: int = 0
    wall_seconds: float = 0.0
    processor_seconds: float = 0.0
    format: str = FORMAT
    card_sha256: str = ""

    @property
    def known_thresholds(self) -> dict[str, Any] | None:
        """Thresholds of an evaluation of these weights: `eval.py`'s, else that of training."""
        return self.thresholds or (self.metrics or {}).get("thresholds")

    @property
    def class_infos(self) -> tuple[ClassInfo, ...]:
        """The classes in the order of their labels.

        Raises:
            ValueError: If an entry is none.
        """
        return tuple(build(ClassInfo, entry, "classes") for entry in self.classes)

    def write(self, path: Path) -> None:
        """Write the card as JSON with its own hash, whole or not at all."""
        self.card_sha256 = hash_of_card(dataclasses.asdict(self))
        write_atomic(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def hash_of_card(content: Mapping[str, Any]) -> str:
    """Return the sha256 of everything on a card but this hash: the step, both files' hashes, all
    the rest.

    It finds what was edited or put together of two; who reckons it anew can still forge a card.
    """
    rest = {key: value for key, value in content.items() if key != "card_sha256"}
    plain = json.loads(json.dumps(rest))  # names of numbers become texts, as in the file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint on disk."""

    folder: Path
    card: Card
    ending: str = ".ckpt"

    @classmethod
    def of_card(cls, folder: Path, card: Card) -> Checkpoint:
        """Return the checkpoint that a card belongs to, in the format that its files have."""
        endings = {Path(name).suffix for name in card.files} & set(ENDINGS.values())
        return cls(folder, card, endings.pop() if len(endings) == 1 else ".ckpt")

    @property
    def weights_path(self) -> Path:
        """The detector's weights, under their published names."""
        return self.folder / f"{stem(self.card.step)}{self.ending}"

    @property
    def state_path(self) -> Path:
        """Everything else that training needs to go on."""
        return self.folder / f"{stem(self.card.step)}.state{self.ending}"

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
    """Read the card next to a checkpoint file.

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
    return parse_card(path)


def write_arrays(
    arrays: Mapping[str, NDArray[Any]], path: Path, header: dict[str, str] | None = None
) -> None:
    """Write named arrays, flushed to the disk, then renamed.

    Args:
        arrays: Name to array (float32 or integer, any shape).
        path: The file; `.ckpt` makes it one of MindSpore's checkpoints, `.safetensors` one of
            those.
        header: What a safetensors file says of itself; MindSpore's has no field for it.
    """
    # MindSpore's own writer deletes the old file first and never flushes: give it a name of its
    # own.
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    temporary.unlink(missing_ok=True)
    if path.suffix == ".safetensors":
        plain = {k: np.ascontiguousarray(v).reshape(np.shape(v)) for k, v in arrays.items()}
        save_file(plain, temporary, header)
    else:
        import mindspore as ms

        entries = [{"name": k, "data": ms.Tensor(np.asarray(v))} for k, v in arrays.items()]
        ms.save_checkpoint(entries, str(temporary))
    temporary.chmod(0o644)
    publish(temporary, path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file that `write_arrays` wrote.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(read_values(path))
    except (ValueError, RuntimeError, TypeError, OSError, SafetensorError) as error:
        kind = "safetensors file" if path.suffix == ".safetensors" else "MindSpore checkpoint"
        raise CheckpointError(
            f"{path}: damaged, or no {kind} ({first_line(error)}). Copy it again, or use an "
            "earlier one."
        ) from error


def parse_card(path: Path) -> Card:
    """Read a card.

    Raises:
        CheckpointError: If it is damaged or of a format this version cannot read.
    """
    try:
        content = read_json(path, LARGEST_CARD)
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError("it has no format")
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: format {shown(content['format'])}; this version reads {FORMAT!r}. Use "
                "the version that wrote it."
            )
        card = build(Card, content)
        if card.card_sha256 and card.card_sha256 != hash_of_card(content):
            raise CheckpointError(
                f"{path}: changed after it was written: its own hash does not fit what it says "
                "(step, seed, settings, classes, metrics, the files' hashes). Use the card that "
                "was written with the checkpoint, or an earlier checkpoint."
            )
        names = card.class_infos
        if names and len(names) != card.num_classes - 1:
            raise ValueError(f"{len(names)} classes, but num_classes={card.num_classes}")
        return card
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path}: not a checkpoint's card, or damaged ({error}). Copy it again with its "
            "checkpoint; a published checkpoint has no card: then move the file away."
        ) from error
