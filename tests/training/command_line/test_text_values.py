"""Text settings are taken as they were typed: numbers, words of YAML, any alphabet, signs of the
grammar.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from data_tools.core.errors import SettingError
from tests.helpers.settings_classes import COMMANDS
from training.command_line.configure import compose, load_object, run_command
from training.command_line.setting_names import field_types
from training.command_line.text_values import as_typed, split_outside
from training.settings import TrainSettings

# Texts that stand for something: each is one of a few words.
CHOICES = {
    *(
        "kind",
        "box",
        "assign",
        "scores",
        "norm",
        "schedule",
        "schedule_to",
        "decay",
        "lr_scaling",
        "head",
        "model",
        "device",
        "check",
    ),
    *(
        "precision",
        "depthwise",
        "norms",
        "jit_level",
        "nonfinite",
        "worker_kind",
        "last_batch",
        "sampler",
        "exif",
        "box_order",
        "format",
    ),
    *("yolo_lines", "hashes", "engine", "optim.name"),
    *("check_model", "padding", "rectifier", "tail", "larger_square", "names", "if_unavailable"),
}
TEXTS = [
    *("1.10", "2024_05_01", "20240501_101500", "1e3", "007", "0x10", "1_000", "-5", "+1", ".5"),
    *("12:30", "true", "False", "yes", "on", "inf", "NaN", "~", "~/x", "a~b", "0b1"),
    *("/x/数据集", "été", "Größe", "データ", "猫", "кот", "خانه", "می‌خواهم", "emoji 🐈‍⬛"),
    "a\u3000b",
    *("a b", " a", "a ", "a, b", "a,b", "a=b", "k=v,w=[x]", "[1]", "[a", "a]", "{a}", "{a: b}"),
    *("(1)", "it's", 'say "hi"', "'", '"', "a'", "\"a' b", "C:\\data\\new", "a\\"),
    *("a\\\\", "a\\'b", "\\'", "a:b"),
    *("#1", "a #b", "%d", "@x", "&x", "*x", "!x", "|", ">", "?", "-", "a$b", "$HOME", "a;b", "`x`"),
    *("int(3)", "choice(a,b)", "glob(*)", "str(1)", "null_", "nulls", "undefined"),
]  # fmt: skip


def text_keys(command: str, *, lists: bool) -> list[str]:
    import typing

    from training.command_line.error_words import hint_of

    settings_class = load_object(COMMANDS[command])
    kind = list[str] if lists else str
    keys = []
    for key in field_types(settings_class):
        hint = hint_of(settings_class, key)
        if hint in (kind, typing.Optional[kind]) and not {key, key.split(".")[-1]} & CHOICES:
            keys.append(key)
    return keys


def value_at(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = settings[part] if isinstance(settings, dict) else getattr(settings, part)
    return settings


def free_texts(command: str) -> list[str]:
    """Text settings whose text is free: paths, names, addresses."""
    keys = text_keys(command, lists=False)
    # One mode at a time, one source of first weights at a time; a policy is a word.
    left_out = (
        "detections",
        "compare",
        "merge",
        "verify",
        "preview",
        "upgrade",
        "unpack",
        "init.backbone",
    )
    words = ("policy.", "runtime.", "augment.", "model.")
    keys = [k for k in keys if k not in left_out and not k.startswith(words)]
    return [*keys, "dataset.splits.train.images"] if command == "convert" else keys


@pytest.mark.parametrize("command", COMMANDS)
def test_every_text_setting_takes_every_text_as_typed(command: str) -> None:
    keys = free_texts(command)
    assert len(keys) >= 4
    for start in range(0, len(TEXTS), len(keys)):
        texts = dict(zip(keys, TEXTS[start : start + len(keys)], strict=False))
        settings = compose(command, COMMANDS[command], [f"{k}={text}" for k, text in texts.items()])
        assert {key: value_at(settings, key) for key in texts} == texts


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("[1.10]", ["1.10"]),
        ("[猫, кот,true ,null, 1e3]", ["猫", "кот", "true", "null", "1e3"]),
        ("[it's, don't]", ["it's", "don't"]),
        ("['a, b', \"c]\", 'd']", ["a, b", "c]", "d"]),
        ("[traffic light,fire hydrant]", ["traffic light", "fire hydrant"]),
        ("[*bias,backbone.*, ?x]", ["*bias", "backbone.*", "?x"]),
        ("[a[1], {b}]", ["a[1]", "{b}"]),
        ("[a=b, c:d, #e, (f), /x/y]", ["a=b", "c:d", "#e", "(f)", "/x/y"]),
        ("[]", []),
        ("[ ]", []),
        ("['']", [""]),
        ("['1.10', \"true\"]", ["1.10", "true"]),
    ],
)
def test_lists_of_texts_are_taken_as_typed(typed: str, names: list[str]) -> None:
    assert (
        compose("predict", COMMANDS["predict"], ["checkpoint=a", f"classes={typed}"]).classes
        == names
    )
    key = "optim.freeze"
    assert compose("train", COMMANDS["train"], [f"{key}={typed}"]).optim.freeze == names


@pytest.mark.parametrize(
    ("typed", "merged"),
    [
        ("{1.10: [true, 1e3], 猫: [кот]}", {"1.10": ["true", "1e3"], "猫": ["кот"]}),
        ("{'a, b': ['c: d'], \"e:f\": [g]}", {"a, b": ["c: d"], "e:f": ["g"]}),
        (
            "{it's: [x y], true: [false], 007: [a]}",
            {"it's": ["x y"], "true": ["false"], "007": ["a"]},
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_mappings_keep_names_and_texts_as_typed(
    typed: str, merged: dict[str, list[str]], prefix: str
) -> None:
    command = ("convert", COMMANDS["convert"])
    assert compose(*command, [f"{prefix}dataset.merge={typed}"]).dataset.merge == merged
    one_by_one = [f"{prefix}dataset.merge.{name}={['x', 'y']}" for name in merged]
    expected = {name: ["x", "y"] for name in merged}
    assert compose(*command, one_by_one).dataset.merge == expected


def test_numbers_keep_their_names_and_stay_numbers() -> None:
    given = ["optim.lr_factors={*.bias: 2, 1.10: 1e-3}", "optim.lr_factors.頭.*=3", "seed=1_0"]
    settings: TrainSettings = compose("train", COMMANDS["train"], given)
    assert settings.optim.lr_factors == {"*.bias": 2.0, "1.10": 0.001, "頭.*": 3.0}
    assert settings.seed == 10


def test_settings_given_as_one_mapping_keep_their_texts() -> None:
    given = (
        "dataset={root: 1.10, classes: [1.0, 猫], splits: {train: {images: 2024_05_01, count: 3}}}"
    )
    dataset = compose("convert", COMMANDS["convert"], [given]).dataset
    assert (dataset.root, dataset.classes) == ("1.10", ["1.0", "猫"])
    assert (dataset.splits["train"].images, dataset.splits["train"].count) == ("2024_05_01", 3)


def test_what_quotes_around_all_of_a_text_and_null_mean() -> None:
    settings = compose("train", COMMANDS["train"], ["data='a, b'", 'output="1.10"', "replay=null"])
    assert (settings.data, settings.output, settings.replay) == ("a, b", "1.10", None)
    # Where nothing may be left out, `null` is a name like any other.
    assert compose("train", COMMANDS["train"], ["data=null"]).data == "null"
    assert compose("train", COMMANDS["train"], ["data=''", "output='it\\'s'"]).output == "it's"


def test_other_settings_are_still_filled_in() -> None:
    settings = compose("train", COMMANDS["train"], ["data=1.10", "output=runs/${data} (2)"])
    assert settings.output == "runs/1.10 (2)"


def test_random_texts_come_back_as_typed() -> None:
    signs = "'\"\\,:[]{}()=+~@#$%&*|<>?! .-_aé猫1"
    generator = random.Random(7)
    texts = ["".join(generator.choices(signs, k=generator.randint(1, 12))) for _ in range(150)]
    texts = [t for t in texts if "${" not in t and (t[0] not in "'\"" or t[-1] != t[0])]
    assert len(texts) > 100
    parser = OverridesParser.create()
    for text in texts:
        assert parser.parse_override(f"data={as_typed(str, text)}").value() == text
    for text in texts[:40]:
        quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        if "\\" not in text:
            assert split_outside(f"{quoted}, x") == [quoted, "x"]


@pytest.mark.parametrize("typed", ["[a, b", "[a, [b]", "a", "[{a: b}, [c]"])
def test_lists_of_a_wrong_form_are_refused_with_what_was_typed(typed: str) -> None:
    with pytest.raises(SettingError) as caught:
        compose("train", COMMANDS["train"], [f"optim.freeze={typed}"])
    assert typed.strip("[]")[:3] in str(caught.value)


def test_the_runs_of_a_sweep_take_their_texts_as_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", "-m", "data=1.10,猫,'a, b'", "seed=1,2"])
    run_command("train", COMMANDS["train"], f"{__name__}:print_data")
    told = capsys.readouterr().out
    assert [line for line in told.splitlines() if line.startswith("data ")] == [
        f"data {data!r} {seed}" for data in ("1.10", "猫", "a, b") for seed in (1, 2)
    ]


def print_data(settings: TrainSettings) -> None:
    print(f"data {settings.data!r} {settings.seed}")


def test_printed_settings_show_names_as_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "convert.py",
        "--cfg",
        "job",
        "dataset=shapes",
        "dataset.merge={猫 a: [1.10]}",
        "out=007",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    run_command("convert", COMMANDS["convert"], "no_such_module:run")
    told = capsys.readouterr().out
    assert "猫 a:" in told and "'1.10'" in told and "out: '007'" in told


@pytest.mark.parametrize(
    "words", [["--info", "defaults"], ["-i", "searchpath"], ["--info=plugins"], ["--info"]]
)
def test_what_hydra_knows_can_be_asked(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    run_command("train", COMMANDS["train"], "no_such_module:run")
    assert capsys.readouterr().out.strip()


def test_texts_in_files_of_ones_own_are_taken_as_typed(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\noutput: 1.10\ndata: on\nepochs: 1e1\nseed: 007\nresume: no\n"
        "init: {checkpoint: null, backbone: 2024_05_01}\n"
        "optim: {lr: 1e-2, lr_factors: {backbone: 0.10}, betas: [0.90, 0.9990]}\n"
        "model: {anchors: {steps: [], aspect_ratios: [[2.0, 3.00]]}}\n"
    )
    search = f"hydra.searchpath=[file://{tmp_path}]"
    settings = compose("train", "training.settings:TrainSettings", ["+experiment=mine", search])
    assert (settings.output, settings.data) == ("1.10", "on")
    assert (settings.epochs, settings.seed, settings.resume) == (10.0, 7, False)
    assert settings.init.checkpoint is None and settings.init.backbone == "2024_05_01"
    assert settings.optim.lr == 0.01 and settings.optim.lr_factors == {"backbone": 0.1}
    assert settings.optim.betas == [0.9, 0.999]
    assert settings.model.anchors.aspect_ratios == [[2.0, 3.0]]


def test_names_in_a_dataset_file_of_ones_own_are_taken_as_typed(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(
        "defaults: [coco]\nroot: 1e3\nclasses: [1.10, off, 012, 猫]\n"
        "merge: {1.10: [12:30, true]}\n",
        encoding="utf-8",
    )
    search = f"hydra.searchpath=[file://{tmp_path}]"
    overrides = ["dataset=mine", "out=/x", search]
    dataset = compose("convert", "data_tools.convert.settings:ConvertSettings", overrides).dataset
    assert (dataset.root, dataset.classes) == ("1e3", ["1.10", "off", "012", "猫"])
    assert dataset.merge == {"1.10": ["12:30", "true"]}
