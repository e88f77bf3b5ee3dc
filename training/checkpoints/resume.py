"""Whether a checkpoint belongs to this run: which differences matter, and how they are reported.

Reading and writing the files is `checkpoint.py`; putting arrays back is `learning/state.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from data_tools.core.errors import CheckpointError
from training.checkpoints.checkpoint import Card
from training.settings import TrainSettings

DECISIVE = ("seed", "epochs", "split", "loss", "augment", "optim")
"""Settings that decide what a later step computes, besides model, data and global batch."""

DECISIVE_PIPELINE = ("sampler", "repeat_threshold", "last_batch", "scaled_decode", "crowd_ignore")


def differences(card: Card, settings: TrainSettings, expected: Card) -> tuple[list[str], list[str]]:
    """Compare a checkpoint with the run that wants to go on from it.

    Args:
        card: The checkpoint's card.
        settings: Settings of the run.
        expected: A card as this run would write it.

    Returns:
        Differences that cannot be overcome (another network), and those that the user may accept;
        each as `key: THEN in the checkpoint, NOW in this run`.
    """
    defaults = dataclasses.asdict(TrainSettings())
    fatal = _compare(
        "model", _filled(card.model, defaults["model"]), expected.model, skip=("norm",)
    )
    if card.num_classes != expected.num_classes:
        fatal.append(_line("num_classes", card.num_classes, expected.num_classes))
    then, now = _filled(card.settings, defaults), dataclasses.asdict(settings)
    soft = []
    if card.model.get("norm") != expected.model.get("norm"):
        soft.append(_line("model.norm", card.model.get("norm"), expected.model.get("norm")))
    if card.data_fingerprint != expected.data_fingerprint:
        soft.append(
            _line(
                "data fingerprint",
                f"{card.data_fingerprint[:16]}...",
                f"{expected.data_fingerprint[:16]}... (data={settings.data})",
            )
        )
    if card.classes != expected.classes:
        soft.append(_line("classes", _names(card), _names(expected)))
    if card.global_batch != expected.global_batch:
        soft.append(_line("global batch", card.global_batch, expected.global_batch))
    for key in DECISIVE:
        skip = _harmless(settings) if key == "optim" else ()
        soft += _compare(key, then.get(key), now[key], skip)
    for key in DECISIVE_PIPELINE:
        old, new = then.get("pipeline", {}).get(key), now["pipeline"].get(key)
        soft += _compare(f"pipeline.{key}", old, new)
    old, new = then.get("runtime", {}).get("precision"), now["runtime"]["precision"]
    soft += _compare("runtime.precision", old, new)
    return fatal, soft


def check_resumable(card: Card, settings: TrainSettings, expected: Card, name: str) -> list[str]:
    """Refuse a checkpoint of another model, and of other data or another recipe unless accepted.

    Args:
        card: The checkpoint's card.
        settings: Settings of the run.
        expected: A card as this run would write it.
        name: The checkpoint's path, for the message.

    Returns:
        The differences that were accepted.

    Raises:
        CheckpointError: With all differences listed.
    """
    fatal, soft = differences(card, settings, expected)
    listed = "\n".join(f"  {line}" for line in fatal + soft)
    if fatal:
        raise CheckpointError(
            f"{name} is of another model; resume=true cannot go on from it:\n{listed}\n"
            "Use the settings it was made with, another output, or start from its weights with "
            "checkpoint=FILE init.head=new."
        )
    if soft and not settings.checkpoint.accept_changes:
        raise CheckpointError(
            f"{name} was made with other data or settings:\n{listed}\n"
            "Use the same settings, another output, or checkpoint.accept_changes=true if you mean "
            "it."
        )
    return soft


def _filled(old: Any, defaults: Any) -> Any:
    """Give what an older card does not know yet its default: a new setting's default is how it was
    before.
    """
    if not isinstance(old, dict) or not isinstance(defaults, dict):
        return old
    known = {key: _filled(value, defaults.get(key)) for key, value in old.items()}
    return {**defaults, **known}


def _harmless(settings: TrainSettings) -> tuple[str, ...]:
    # Parts of a batch add up to the whole only where no batch norm looks at them one by one.
    return ("accumulate",) if settings.model.norm == "frozen" else ()


def _compare(key: str, then: Any, now: Any, skip: tuple[str, ...] = ()) -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        lines = []
        for name in sorted(set(then) | set(now)):
            if name not in skip:
                lines += _compare(f"{key}.{name}", then.get(name), now.get(name))
        return lines
    return [] if _plain(then) == _plain(now) else [_line(key, then, now)]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _line(key: str, then: Any, now: Any) -> str:
    return f"{key}: {then} in the checkpoint, {now} in this run"


def _names(card: Card) -> list[str]:
    return [str(entry.get("name")) for entry in card.classes]
