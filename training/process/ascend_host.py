"""What a host of Ascend cards has: driver, firmware, CANN, its Python packages, cards; read from
files, fast.

It imports neither MindSpore nor CANN, so it can say what is missing before either fails. The words
of the report are `ascend_checks.py`; choosing a device is `runtime.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CANN_VERSIONS = ("8.2", "8.3", "8.5", "9.0", "9.1")
"""Versions of CANN that MindSpore 2.10 names as its own."""

COMPILER_PACKAGES = ("decorator", "attr", "sympy", "cffi", "absl", "psutil", "scipy", "yaml")
"""Python modules that CANN's operator compiler imports in MindSpore's environment."""

CANN_PACKAGES = ("te", "hccl")
"""Python packages that come with CANN and that MindSpore imports."""

RUNTIME_LIBRARY = "libascendcl.so"
"""A library of CANN's that MindSpore's plugin for Ascend is linked with."""

PIP_NAMES = {"attr": "attrs", "absl": "absl-py", "yaml": "pyyaml"}
SIMULATION_VARIABLE = "MS_SIMULATION_LEVEL"
VISIBLE_VARIABLE = "ASCEND_RT_VISIBLE_DEVICES"
"""CANN's: the cards that a process may see, which counts them from 0."""

VARIABLES = ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "LD_LIBRARY_PATH", "PATH", VISIBLE_VARIABLE,
             SIMULATION_VARIABLE)  # fmt: skip
"""Variables of the environment that are looked at; no others, since an environment may hold
secrets."""
QUERY_SECONDS = 10


@dataclass(frozen=True)
class CardUse:
    """What `npu-smi info` says of a card.

    Attributes:
        index: Its number.
        name: Its chip, e.g. `910B2`.
        health: `OK`, or what is wrong.
        used_mb: Memory in use, in 2**20 bytes.
        total_mb: All of its memory, in 2**20 bytes.
        processes: (pid, name) of what runs on it.
    """

    index: int
    name: str
    health: str
    used_mb: int
    total_mb: int
    processes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class AscendHost:
    """What was found on this machine; empty texts and lists for what was not.

    Attributes:
        driver: Version of the driver.
        firmware: Version of the cards' firmware.
        cann_home: Folder of CANN, as ASCEND_HOME_PATH says.
        cann_there: Whether there is such a folder.
        cann: Version of CANN.
        libraries: The first folder of LD_LIBRARY_PATH that has CANN's libraries.
        kernels: Chips whose operator kernels are installed, e.g. `ascend910b`.
        devices: Numbers of the device files /dev/davinci*.
        chosen: Numbers of the cards that the environment lets a process see, in its order; None
            for all.
        cards: What npu-smi says; empty where it is not installed or does not answer.
        missing_packages: Python modules of `COMPILER_PACKAGES` and `CANN_PACKAGES` that are not
            there.
        addresses: Addresses of the cards' own network, from /etc/hccn.conf.
    """

    driver: str = ""
    firmware: str = ""
    cann_home: str = ""
    cann_there: bool = False
    cann: str = ""
    libraries: str = ""
    kernels: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()
    chosen: tuple[int, ...] | None = None
    cards: tuple[CardUse, ...] = field(default=())
    missing_packages: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def ascend_environment() -> dict[str, str]:
    """Return those of `VARIABLES` that are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def look_at_host(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> AscendHost:
    """Read what this machine has.

    Args:
        root: Where the file system begins; another folder in tests.
        environ: Environment variables.
    """
    environ = ascend_environment() if environ is None else environ
    versions = versions_of_host(root, environ)
    home = environ.get("ASCEND_HOME_PATH", "")
    return AscendHost(
        driver=versions.get("driver", ""),
        firmware=versions.get("firmware", ""),
        cann_home=home,
        cann_there=bool(home) and (root / home.lstrip("/")).is_dir(),
        cann=versions.get("cann", ""),
        libraries=folder_of_libraries(root, environ),
        kernels=kernel_chips(root, environ),
        devices=device_numbers(root / "dev"),
        chosen=chosen_cards(environ),
        cards=ask_cards(environ),
        missing_packages=missing_packages(),
        addresses=tuple(
            value
            for key, value in read_pairs(root / "etc/hccn.conf").items()
            if key.startswith("address")
        ),
    )


def versions_of_host(
    root: Path = Path("/"), environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the versions of driver, firmware and CANN that are there; nothing on a machine without
    any.
    """
    environ = ascend_environment() if environ is None else environ
    # Where the driver was installed in another folder, this file says so.
    install = read_pairs(root / "etc/ascend_install.info").get("Driver_Install_Path_Param")
    ascend = root / (install or "/usr/local/Ascend").lstrip("/")
    home = environ.get("ASCEND_HOME_PATH", "")
    versions = {
        "driver": version_in(ascend / "driver/version.info"),
        "firmware": version_in(ascend / "firmware/version.info"),
        "cann": version_in(root / home.lstrip("/") / "compiler/version.info") if home else "",
    }
    return {name: version for name, version in versions.items() if version}


