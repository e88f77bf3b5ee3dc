"""From the command line to typed settings: what is accepted, what is refused, in which words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_tools.core.errors import SettingError, UserError
from tests.helpers.settings_classes import COMMANDS
from training.command_line.configure import compose, load_object, run_command
from training.command_line.overrides import prepare_overrides
from training.command_line.setting_names import (
    GROUPS_PATH,
    group_choices,
    settings_named_as_groups,
)
from training.settings import TrainSettings

TRAIN = ("train", "training.settings:TrainSettings")
REQUIRED = {
    "eval": ["checkpoint=a.ckpt", "data=d"],
    "predict": ["checkpoint=a.ckpt", "images=d"],
    "export": ["checkpoint=a.ckpt", "out=a.onnx"],
}


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=repository, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    settings = compose(command, COMMANDS[command], REQUIRED.get(command, []))
    assert type(settings).__name__ == COMMANDS[command].split(":")[1]


NAMED_AS_GROUPS = [
    (command, name)
    for command in COMMANDS
    for name in sorted(settings_named_as_groups(command, load_object(COMMANDS[command])))
]


@pytest.mark.parametrize(("command", "name"), NAMED_AS_GROUPS)
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_setting_with_the_name_of_another_commands_group_can_be_set(
    command: str, name: str, prefix: str
) -> None:
    words = [*REQUIRED[command], f"{prefix}{name}=ssd_light"]
    assert getattr(compose(command, COMMANDS[command], words), name) == "ssd_light"
    assert getattr(compose(command, COMMANDS[command], REQUIRED[command]), name) is None
    assert compose(*TRAIN, ["model=ssd_light"]).model.name == "ssd_light"  # there it is a group


@pytest.mark.parametrize("command", ["eval", "predict", "export"])
def test_such_a_setting_is_set_by_the_command_too(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (command, "model") in NAMED_AS_GROUPS
    words = ["--cfg", "job", *REQUIRED[command], "model=ssd_light"]
    monkeypatch.setattr("sys.argv", [f"{command}.py", *words])
    run_command(command, COMMANDS[command], "no_such_module:run")
    assert "\nmodel: ssd_light\n" in capsys.readouterr().out


def test_a_group_of_another_command_is_no_setting() -> None:
    for word in ("loss=focal", "+loss=focal", "+experiment=coco", "weights=ssd300"):
        with pytest.raises(SettingError, match=r"(loss|experiment|weights): no such setting"):
            compose("predict", COMMANDS["predict"], [*REQUIRED["predict"], word])


@pytest.mark.parametrize("name", [path.stem for path in GROUPS_PATH.glob("experiment/*.yaml")])
def test_every_experiment_composes(name: str) -> None:
    # The checkpoint that fine-tuning asks for; it is not opened here.
    settings = compose(*TRAIN, [f"+experiment={name}", "checkpoint=any.ckpt"])
    assert settings.epochs > 0
    header = (GROUPS_PATH / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert f"+experiment={name}" in header or f"make {name}" in header, "say how it is run"


@pytest.mark.parametrize(
    "group", [g for g in group_choices() if g in ("model", "loss", "augment", "optim", "runtime")]
)
def test_every_choice_of_every_group_composes(group: str) -> None:
    for choice in group_choices()[group]:
        device = ["runtime=ascend"] if choice == "ascend" else []
        compose(*TRAIN, [f"{group}={choice}", *device])


def test_the_published_recipe_is_what_was_published() -> None:
    s = compose(*TRAIN, ["+experiment=coco"])
    assert (s.model.name, s.batch_size, s.epochs) == ("ssd300", 32, 500)
    assert list(s.model.image_size) == [300, 300]
    assert (s.optim.lr, s.optim.momentum, s.optim.weight_decay) == (0.05, 0.9, 1.5e-4)
    assert (s.optim.warmup_epochs, s.optim.warmup_lr) == (2, 0.001)
    assert (s.optim.schedule, s.optim.final_ratio, s.optim.decay) == ("cosine", 0.001, "all")
    assert (s.loss.gamma, s.loss.alpha) == (2, 0.75)
    assert s.evaluate_every_epochs > 0
    assert s.checkpoint.every_epochs > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", r"optim\.lrr: no such setting. Did you mean optim\.lr\b"),
        ("max_step=1", "max_step: no such setting. Did you mean max_steps"),
        ("momentum=0.5", "momentum: no such setting. Did you mean .*optim.momentum"),
        ("experiment=coco", r"write \+experiment="),
        ("seed", "expected KEY=VALUE"),
        ("seed=-1", "seed=-1: expected 0 <= seed"),
        ("seed=abc", "seed=abc: expected a whole number"),
        ("preview=1000000000", r"preview=1000000000: expected a count 0\.\.10000"),
        ("epochs=inf", "epochs=inf: expected a finite number"),
        ("epochs=1e400", "epochs=inf: expected a finite number"),
        ("optim.milestones=[1,inf]", "optim.milestones=inf: expected a finite number"),
        (f"batch_size={10**30}", "batch_size=1000.*: expected a whole number of at most 64 bits"),
        ("seed=[1]", r"seed=\[1\]: expected a whole number"),
        ("resume=maybe", "resume=maybe: expected true or false"),
        ("optim.freeze=all", r"optim.freeze=all: expected a list, such as \[a,b\]"),
        ("optim=true", r"optim=true: expected one of"),
        ("model.anchors=3", r"model.anchors=3: expected settings of its own \(kind, steps"),
        ("seed={", "seed={: expected a whole number"),
        ("seed=~/x", "seed=~/x: expected a whole number"),
        ("data=${nope}", r"data=\$\{nope\}: .*'nope'.*takes the value of another setting"),
        ("seed=${data}", r"seed=\$\{data\}: .*takes the value of another setting"),
        ("+model=ssd300", "model: is chosen already. Leave out the"),
        ("data=a\x1b[1m", r"data=a\\x1b\[1m: holds characters that are no text"),
        ("data=a\nb", "holds characters that are no text"),
        ("data=\udcff", "holds characters that are no text"),
        ("model=ssd301", r"model=ssd301: expected one of ssd300, .*Did you mean ssd300"),
        ("augment=strong", r"augment=strong: expected one of light, none, paper, published\."),
        ("+experiment=coc", r"experiment=coc: expected one of coco, .*Did you mean coco"),
        ("optim.momentum=1.5", "optim.momentum=1.5: expected 0 <= momentum < 1"),
        ("runtime.device=GPU", "runtime.device='GPU': expected one of CPU, Ascend"),
    ],
)
def test_what_is_refused_and_how(override: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        compose(*TRAIN, [override])


def test_a_typo_in_an_experiment_file_is_an_error(tmp_path: Path) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException

    ConfigStore.instance().store(name="train_schema", node=TrainSettings)
    extra = tmp_path / "experiment"
    extra.mkdir()
    (extra / "typo.yaml").write_text("# @package _global_\noptim:\n  lrr: 1\n")
    with (
        initialize_config_dir(str(GROUPS_PATH), version_base="1.3"),
        pytest.raises(HydraException) as caught,
    ):
        hydra_compose("train", ["+experiment=typo", f"hydra.searchpath=[file://{tmp_path}]"])
    assert "lrr" in str(caught.value) + str(caught.value.__cause__)


def test_the_message_of_a_typo_in_a_file_of_ones_own_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "mine.yaml").write_text("lrr: 1\n")
    search = f"hydra.searchpath=[file://{tmp_path}]"
    with pytest.raises(SettingError, match=r"In 'optim/mine': .*Key 'lrr' not in 'OptimSettings'"):
        compose(*TRAIN, ["optim=mine", search])


def test_paths_as_people_have_them() -> None:
    odd = "/data/my set (2), v=1/größe's"
    settings = compose(*TRAIN, [f"data={odd}", "checkpoint=/a b/c.ckpt"])
    assert settings.data == odd
    assert settings.init.checkpoint == "/a b/c.ckpt"
    assert compose(*TRAIN, ["init.checkpoint=null"]).init.checkpoint is None


def test_free_keys_of_dicts_and_groups_pass() -> None:
    prepared = prepare_overrides(
        "train",
        TrainSettings,
        ["+optim.lr_factors.feature=0.1", "model=ssd300", "hydra.verbose=true"],
    )
    assert prepared.overrides == [
        "+optim.lr_factors={feature: 0.1}",
        "model=ssd300",
        "hydra.verbose=true",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_settings_without_heavy_imports(repository: Path, command: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['{command}.py', '--help'];"
        f"runpy.run_path('{command}.py', run_name='__main__');"
        "heavy = {'mindspore', 'numpy', 'hydra', 'omegaconf', 'yaml', 'cv2', 'PIL', 'msgspec', "
        "'matplotlib', 'pycocotools', 'onnx', 'onnxruntime', 'tensorboardX'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = run(repository, "-c", code)
    assert done.returncode == 0, done.stderr
    assert f"usage: python {command}.py" in done.stdout
    key = {"train": "batch_size=32", "convert": "workers=1", "eval": "split=val"}.get(
        command, "batch_size="
    )
    assert key in done.stdout


def test_errors_come_without_a_traceback(repository: Path, tmp_path: Path) -> None:
    for arguments, message in [
        (["train.py", "optim.lrr=1"], "Did you mean optim.lr"),
        (["train.py", f"data={tmp_path}/none", f"output={tmp_path}/run"], "convert.py"),
        (["train.py", "seed=abc"], "seed"),
        (["eval.py"], "checkpoint"),
    ]:
        done = run(repository, *arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()


def test_help_into_a_pipe_that_closes(repository: Path) -> None:
    """`python train.py --help | head -1` must not end in a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            [sys.executable, "train.py", "--help"],
            cwd=repository, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert done.stderr == "" and done.returncode == 0


