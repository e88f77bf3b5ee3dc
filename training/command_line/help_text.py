"""What `--help` prints: a page of groups and everyday settings, a page a group, or every setting
with its meaning.

Reads only the settings dataclasses and the names of the files in `conf/`; imports neither Hydra nor
MindSpore, so help is there at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_tools.core.errors import SettingError
from data_tools.core.settings_fields import MISSING
from training.command_line.setting_names import GROUPS_PATH, field_types, groups_of

_EXAMPLES = {
    "convert": "python convert.py dataset=coco2017 dataset.root=DIR out=OUT workers=2",
    "train": "python train.py +experiment=coco data=OUT output=RUN",
    "eval": "python eval.py checkpoint=RUN/checkpoints/best.ckpt data=OUT output=EVAL",
    "predict": "python predict.py checkpoint=RUN/checkpoints/best.ckpt images=DIR out=OUT",
    "export": "python export.py checkpoint=RUN/checkpoints/best.ckpt format=onnx out=model.onnx",
}


EVERYDAY = {
    "convert": [
        "dataset.root",
        "dataset.splits",
        "dataset.names_file",
        "dataset.classes",
        "out",
        "workers",
        "shards",
        "overwrite",
        "image.max_side",
        "check",
        "check_model",
        "verify",
        "preview",
        "extend",
        "unpack",
        "diff",
        "exclude",
        "policy.missing_image",
        "policy.undecodable_image",
        "policy.box_outside",
    ],
    "train": [
        "data",
        "output",
        "resume",
        "overwrite",
        "epochs",
        "batch_size",
        "max_minutes",
        "seed",
        "optim.lr",
        "optim.ema",
        "init.checkpoint",
        "init.backbone",
        "model.image_size",
        "pipeline.workers",
        "evaluate_every_epochs",
        "checkpoint.every_epochs",
        "runtime.device",
        "runtime.precision",
        "preview",
        "summary",
    ],
    "eval": [
        "checkpoint",
        "data",
        "output",
        "split",
        "device",
        "worst",
        "report",
        "suspects",
        "detections",
        "compare",
        "crosscheck",
        "evaluate.score_floor",
        "evaluate.nms_iou",
        "evaluate.sizes",
    ],
    "predict": [
        "checkpoint",
        "images",
        "out",
        "threshold",
        "one_name",
        "classes",
        "top_k",
        "pictures",
        "recursive",
        "batch_size",
        "device",
        "serve",
        "port",
    ],
    "export": [
        "checkpoint",
        "out",
        "format",
        "batch_size",
        "nms",
        "decode",
        "data",
        "parity_images",
        "tolerance",
        "overwrite",
    ],
}
"""What most people set, in the order of the page."""


def topic_of(arguments: Sequence[str]) -> str:
    """Return the word behind `--help`, if it names something to be explained; else nothing."""
    k = next(k for k, word in enumerate(arguments) if word in ("--help", "-h"))
    word = arguments[k + 1] if k + 1 < len(arguments) else ""
    return "" if "=" in word or word.startswith("-") else word


def render_help(command: str, settings_class: type, topic: str = "") -> str:
    """Return the help of a command.

    Args:
        command: The command's name.
        settings_class: Its settings dataclass.
        topic: Empty for one page: groups, and the settings that people use. A group for its choices
            and all of its settings. `all` for everything.

    Raises:
        SettingError: If there is no such group.
    """
    groups = groups_of(command)
    if topic == "all":
        return "\n".join([*_usage(command), *_choices(groups), "", *_section(settings_class, "")])
    sections = _sections(settings_class)
    if topic:
        return "\n".join(_topic(command, settings_class, topic, groups, sections))
    lines = [*_usage(command), *_choices(groups), "", "Settings in everyday use:"]
    for key in EVERYDAY[command]:
        lines += _setting_lines(settings_class, key)
    more = sections or {
        f.name: f for f in dataclasses.fields(settings_class) if f.name not in EVERYDAY[command]
    }
    how = "each group on a page of its own" if sections else "one by one"
    example = "GROUP" if sections else "NAME"
    lines += ["", f"More settings, {how} (python {command}.py --help {example}):"]
    for name, field in more.items():
        lines += _wrapped(f"  {name:<15} ", field.metadata.get("help", ""), " " * 18)
    lines += [
        "",
        f"python {command}.py --help all lists every setting. Hydra's own flags work too: --cfg "
        "job prints the",
        "composed settings, --multirun sweeps, --hydra-help lists the rest.",
    ]
    return "\n".join(lines)


def _usage(command: str) -> list[str]:
    return [f"usage: python {command}.py KEY=VALUE ...", "", f"  {_EXAMPLES[command]}"]


def _choices(groups: dict[str, list[str]]) -> list[str]:
    if not groups:
        return []
    more = ", or +experiment=NAME" if "experiment" in groups else ""
    lines = ["", f"Groups (choose with GROUP=NAME{more}):"]
    for group, names in groups.items():
        lines += _wrapped(f"  {group:<12}", ", ".join(names), " " * 14)
    return lines


def _topic(
    command: str,
    settings_class: type,
    topic: str,
    groups: dict[str, list[str]],
    sections: dict[str, dataclasses.Field[Any]],
) -> list[str]:
    lines: list[str] = []
    if topic in groups:
        how = f"+{topic}" if topic == "experiment" else topic
        lines += [f"{how}=NAME, one of:"]
        for name in groups[topic]:
            lines += _wrapped(
                f"  {name:<23}", _first_sentence(GROUPS_PATH / topic / f"{name}.yaml"), " " * 25
            )
        lines += [""]
    if topic in sections:
        return [*lines, *_section(settings_class, topic)]
    types = field_types(settings_class)
    if topic in types:
        return [*lines, *_setting_lines(settings_class, topic)]
    if not lines:
        known = sorted({*groups, *sections, *types})
        close = difflib.get_close_matches(topic, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise SettingError(
            f"--help {topic}: no such group or setting of {command}.py.{hint} "
            f"{_pages(command, sorted({*groups, *sections}))}"
        )
    return lines[:-1]


def _pages(command: str, groups: list[str]) -> str:
    if not groups:
        return f"It has no groups; python {command}.py --help lists its settings."
    return f"Groups: {', '.join(groups)}, all."


def _first_sentence(path: Path) -> str:
    comment = [
        line[1:].strip()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]
    text = " ".join(line for line in comment if not line.startswith("@package"))
    return text.split(". ")[0].rstrip(".:")


def _sections(settings_class: type, prefix: str = "") -> dict[str, dataclasses.Field[Any]]:
    """Groups of settings at any depth: full name -> the field that holds them."""
    fields: dict[str, dataclasses.Field[Any]] = {}
    hints = typing.get_type_hints(settings_class)
    for field in dataclasses.fields(settings_class):
        if dataclasses.is_dataclass(hints[field.name]):
            fields[prefix + field.name] = field
            fields |= _sections(typing.cast(type, hints[field.name]), f"{prefix}{field.name}.")
    return fields


def _owner(settings_class: type, key: str) -> tuple[type, str]:
    """The dataclass that holds a setting, and its name there."""
    for part in key.split(".")[:-1]:
        settings_class = typing.get_type_hints(settings_class)[part]
    return settings_class, key.split(".")[-1]


def _section(settings_class: type, name: str) -> list[str]:
    """All settings of a group and of the groups in it; of everything, where the name is empty."""
    prefix = f"{name}." if name else ""
    owner, _ = _owner(settings_class, prefix + "x")
    hints = typing.get_type_hints(owner)
    title = (
        _sections(settings_class)[name].metadata.get("help", "") if name else "the command itself"
    )
    lines = [f"{name or 'Settings'} ({title}):"]
    nested: list[str] = []
    for field in dataclasses.fields(owner):
        if dataclasses.is_dataclass(hints[field.name]):
            nested += ["", *_section(settings_class, prefix + field.name)]
        else:
            lines += _setting_lines(settings_class, prefix + field.name)
    return lines + nested


def _setting_lines(settings_class: type, key: str) -> list[str]:
    """A setting with its default, its meaning below; nothing for an old name of another."""
    owner, name = _owner(settings_class, key)
    field = next(f for f in dataclasses.fields(owner) if f.name == name)
    if "old" in field.metadata:
        return []
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    shown = "  (required)" if default == MISSING else f"={_yaml(default)}"
    return [f"  {key}{shown}", *_wrapped(" " * 6, field.metadata.get("help", ""), " " * 6)]


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def _wrapped(head: str, text: str, indent: str) -> list[str]:
    return textwrap.wrap(head + text, 100, subsequent_indent=indent, break_on_hyphens=False)