def folder_of_libraries(root: Path, environ: Mapping[str, str]) -> str:
    """Return the first folder of LD_LIBRARY_PATH that has CANN's runtime library, empty if none
    has.
    """
    for folder in environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if folder and (root / folder.lstrip("/") / RUNTIME_LIBRARY).is_file():
            return folder
    return ""


def version_in(path: Path) -> str:
    """Return the version that a `version.info` names, empty if there is none."""
    pairs = {key.lower(): value for key, value in read_pairs(path).items()}
    return pairs.get("version", "") or pairs.get("version_dir", "")


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines of `key=value`; empty where the file is missing or cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip('"') for key, value in pairs}


def kernel_chips(root: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the chips whose compiled operator kernels lie in CANN's folder."""
    opp = environ.get("ASCEND_OPP_PATH", "")
    if not opp:
        return ()
    folder = root / opp.lstrip("/") / "built-in/op_impl/ai_core/tbe/kernel"
    try:
        return tuple(sorted(p.name for p in folder.iterdir() if p.name.startswith("ascend")))
    except OSError:
        return ()


def device_numbers(folder: Path) -> tuple[int, ...]:
    """Return the numbers of the card files in /dev."""
    matches = (re.fullmatch(r"davinci(\d+)", p.name) for p in folder.glob("davinci*"))
    return tuple(sorted(int(match[1]) for match in matches if match))


def chosen_cards(environ: Mapping[str, str] | None = None) -> tuple[int, ...] | None:
    """Return the cards that `VISIBLE_VARIABLE` lists, up to the first that is no number; None where
    it is not set.

    >>> chosen_cards({VISIBLE_VARIABLE: "4,6"}), chosen_cards({VISIBLE_VARIABLE: "2-4"})
    ((4, 6), (2, 3, 4))
    """
    environ = ascend_environment() if environ is None else environ
    if VISIBLE_VARIABLE not in environ:
        return None
    cards: list[int] = []
    for part in environ[VISIBLE_VARIABLE].split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if match is None:
            break
        cards += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(cards)


def number_on_host(index: int, environ: Mapping[str, str] | None = None) -> int:
    """Return the number that npu-smi gives a card which the process counts among those it sees."""
    chosen = chosen_cards(environ)
    return chosen[index] if chosen is not None and index < len(chosen) else index


def missing_packages() -> tuple[str, ...]:
    """Return the Python modules that CANN's compiler and MindSpore want and that are not there."""
    wanted = (*COMPILER_PACKAGES, *CANN_PACKAGES)
    return tuple(name for name in wanted if importlib.util.find_spec(name) is None)


def ask_cards(environ: Mapping[str, str] | None = None) -> tuple[CardUse, ...]:
    """Ask npu-smi what the cards do; empty where it is not installed, fails or is too slow."""
    environ = ascend_environment() if environ is None else environ
    program = shutil.which("npu-smi", path=environ.get("PATH"))
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, "info"], capture_output=True, text=True, timeout=QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_cards(done.stdout)


def parse_cards(text: str) -> tuple[CardUse, ...]:
    """Read the tables of `npu-smi info`: two lines a card, then a line a process.

    A line of the first kind has number, chip and health; of the second the bus address and, last,
    used and total memory; of the third card, chip, process id and name.
    """
    cards: dict[int, CardUse] = {}
    users: dict[int, list[tuple[int, str]]] = {}
    current: tuple[int, str, str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        first = cells[0].split()
        process = len(cells) >= 3 and len(first) == 2 and all(word.isdigit() for word in first)
        if process and cells[1].isdigit():
            users.setdefault(int(first[0]), []).append((int(cells[1]), cells[2]))
        elif len(cells) >= 3 and len(first) == 2 and first[0].isdigit() and not first[1].isdigit():
            current = int(first[0]), first[1], cells[1]
        elif current and len(cells) >= 3 and re.search(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:", cells[1]):
            pairs = re.findall(r"(\d+)\s*/\s*(\d+)", cells[-1])
            used, total = pairs[-1] if pairs else ("0", "0")
            cards[current[0]] = CardUse(*current, int(used), int(total))
            current = None
    return tuple(
        CardUse(c.index, c.name, c.health, c.used_mb, c.total_mb, tuple(users.get(c.index, ())))
        for c in cards.values()
    )


def simulated(environ: Mapping[str, str] | None = None) -> bool:
    """True in MindSpore's dry run, which needs no card."""
    environ = ascend_environment() if environ is None else environ
    return environ.get(SIMULATION_VARIABLE, "") != ""