def test_a_wrong_type_is_said_once() -> None:
    with pytest.raises(SettingError, match=r"^seed=abc: expected a whole number\.$") as caught:
        compose(*TRAIN, ["seed=abc"])
    assert "$VALUE" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resolve"], "error: --resolve model=ssd_tiny: not accepted (The --resolve flag"),
        (["--package"], "error: --package: expected a word behind it"),
        (["--config-dir=/nope"], "error: Additional config directory '/nope' not found"),
        (["hydra.run.dir=${nope}"], "error: hydra.run.dir="),
        (["hydra/launcher=x"], "error: In 'hydra/config': Could not find 'hydra/launcher/x'. L"),
        (["~data"], "error: "),
        (["data=" + "x" * 300], "error: "),
        (["data=a/" + "x" * 9000], "error: "),
        (["output=/dev/null/x", "summary=true", "data=y"], ""),
    ],
)
def test_what_hydra_or_the_system_refuses_is_one_clear_error(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "model=ssd_tiny", *arguments])
    if not message:
        run_command("train", TRAIN[1], "builtins:repr")
        return
    with pytest.raises(SystemExit) as caught:
        run_command("train", TRAIN[1], "training.run.loop:open_training_split")
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert told.startswith(message)
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) < 5


def test_what_the_machine_refuses_is_told_and_our_own_mistakes_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "model=ssd_tiny"])
    for error, message in (
        (OSError(28, "No space left on device", "/a/b"), "error: /a/b: No space left on device. "),
        (MemoryError("12 GiB"), r"error: not enough memory (12 GiB). Use smaller"),
        (UserError("a\x1b[1mb"), r"error: a\x1b[1mb"),
    ):
        monkeypatch.setattr("training.run.loop.run", _raising(error))
        with pytest.raises(SystemExit):
            run_command("train", TRAIN[1], "training.run.loop:run")
        assert capsys.readouterr().err.startswith(message)
    monkeypatch.setattr("training.run.loop.run", _raising(KeyError("ours")))
    with pytest.raises(KeyError, match="ours"):
        run_command("train", TRAIN[1], "training.run.loop:run")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr("training.run.loop.run", _raising(UserError("shown whole")))
    with pytest.raises(UserError, match="shown whole"):
        run_command("train", TRAIN[1], "training.run.loop:run")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


