"""What the documents tell a reader to type: commands, settings, files and links, found in their
text.

Each `check_...` raises an AssertionError that says what is wrong; running commands is
`test_readme.py`.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from training.command_line.configure import compose, load_object
from training.command_line.setting_names import field_types, group_choices
from training.launch.job import parse

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "README_CN.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
COMMANDS = ("convert", "train", "eval", "predict", "export")
SHELL = ("sh", "bash", "shell")

EXAMPLES = {"model=NAME": "model=ssd300", "+experiment=NAME": "+experiment=demo"}
"""Words of the documents that stand for a choice; a path such as DIR may stand as it is."""

NOT_OURS = ("apt-get", "cd", "docker", "git", "pip", "source")
"""Programs that a reader may be told to run and that are no business of these tests."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document: its language, and the lines between the fences."""

    language: str
    text: str


def documents() -> list[Path]:
    """Every document a reader is meant to read."""
    found = [REPOSITORY / name for name in PAGES]
    return [path for path in found if path.is_file()] + sorted((REPOSITORY / "docs").rglob("*.md"))


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks, in order."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [Block(language, body) for language, body in found]


def commands(block: Block) -> list[str]:
    """Return the command lines of a block: continued lines joined, comments and blank lines left
    out.
    """
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [shlex.join(line) for line in words if line]


def command_lines(text: str) -> list[str]:
    """Return every command of a document: in shell blocks, plain blocks and sentences."""
    found = []
    for block in blocks(text):
        if block.language in SHELL:
            found += commands(block)
        elif not block.language:
            lines = [line for line in block.text.splitlines() if _is_command(line.strip())]
            found += commands(Block("sh", "\n".join(lines)))
    inline = [span for span in spans(text) if _is_command(span)]
    return found + [line for span in inline for line in commands(Block("sh", span))]


def _is_command(text: str) -> bool:
    return (
        re.match(r"(?:[A-Z_]+=\S+ )?(?:python |bash run_|make [a-z]|msrun .*\.py)", text)
        is not None
    )


def spans(text: str) -> list[str]:
    """Return what stands between single backticks outside the fenced blocks."""
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    # A span may be broken over two lines, and a table needs its bars escaped.
    return [
        " ".join(found.replace("\\|", "|").split()) for found in re.findall(r"`([^`]+)`", prose)
    ]


@cache
def settings_of(command: str) -> str:
    """Return `module:Class` of a root command's settings, as its file names it."""
    found = re.search(
        r'run_command\(\s*"\w+",\s*"([\w.:]+)"', (REPOSITORY / f"{command}.py").read_text()
    )
    assert found, f"{command}.py runs no command"
    return found.group(1)


@cache
def known_settings(command: str) -> dict[str, Any]:
    """Return every key of a root command with its type."""
    return field_types(load_object(settings_of(command)))


def check_command(line: str) -> None:
    """Check a command line as far as that goes without running it.

    Root commands must compose, launcher and module options must exist, and make targets too.
    """
    words = [EXAMPLES.get(word, word) for word in shlex.split(line) if word != "..."]
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets), f"{line}: the Makefile has no such target"
    elif program == "msrun":
        place = next(i for i, word in enumerate(rest) if word.endswith(".py"))
        _check_root_command(rest[place], rest[place + 1 :], line)
    elif program == "bash":
        assert (REPOSITORY / rest[0]).is_file(), f"{line}: no such script"
        if rest[0] == "run_distribute_train.sh" and "--help" not in rest:
            _, overrides = parse(rest[1:])
            _check_root_command("train.py", overrides, line)
    elif program.endswith("python"):
        if rest[0] == "-m":
            _check_module(rest[1], rest[2:], line)
        elif rest[0] != "-c":
            _check_root_command(rest[0], rest[1:], line)
    else:
        assert program.endswith("pre-commit") or program in NOT_OURS, f"{line}: what is {program}?"


def _check_root_command(script: str, arguments: list[str], line: str) -> None:
    command = script.removesuffix(".py")
    assert command in COMMANDS, f"{line}: {script} is no command of this project"
    if "--multirun" in arguments:  # the first of the choices that are swept over
        arguments = [a if "[" in a else a.split(",")[0] for a in arguments if a != "--multirun"]
    if not {"--help", "-h"} & set(arguments):
        _composes(command, tuple(arguments))


@cache
def _composes(command: str, arguments: tuple[str, ...]) -> None:
    # Cached: pages in two languages, and on one subject, say the same commands.
    compose(command, settings_of(command), arguments)


def _check_module(module: str, arguments: list[str], line: str) -> None:
    path = REPOSITORY / f"{module.replace('.', '/')}.py"
    if not path.is_file():
        assert importlib.util.find_spec(module), f"{line}: no module {module}"
        return
    # A command's options stand in the file itself or in the one that it takes its `main` from.
    where = re.search(r"^from ([\w.]+) import .*\bmain\b", path.read_text(), re.M)
    home = REPOSITORY / f"{where[1].replace('.', '/')}.py" if where else path
    shared = path.parent / "common.py" if "benchmarks" in module else home
    source = path.read_text() + shared.read_text()
    options = [word.strip("[]") for word in arguments if word.strip("[]").startswith("--")]
    missing = [option for option in options if f'"{option}"' not in source]
    assert not missing, f"{line}: {module} has no option {', '.join(missing)}"


def check_span(span: str) -> None:
    """Check a setting (`key=value`, `group.key`) or file (`docs/faq.md`) that a sentence names."""
    words = [word for word in span.split() if word != "..."]
    groups = group_choices()
    if words and all(re.match(r"\+?[a-z][a-z_0-9]*(\.[\w]+)*=", word) for word in words):
        for word in words:
            key, _, value = word.lstrip("+").partition("=")
            assert _is_setting(key), f"`{span}`: there is no setting {key}"
            plain = re.fullmatch(r"[a-z_0-9]+", value)
            if key in groups and plain:
                assert value in groups[key], f"`{span}`: {key} has no choice {value}"
    elif re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", span) and _is_group(span.split(".")[0]):
        is_file = span.rpartition(".")[2] in ("json", "jsonl", "png", "py", "yaml", "md")
        assert is_file or _is_setting(span), f"`{span}`: there is no such setting"
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?|[\w.-]+/", span) and "NAME" not in span:
        ours = span.split("/")[0] in _FOLDERS
        assert not ours or (REPOSITORY / span).exists(), f"`{span}`: there is no such file"


_FOLDERS = ("benchmarks", "conf", "data_tools", "docs", "tests", "training", ".github", ".ci")


def _is_group(name: str) -> bool:
    return any(f"{name}." in key for command in COMMANDS for key in known_settings(command))


def _is_setting(key: str) -> bool:
    for command in COMMANDS:
        types = known_settings(command)
        free = any(kind is dict and key.startswith(f"{name}.") for name, kind in types.items())
        if key in types or key in group_choices() or free:
            return True
        # A table on `image.*` says `max_side=512`; a name that no group has is still found.
        if any(name.endswith(f".{key}") for name in types):
            return True
    return False


def check_links(path: Path) -> None:
    """Check that every relative link and picture of a document leads to a file, and to a heading in
    it.
    """
    for target in links(path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name}: the link {target} leads nowhere"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{path.name}: no heading for the link {target}"


def links(text: str) -> list[str]:
    """Return the targets of a document's links and pictures within the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """Return the anchors that a forge makes of a document's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
