"""What a file of `conf/` adds to what it starts from: the dataclasses' defaults, and the files of
its `defaults` list.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from data_tools.convert.settings import ConvertSettings
from training.evaluation.settings import EvalCommand
from training.exporting.settings import ExportCommand
from training.inference.settings import PredictCommand
from training.settings import TrainSettings

CONF = Path(__file__).resolve().parents[2] / "conf"
COMMANDS = {
    "train": TrainSettings(),
    "convert": ConvertSettings(),
    # What must be given is given here, and is no default.
    "eval": EvalCommand(checkpoint="?", data="?"),
    "predict": PredictCommand(checkpoint="?"),
    "export": ExportCommand(checkpoint="?", out="?.onnx"),
}
GROUPS = {"model": "train", "loss": "train", "augment": "train", "optim": "train",
          "runtime": "train",
          "dataset": "convert"}  # fmt: skip
Leaf = tuple[str, ...]


def content_of(path: Path) -> tuple[list[Any], dict[str, Any], bool]:
    """The `defaults` list, the values, and whether they are of the whole settings (`@package
    _global_`).
    """
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text) or {}
    return content.pop("defaults", []), content, "# @package _global_" in text.splitlines()[0]


def leaves(values: Any, path: Leaf = ()) -> Iterator[tuple[Leaf, Any]]:
    """Every value with its path; a mapping of the user's own (splits, factors) is one value."""
    if isinstance(values, dict) and path[-1:] not in (("splits",), ("lr_factors",), ("merge",)):
        for key, value in values.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, values


def at(values: Any, path: Leaf) -> Any:
    """The value at a path; a KeyError where there is none."""
    for key in path:
        values = values[key]
    return values


def _lay_over(base: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _lay_over(base[key], value)
        else:
            base[key] = copy.deepcopy(value)


def _group(base: dict[str, Any], group: str, name: str, fresh: dict[str, Any]) -> None:
    """Choose a file of a group: its part of the settings starts anew."""
    defaults, values, whole = content_of(CONF / group / f"{name}.yaml")
    base[group] = copy.deepcopy(fresh[group])
    for entry in defaults:
        _group(base, group, entry, fresh)
    _lay_over(base, values if whole else {group: values})


def base_of(path: Path) -> tuple[dict[str, Any], Leaf]:
    """What a file's values are laid over, and where in it they go.

    Args:
        path: A file of `conf/`, not of `conf/weights/`.
    """
    group = path.parent.name
    command = path.stem if path.parent == CONF else GROUPS.get(group, "train")
    fresh = dataclasses.asdict(COMMANDS[command])
    base = copy.deepcopy(fresh)
    defaults, _, whole = content_of(path)
    if group == "experiment":
        chosen = {
            g: n
            for e in content_of(CONF / "train.yaml")[0]
            if isinstance(e, dict)
            for g, n in e.items()
        }
        chosen |= {k.removeprefix("override /"): v for e in defaults for k, v in e.items()}
        for name, choice in chosen.items():
            _group(base, name, choice, fresh)
        _lay_over(base, content_of(CONF / "train.yaml")[1])
        return base, ()
    if path.parent == CONF:
        for entry in defaults:
            if isinstance(entry, dict):
                for name, choice in entry.items():
                    _group(base, name, choice, fresh)
        return base, ()
    for entry in defaults:
        _group(base, group, entry, fresh)
    return base, () if whole else (group,)


def repeated(path: Path) -> list[Leaf]:
    """The values of a file that say again what they are laid over."""
    base, where = base_of(path)
    same = []
    for leaf, value in leaves(content_of(path)[1]):
        try:
            before = at(base, (*where, *leaf))
        except KeyError:
            continue
        if _plain(before) == _plain(value) and type(before) in (
            type(value),
            int,
            float,
            tuple,
            list,
        ):
            same.append(leaf)
    return same


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def files() -> list[Path]:
    """Every file of `conf/` that holds settings."""
    return sorted(p for p in CONF.glob("**/*.yaml") if p.parent.name != "weights")
