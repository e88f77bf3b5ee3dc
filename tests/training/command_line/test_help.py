"""`--help`: one page of what people use, a page a group, everything on demand."""

from __future__ import annotations

import dataclasses
import re

import pytest

from data_tools.core.errors import SettingError
from tests.helpers.settings_classes import COMMANDS
from training.command_line.configure import load_object, run_command
from training.command_line.help_text import EVERYDAY, render_help
from training.command_line.setting_names import field_types, groups_of
from training.settings import TrainSettings


def page(command: str, topic: str = "") -> str:
    return render_help(command, load_object(COMMANDS[command]), topic)


def shown_keys(text: str) -> list[str]:
    return re.findall(r"^  ([\w.]+)(?:=|  \(required\))", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_first_page_has_the_everyday_settings_and_names_every_group(command: str) -> None:
    text = page(command)
    assert shown_keys(text) == list(EVERYDAY[command])
    assert len(EVERYDAY[command]) <= 20 and len(text.splitlines()) <= 80
    assert max(map(len, text.splitlines())) <= 100
    for field in dataclasses.fields(load_object(COMMANDS[command])):
        if dataclasses.is_dataclass(field.type) or f"{field.name}." in " ".join(
            field_types(load_object(COMMANDS[command]))
        ):
            assert re.search(rf"^  {field.name} ", text, re.MULTILINE), field.name


@pytest.mark.parametrize("command", COMMANDS)
def test_all_lists_every_setting_once_without_old_names(command: str) -> None:
    settings_class = load_object(COMMANDS[command])
    leaves = [
        k for k, kind in field_types(settings_class).items() if not dataclasses.is_dataclass(kind)
    ]
    expected = [k for k in leaves if (command, k) != ("train", "workers")]
    assert sorted(shown_keys(page(command, "all"))) == sorted(expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_groups_are_those_that_can_be_chosen(command: str) -> None:
    expected = {
        "train": {"augment", "experiment", "loss", "model", "optim", "runtime"},
        "convert": {"dataset"},
    }.get(command, set())
    assert set(groups_of(command)) == expected
    for group, names in groups_of(command).items():
        text = page(command, group)
        assert all(re.search(rf"^  {name} +\S", text, re.MULTILINE) for name in names)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_says_its_default_twice(command: str) -> None:
    assert not re.search(r"\b(\w+): \1:", page(command, "all"))


def test_a_group_of_a_group_a_setting_and_a_misspelt_one() -> None:
    assert shown_keys(page("train", "model.anchors"))[0] == "model.anchors.kind"
    assert shown_keys(page("train", "optim.lr")) == ["optim.lr"]
    with pytest.raises(SettingError, match=r"--help los: no such group .* Did you mean loss"):
        page("train", "los")


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_command_without_groups_names_its_other_settings(command: str) -> None:
    text = page(command)
    for key in field_types(load_object(COMMANDS[command])):
        assert re.search(rf"^  {key}\b", text, re.MULTILINE), key
    with pytest.raises(SettingError) as caught:
        page(command, "foo")
    assert str(caught.value) == (
        f"--help foo: no such group or setting of {command}.py. It has no groups; "
        f"python {command}.py --help lists its settings."
    )


def test_the_command_line_takes_the_group_behind_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, shown in (
        (["--help", "policy"], "policy.box_outside=clip"),
        (["dataset=coco", "--help"], "Settings in everyday use"),
        (["-h", "all"], "dataset.split_seed=0"),
    ):
        monkeypatch.setattr("sys.argv", ["convert.py", *words])
        run_command("convert", COMMANDS["convert"], "nothing:here")
        assert shown in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["convert.py", "--help", "model"])
    with pytest.raises(SystemExit) as stop:
        run_command("convert", COMMANDS["convert"], "nothing:here")
    assert stop.value.code == 1 and "no such group" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key",
    [
        *("augment.mosaic_probability", "augment.copy_paste_probability", "augment.sizes"),
        *("augment.mixup_probability", "augment.erase_probability", "pipeline.sampler"),
        *("loss.kind", "loss.box", "model.assign", "model.box_bins", "optim.name"),
        "optim.schedule",
    ],
)
def test_what_was_published_names_its_source(key: str) -> None:
    group, name = key.split(".")
    (part,) = (f for f in dataclasses.fields(TrainSettings) if f.name == group)
    fields = dataclasses.fields(type(part.default_factory()))  # type: ignore[misc]
    (field,) = (f for f in fields if f.name == name)
    assert re.search(r"arXiv:\d{4}\.\d{5}", field.metadata["help"])
