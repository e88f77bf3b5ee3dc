"""What is checked before a change is taken: CI here, on a public forge, and in the hooks is one and
the same.
"""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml


def make_targets(repository: Path) -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))


def test_the_public_workflow_runs_the_ci_script(repository: Path) -> None:
    workflow = yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert steps == ["bash .ci/run"]
    audits = [step.get("run") for step in workflow["jobs"]["audit"]["steps"]]
    assert "make audit" in audits


def test_the_ci_script_runs_every_check(repository: Path) -> None:
    text = re.sub(r"^\s*#.*$", "", (repository / ".ci/run").read_text(), flags=re.MULTILINE)
    used = re.findall(r"\bmake ([a-z-]+)", text)
    assert set(used) <= make_targets(repository)
    assert list(dict.fromkeys(used)) == ["lint", "test", "coverage-floor", "test-long"]
    assert "make test PYTEST_ARGS=" in text and "--cov" in text
    makefile = (repository / "Makefile").read_text()
    for package in ("data_tools", "training"):
        assert package in makefile[makefile.index("coverage-floor:") :]
    assert "--fail-under=90" in makefile
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(repository / "setup.cfg")
    # What the fast tests leave out, the long ones are.
    assert '-m "not slow and not ascend"' in settings["tool:pytest"]["addopts"]
    assert '-m "slow or ascend"' in makefile.split("\ntest-long:")[1].split("\n\n")[0]


def test_hooks_are_the_checks_of_make_lint(repository: Path) -> None:
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"][0][
        "hooks"
    ]
    entries = {hook["entry"].split("/")[-1].removesuffix(" --fix") for hook in hooks}
    assert entries == {"ruff format", "ruff check", "mypy", "shellcheck", "hadolint"}
    lint = (repository / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    for entry in entries:
        assert f"$(VENV)/bin/{entry}" in lint


def test_a_bug_report_asks_for_versions_device_and_settings(repository: Path) -> None:
    template = (repository / ".github/ISSUE_TEMPLATE/bug.yml").read_text()
    fields = yaml.safe_load(template)["body"]
    report = next(f for f in fields if "python -m training.report" in str(f))
    assert report["validations"]["required"] is True
    assert all(word in str(report) for word in ("versions", "device", "settings"))


def test_versions_agree(repository: Path) -> None:
    from data_tools import __version__

    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (repository / "LICENSE").read_text()
    for package in ("data_tools", "training"):
        assert (repository / package / "py.typed").is_file()


def test_the_changelog_tells_the_version_and_those_before(repository: Path) -> None:
    from data_tools import __version__

    text = (repository / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (\S+) \((.+)\)$", text, re.MULTILINE)
    assert len(heads) == text.count("\n## "), (
        "a heading that is not `## VERSION (DATE or unreleased)`"
    )
    assert re.sub(r"\.dev\d+$", "", __version__) == heads[0][0]
    assert (heads[0][1] == "unreleased") == (".dev" in __version__)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", when) for _, when in heads[1:])
    numbers = [[int(n) for n in version.split(".")] for version, _ in heads]
    assert numbers == sorted(numbers, reverse=True)


# Where packages come from is the business of pip's own settings, on a company's network above all.
INDEX_HOSTS = re.compile(
    r"py[p]i\.org|python[h]osted\.org|[\w.-]+/py[p]i/|--(?:extra-)?index[-]url|--trusted[-]host"
)


def test_no_file_names_the_host_of_a_package_index(repository: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("no git checkout: which files are the project's is not known")
    named = {}
    for name in listed.stdout.rstrip("\0").split("\0"):
        if not (repository / name).is_file():  # removed, and not committed yet
            continue
        text = (repository / name).read_bytes().decode("utf-8", errors="replace")
        if found := INDEX_HOSTS.search(text):
            named[name] = found.group()
    assert not named


@pytest.mark.parametrize(
    "line",
    [
        "pip asks https://py" + "pi.org/simple",
        "from https://files.python" + "hosted.org/packages/x",
        "https://mirror.example/py" + "pi/simple",
        "pip install --index" + "-url https://example.org x",
    ],
)
def test_such_a_host_would_be_found(line: str) -> None:
    assert INDEX_HOSTS.search(line)
