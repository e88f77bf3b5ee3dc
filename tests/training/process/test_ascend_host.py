"""What a host of Ascend cards has and lacks, on faked files: driver, CANN, packages, npu-smi's
tables.
"""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from training.commands.report import ascend_report
from training.process import ascend_host
from training.process.ascend_checks import check_host, first_obstacle
from training.process.ascend_host import (
    AscendHost,
    CardUse,
    chosen_cards,
    look_at_host,
    number_on_host,
    parse_cards,
    versions_of_host,
)

TABLES = """
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.rc3                 Version: 24.1.rc3                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B2               | OK            | 90.1        36                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3161 / 65536         |
+===========================+===============+====================================================+
| 1     910B2               | Alarm         | 93.0        37                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          40000/ 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| No running processes found in NPU 0                                                            |
+===========================+===============+====================================================+
| 1       0                 | 4711          | python                   | 36900                   |
+===========================+===============+====================================================+
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with everything that a host of two cards should have."""
    files = {
        "usr/local/Ascend/driver/version.info": "Version=24.1.rc3\nascendhal_version=7.35.19\n",
        "usr/local/Ascend/firmware/version.info": "Version=7.5.0.1.129\n",
        "opt/cann/compiler/version.info": "Version=8.5.0\n",
        "etc/hccn.conf": "address_0=192.168.100.1\nnetmask_0=255.255.255.0\n",
        "opt/cann/lib64/libascendcl.so": "",
        "usr/lib64/libc.so": "",
        "dev/davinci0": "",
        "dev/davinci1": "",
        "dev/davinci_manager": "",
        "opt/cann/opp/built-in/op_impl/ai_core/tbe/kernel/ascend910b/x.o": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program = tmp_path / "bin" / "npu-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{TABLES}\nEND\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return tmp_path


@pytest.fixture
def environ(root: Path) -> dict[str, str]:
    """What CANN's set_env.sh sets."""
    return {
        "ASCEND_HOME_PATH": "/opt/cann",
        "ASCEND_OPP_PATH": "/opt/cann/opp",
        "LD_LIBRARY_PATH": "/opt/cann/lib64",
        "PATH": f"{root / 'bin'}:/usr/bin:/bin",
    }


@pytest.fixture
def host(root: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AscendHost:
    monkeypatch.setattr(ascend_host, "missing_packages", tuple)
    return look_at_host(root, environ)


def test_a_host_is_read_from_its_files(host: AscendHost) -> None:
    assert (host.driver, host.firmware, host.cann) == ("24.1.rc3", "7.5.0.1.129", "8.5.0")
    assert host.kernels == ("ascend910b",)
    assert host.devices == (0, 1)
    assert host.addresses == ("192.168.100.1",)
    assert host.cards == (
        CardUse(0, "910B2", "OK", 3161, 65536),
        CardUse(1, "910B2", "Alarm", 40000, 65536, ((4711, "python"),)),
    )


def test_a_ready_host_lacks_nothing(host: AscendHost) -> None:
    checks = check_host(host)
    assert [c.name for c in checks if c.needed and not c.fine] == []
    assert first_obstacle(host, 0) is None
    assert "this host is ready" in ascend_report(checks)[-1]


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        ({"driver": ""}, "driver", "npu-driver"),
        ({"firmware": ""}, "firmware", "reboot"),
        ({"devices": ()}, "device files", "--device /dev/davinci0"),
        ({"cann_home": "", "cann": ""}, "CANN", "set_env.sh"),
        ({"cann_there": False}, "CANN", "set_env.sh"),
        ({"libraries": ""}, "LD_LIBRARY_PATH", "set_env.sh"),
        ({"chosen": (0, 5)}, "visible cards", "list cards that are here: 0, 1"),
        ({"chosen": ()}, "visible cards", "unset ASCEND_RT_VISIBLE_DEVICES"),
        ({"cann": "7.0.0"}, "CANN's version", "8.2 or 8.3 or 8.5"),
        ({"kernels": ()}, "operator kernels", "Ascend-cann-kernels"),
        ({"missing_packages": ("hccl",)}, "CANN's Python packages", "hccl"),
        ({"missing_packages": ("attr", "absl")}, "packages of CANN's compiler", "attrs absl-py"),
    ],
)
def test_each_thing_that_is_missing_is_named_with_its_remedy(
    host: AscendHost, change: dict[str, object], name: str, remedy: str
) -> None:
    checks = check_host(dataclasses.replace(host, **change))  # type: ignore[arg-type]
    missing = [c for c in checks if c.needed and not c.fine]
    assert name in [c.name for c in missing]
    assert remedy in next(c.remedy for c in missing if c.name == name)
    lines = ascend_report(checks)
    assert any(line.startswith(f" MISSING  {name}") for line in lines)
    assert f"{len(missing)} of {len(checks)} things are missing" in lines[-1]


