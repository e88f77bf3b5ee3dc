"""What `--help` prints: every setting with its default and meaning, and the choices of each group.

Reads only the settings dataclasses and the names of the files in `conf/`; imports neither Hydra nor
MindSpore, so help is there at once.
"""

from __future__ import annotations

import dataclasses
import textwrap
import typing
from pathlib import Path
from typing import Any

GROUPS_PATH = Path(__file__).resolve().parents[2] / "conf"

_EXAMPLES = {
    "convert": "python convert.py dataset=coco2017 dataset.root=DIR out=OUT workers=2",
    "train": "python train.py +experiment=coco data=OUT output=RUN",
    "eval": "python eval.py checkpoint=RUN/checkpoints/best.ckpt data=OUT output=EVAL",
    "predict": "python predict.py checkpoint=RUN/checkpoints/best.ckpt images=DIR out=OUT",
    "export": "python export.py checkpoint=RUN/checkpoints/best.ckpt format=onnx out=model.onnx",
}


def group_choices() -> dict[str, list[str]]:
    """Return the groups of `conf/` and the choices each offers."""
    choices: dict[str, list[str]] = {}
    for file in sorted(GROUPS_PATH.glob("*/*.yaml")):
        choices.setdefault(file.parent.name, []).append(file.stem)
    return choices


def field_types(settings_class: type, prefix: str = "") -> dict[str, Any]:
    """Return every key of a settings tree with its plain type: str, dict, a settings class, or object.

    `Optional[str]` counts as str: what matters is how its text is to be quoted.
    """
    types: dict[str, Any] = {}
    hints = typing.get_type_hints(settings_class)
    for field in dataclasses.fields(settings_class):
        hint = hints[field.name]
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        if typing.get_origin(hint) is typing.Union and len(inner) == 1:
            hint = inner[0]
        key = prefix + field.name
        if dataclasses.is_dataclass(hint):
            types[key] = hint
            types.update(field_types(typing.cast(type, hint), key + "."))
        else:
            origin = typing.get_origin(hint) or hint
            types[key] = origin if origin in (str, dict) else object
    return types


def render_help(command: str, settings_class: type) -> str:
    """Return the help of a command: usage, groups, and every setting with its default and meaning."""
    lines = [
        f"usage: python {command}.py KEY=VALUE ...",
        "",
        f"  {_EXAMPLES.get(command, '')}",
        "",
        "Groups (choose with GROUP=NAME, or +experiment=NAME):",
    ]
    primary = (GROUPS_PATH / f"{command}.yaml").read_text(encoding="utf-8")
    for group, names in group_choices().items():
        if f"{group}:" in primary or (group == "experiment" and command == "train"):
            lines += _wrapped(f"  {group:<12}", ", ".join(names))
    lines += ["", "Settings (KEY = default: meaning; a group's file may set another default):"]
    lines += _settings_lines(settings_class, "")
    lines += [
        "",
        "Hydra's own flags work too: --cfg job prints the composed settings, --multirun sweeps,",
        "--hydra-help lists the rest.",
    ]
    return "\n".join(lines)


def _settings_lines(settings_class: type, prefix: str) -> list[str]:
    hints = typing.get_type_hints(settings_class)
    plain, nested = [], []
    for field in dataclasses.fields(settings_class):
        key = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            nested += ["", f"  {key}: {field.metadata.get('help', '')}"]
            nested += _settings_lines(typing.cast(type, hints[field.name]), key + ".")
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        shown = "required" if default == "???" else _yaml(default)
        plain += _wrapped(f"  {key} = {shown}: ", field.metadata.get("help", ""))
    return plain + nested


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(head + text, 100, subsequent_indent="      ", break_on_hyphens=False)
