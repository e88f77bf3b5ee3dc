"""The launcher's command line and what it would start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data_tools.core.errors import SettingError
from tests.helpers.run_helpers import make_set
from training.launch.__main__ import main
from training.launch.job import Job, check_binding, parse
from training.learning import training_network
from training.process.world import World
from training.run.preflight import deadline, disagreements, may_differ


def test_a_dry_run_prints_the_job_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "data", 4, 2)
    output = tmp_path / "run"
    arguments = ["8", "--nodes", "2", "--node-rank", "1", "--master", "10.0.0.1", "--port", "9000"]
    settings = ["+experiment=coco", f"data={tmp_path / 'data'}", f"output={output}", "batch_size=2"]
    assert main([*arguments, "--dry-run", *settings]) == 0
    text = capsys.readouterr().out
    for part in (
        "machine 1 of 2: ranks 8 to 15 of 16 on CPU",
        "global batch 32 = 16 x 2",
        "--worker_num=16 --local_worker_num=8 --master_addr=10.0.0.1 --master_port=9000 "
        "--node_rank=1",
        f"--log_dir={output}/ranks",
        "train.py +experiment=coco",
    ):
        assert part in text
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["0"], "devices=0: must be at least 1"),
        (
            ["2", "--nodes", "2", "--node-rank", "2"],
            "--node-rank 2: must be 0 or more and below --nodes (2)",
        ),
        (["2", "--prot", "1"], "unknown option --prot"),
        (["many"], "invalid int value"),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parse(arguments)
    assert left.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("batch_sise=2", "batch_sise: no such setting"),
        ("data=/nowhere", "no such folder"),
        ("data=/nowhere", "Make one with"),
        ("replay=x.json", "run on one device"),
    ],
)
def test_settings_are_checked_before_anything_starts(
    setting: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["2", "data=/nowhere", setting]) == 1
    assert words in capsys.readouterr().err


def test_an_earlier_run_is_not_mixed_with_a_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "data", 4, 2)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text("")
    assert main(["2", f"data={tmp_path / 'data'}", f"output={tmp_path / 'run'}"]) == 1
    assert (
        "holds an earlier run (log.jsonl). Go on with it (resume=true)" in capsys.readouterr().err
    )


def test_a_rank_table_is_passed_on() -> None:
    command = Job(devices=2, rank_table="table.json").command()
    assert "--rank_table_file=table.json" in command


def test_ranks_are_bound_as_msrun_can(capsys: pytest.CaptureFixture[str]) -> None:
    for option, word in (("--bind-cores", "--bind_core=True"), ("--bind-numa", "--bind_numa=True")):
        options, _ = parse(["2", option])
        job = Job(devices=2, bind=options.bind, device="Ascend")
        assert word in job.command()
        told = job.environment("J", "S")
        assert told["SSD_BOUND_RANKS"] == "1"
    options, _ = parse(["2"])
    assert not [word for word in Job(devices=2, bind=options.bind).command() if "bind" in word]
    with pytest.raises(SystemExit):
        parse(["2", "--bind-cores", "--bind-numa"])
    with pytest.raises(SettingError, match=r"--bind-cores: 4096 ranks and \d+ cores"):
        check_binding(Job(devices=4096, bind="core"))


def test_ranks_on_cards_get_the_time_that_hccl_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MS_NODE_TIMEOUT", raising=False)
    assert Job(devices=2).environment("J", "S")["MS_NODE_TIMEOUT"] == "20"
    assert Job(devices=2, device="Ascend").environment("J", "S")["MS_NODE_TIMEOUT"] == "120"
    monkeypatch.setenv("MS_NODE_TIMEOUT", "77")
    assert Job(devices=2, device="Ascend").environment("J", "S")["MS_NODE_TIMEOUT"] == "77"


def test_a_bound_rank_counts_its_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_network, "core_count", lambda: 8)
    monkeypatch.setenv("SSD_LOCAL_RANKS", "4")
    assert training_network.cores_of_rank() == 2
    monkeypatch.setenv("SSD_BOUND_RANKS", "1")
    assert training_network.cores_of_rank() == 8


def test_the_script_shows_its_help_from_anywhere(repository: Path, tmp_path: Path) -> None:
    script = repository / "run_distribute_train.sh"
    done = subprocess.run(
        ["bash", str(script), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
    )  # fmt: skip
    assert "--node-rank" in done.stdout


def test_relative_paths_are_those_of_the_users_folder(repository: Path, tmp_path: Path) -> None:
    make_set(tmp_path / "sh", 4, 2)
    (tmp_path / "training").mkdir()  # of the user's own: must not hide the package
    (tmp_path / "training" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    done = subprocess.run(
        ["bash", str(repository / "run_distribute_train.sh"), "2", "data=sh", "output=rx",
         "--dry-run"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "output rx, logs rx/ranks/worker_<rank>.log" in done.stdout
    assert f"{repository}/train.py data=sh output=rx" in done.stdout


def test_the_odd_rank_is_named() -> None:
    facts = [{"seed": "1", "rows": "9"}, {"seed": "1", "rows": "9"}, {"seed": "1", "rows": "8"}]
    assert disagreements(facts) == ["rank 2: rows is 8, on the other ranks 9"]
    assert disagreements(facts[:2]) == []
    assert disagreements([{"a": "1"}, {}]) == ["rank 1: a is absent, on the other ranks 1"]


def test_ranks_may_keep_the_same_files_in_other_places() -> None:
    own = ("data", "init.checkpoint", "init.backbone", "pipeline.workers", "log.pictures")
    assert all(may_differ(key) for key in own)
    common = ("seed", "init.head", "init.sha256", "data_x", "pipeline.prefetch", "output")
    assert not any(may_differ(key) for key in common)


def test_a_preflight_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left, codes = threading.Event(), []

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    monkeypatch.setattr(os, "_exit", leave)
    with deadline(60, World(1, 2)):
        pass
    with deadline(0.05, World(1, 2)):
        assert left.wait(10)  # a collective whose partner never comes
    assert codes == [1]
    assert "preflight: rank 1 waited 0.05 s for the other ranks" in capsys.readouterr().err