def test_what_stands_in_the_way_of_a_step(host: AscendHost) -> None:
    def obstacle(index: int = 0, **change: object) -> str:
        return first_obstacle(dataclasses.replace(host, **change), index) or ""  # type: ignore[arg-type]

    assert "CANN's version: 6.3.1" in obstacle(cann="6.3.1")
    assert "ASCEND_HOME_PATH is not set" in obstacle(cann_home="", cann="")
    assert "ASCEND_HOME_PATH=/opt/cann: no such folder" in obstacle(cann_there=False, cann="")
    assert "LD_LIBRARY_PATH: lacks" in obstacle(libraries="")
    assert "card 7: not here; cards are 0, 1" in obstacle(7)
    assert "card 1: npu-smi says Alarm" in obstacle(1)
    used = dataclasses.replace(host.cards[1], health="OK")
    told = obstacle(1, cards=(used,))
    assert "in use by python (4711), 25536 MB are free" in told
    # Where CANN is another package than its own, what only speaks of its version is no reason to
    # stop.
    assert obstacle(cann="", driver="", firmware="", kernels=()) == ""


def test_the_card_is_counted_among_those_that_the_process_may_see(host: AscendHost) -> None:
    busy = dataclasses.replace(host.cards[1], health="OK")
    # The first that is seen is the host's second, which is in use.
    seen = dataclasses.replace(host, chosen=(1,), cards=(host.cards[0], busy))
    assert "card 1: in use by python (4711)" in (first_obstacle(seen, 0) or "")
    assert first_obstacle(dataclasses.replace(seen, chosen=(1, 0)), 1) is None
    assert "lets this process see 1 card(s)" in (first_obstacle(seen, 1) or "")
    for cards, told in (((), "none"), ((7,), "7")):
        said = first_obstacle(dataclasses.replace(seen, chosen=cards), 0) or ""
        assert f"ASCEND_RT_VISIBLE_DEVICES: {told}. Unset" in said
    variable = {"ASCEND_RT_VISIBLE_DEVICES": "4-5, 1,x,3"}
    assert chosen_cards(variable) == (4, 5, 1)
    assert chosen_cards({}) is None
    assert [number_on_host(k, variable) for k in (0, 2)] == [4, 1]
    assert number_on_host(3, {}) == 3


def test_a_folder_that_is_not_there_and_libraries_of_others_are_no_cann(
    root: Path, environ: dict[str, str]
) -> None:
    assert look_at_host(root, environ).libraries == "/opt/cann/lib64"
    elsewhere = {**environ, "ASCEND_HOME_PATH": "/opt/gone", "LD_LIBRARY_PATH": "/usr/lib64"}
    host = look_at_host(root, elsewhere)
    assert (host.cann_there, host.libraries) == (False, "")


def test_a_driver_in_another_folder_is_compared_between_servers(
    root: Path, environ: dict[str, str]
) -> None:
    (root / "usr/local/Ascend").rename(root / "opt/ascend")
    assert "driver" not in versions_of_host(root, environ)
    (root / "etc/ascend_install.info").write_text("Driver_Install_Path_Param=/opt/ascend\n")
    versions = versions_of_host(root, environ)
    assert (versions["driver"], versions["firmware"]) == ("24.1.rc3", "7.5.0.1.129")
    assert look_at_host(root, environ).driver == "24.1.rc3"


def test_a_machine_without_ascend_has_no_versions(tmp_path: Path, root: Path) -> None:
    assert versions_of_host(tmp_path / "nothing", {}) == {}
    assert look_at_host(tmp_path / "nothing", {"PATH": ""}).cards == ()
    assert versions_of_host(root, {"ASCEND_HOME_PATH": "/opt/cann"})["cann"] == "8.5.0"


def test_tables_that_are_none_of_npu_smi_s_give_no_card() -> None:
    assert parse_cards("") == ()
    assert parse_cards("| a | b | c |\ndcmi module initialize failed. ret is -8005\n") == ()