RULE = "-" * 52
STACK = (
    f"\n\n{RULE}\n- C++ Call Stack: (For framework developers)\n{RULE}\nmindspore/ccsrc/a.cc:7 Run"
)
CANN = f"\n\n{RULE}\n- Ascend Error Message:\n{RULE}\nEI0006: Getting socket times out.\n"


def test_a_card_that_fails_is_one_line_and_no_stack_of_mindspore_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "model=ssd_tiny"])
    failed = "Init hccl failed."
    monkeypatch.setattr("training.run.loop.run", _raising(RuntimeError(failed + CANN + STACK)))
    with pytest.raises(SystemExit) as caught:
        run_command("train", TRAIN[1], "training.run.loop:run")
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert told.startswith(
        "error: the card: Init hccl failed. EI0006: Getting socket times out. What the usual"
    )
    assert told.count("\n") == 1
    assert "C++" not in told and "ccsrc" not in told
    # A graph that does not compile is our own mistake, with our traceback and without theirs.
    ours = f"no kernel{STACK}\n{RULE}\n- The Traceback of Net Construct Code:\n{RULE}\nin step.py:3"
    monkeypatch.setattr("training.run.loop.run", _raising(TypeError(ours)))
    with pytest.raises(TypeError) as mistake:
        run_command("train", TRAIN[1], "training.run.loop:run")
    assert "in step.py:3" in str(mistake.value) and "ccsrc" not in str(mistake.value)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr("training.run.loop.run", _raising(TypeError(ours)))
    with pytest.raises(TypeError, match="ccsrc"):
        run_command("train", TRAIN[1], "training.run.loop:run")


def _raising(error: Exception) -> Any:
    def run(settings: Any) -> int:
        raise error

    return run


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--cfg=job"], ["-c", "job"], ["-c=job"]])
def test_the_composed_settings_can_be_printed(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", *flags, "seed=77"])
    run_command("train", TRAIN[1], "no_such_module:run")
    assert "seed: 77" in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "+", "++"])
@pytest.mark.parametrize(
    "form", ["dataset.merge={a b: [ring, star]}", "dataset.merge.x=[ring, star]"]
)
def test_names_of_ones_own_are_taken_with_and_without_a_plus(prefix: str, form: str) -> None:
    settings = compose("convert", COMMANDS["convert"], ["dataset=shapes", prefix + form])
    assert list(settings.dataset.merge.values()) == [["ring", "star"]]


def test_a_factor_of_a_file_is_replaced_and_another_added() -> None:
    given = [
        "+experiment=finetune",
        "checkpoint=any.ckpt",
        "optim.lr_factors={backbone: 1e-3, neck: 2}",
    ]
    assert compose(*TRAIN, given).optim.lr_factors == {"backbone": 1e-3, "neck": 2}


@pytest.mark.parametrize(
    ("command", "override", "form"),
    [
        ("convert", "+dataset.merge=3", "'+dataset.merge={vehicle: [car, bus]}'"),
        ("convert", "dataset.merge=[a,b]", "dataset.merge={NAME: [NAME, ...], ...}"),
        ("convert", "+dataset.merge={cell: a}", "dataset.merge.NAME=[NAME, ...]"),
        ("convert", "dataset.merge.cell=a", "dataset.merge.NAME=[NAME, ...]"),
        ("convert", "+dataset.merge={x: {y: z}}", "dataset.merge={NAME: [NAME, ...], ...}"),
        ("train", "optim.lr_factors=0.1", "'+optim.lr_factors={backbone: 0.1}'"),
        ("train", "+optim.lr_factors={backbone: slow}", "optim.lr_factors.NAME=NUMBER"),
    ],
)
def test_a_wrong_form_is_one_clear_line(command: str, override: str, form: str) -> None:
    with pytest.raises(SettingError) as caught:
        compose(command, COMMANDS[command], [override])
    assert str(caught.value).startswith(f"{override.lstrip('+')}: expected ")
    assert form in str(caught.value)
    assert "\n" not in str(caught.value)
