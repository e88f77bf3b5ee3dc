"""What SECURITY.md promises of the sources, read from their syntax trees: nothing in them can break
it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    [
        *REPOSITORY.glob("*.py"),
        *REPOSITORY.glob("data_tools/**/*.py"),
        *REPOSITORY.glob("training/**/*.py"),
        *REPOSITORY.glob("benchmarks/**/*.py"),
    ]
)
RUN_STORED_CODE = {"pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib",
                   "torch.load", "pandas.read_pickle", "runpy", "code"}  # fmt: skip
MAY_START_PROGRAMS = {"training/launch/__main__.py", "training/process/ascend_host.py",
                      "benchmarks/archives.py", "benchmarks/convert.py", "benchmarks/growth.py",
                      "benchmarks/guard.py", "benchmarks/scaling.py", "benchmarks/step_trace.py",
                      "benchmarks/torch_twin.py"}  # fmt: skip
SHELLS = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pty.spawn",
}
# What parses nothing: an error, and the tree that a parser of defusedxml fills.
XML_WITHOUT_A_PARSER = {"ParseError", "TreeBuilder"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute, `a` of a name, "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def argument(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None if it is absent, the node if it is no constant."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else keyword.value
    return None


def bad_call(call: ast.Call, place: str) -> str:
    name = dotted(call.func)
    last = name.rsplit(".", 1)[-1]
    if name in ("eval", "exec", "compile", "__import__"):
        return f"{name}() runs text as code"
    if name in SHELLS or name.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
        return f"{name}() starts a program"
    if argument(call, "shell") not in (None, False):
        return "shell=True"
    if name in ("np.load", "numpy.load") and argument(call, "allow_pickle") is not False:
        return "np.load() without allow_pickle=False"
    if argument(call, "allow_pickle") not in (None, False):
        return "allow_pickle"
    if name.startswith("yaml.") and last not in ("safe_load", "safe_dump"):
        return f"{name}() instead of the safe one"
    if last in ("unpack_archive", "extractall"):
        return f"{name}() unpacks names from an archive"
    if last == "mktemp":
        return "mktemp() is a race"
    if place not in MAY_START_PROGRAMS and name.startswith("subprocess."):
        return "starts a program"
    return ""


def bad_import(node: ast.Import | ast.ImportFrom) -> str:
    if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
    else:
        names = {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        if (node.module or "").startswith("xml") and {
            a.name for a in node.names
        } <= XML_WITHOUT_A_PARSER:
            return ""
    for name in sorted(names):
        if name in RUN_STORED_CODE or name.split(".")[0] in RUN_STORED_CODE:
            return f"imports {name}"
        if name.split(".")[0] in ("xml", "lxml"):
            return f"{name}: XML is parsed with defusedxml"
    return ""


def whole_environment(tree: ast.AST, place: str) -> Iterator[str]:
    """Uses of `os.environ` other than of one variable by its name: that is how secrets reach a
    log.
    """
    named: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) or (
            isinstance(node, ast.Attribute) and node.attr in ("get", "setdefault", "pop")
        ):
            named.add(id(node.value))
        elif isinstance(node, ast.Compare):
            named.update(id(side) for side in node.comparators)
        elif isinstance(node, ast.Dict) and place in MAY_START_PROGRAMS:  # handed on to a program
            named.update(id(v) for k, v in zip(node.keys, node.values, strict=True) if k is None)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and dotted(node) == "os.environ"
            and id(node) not in named
        ):
            yield f"line {node.lineno}: the whole environment"


def findings(text: str, place: str) -> list[str]:
    tree = ast.parse(text)
    found = list(whole_environment(tree, place))
    for node in ast.walk(tree):
        what = ""
        if isinstance(node, ast.Call):
            what = bad_call(node, place)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            what = bad_import(node)
        if what:
            found.append(f"line {node.lineno}: {what}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_a_source_keeps_the_promises(path: Path) -> None:
    place = path.relative_to(REPOSITORY).as_posix()
    assert not findings(path.read_text(encoding="utf-8"), place)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command)",
        "subprocess.run(f'ls {name}', shell=True)",
        "os.system('ls')",
        "eval(text)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "from xml.etree import ElementTree",
        "from xml.etree.ElementTree import fromstring",
        "from xml.etree.ElementTree import TreeBuilder, XMLParser",
        "print(dict(os.environ))",
        "json.dump({**os.environ}, file)",
        "shutil.unpack_archive(path)",
    ],
)
def test_the_checks_can_fail(text: str) -> None:
    assert findings(text, "training/somewhere.py")


def test_the_checks_let_the_named_and_the_safe_pass() -> None:
    text = (
        "from xml.etree.ElementTree import ParseError\n"
        "x = os.environ.get('A'), os.environ['B'], 'C' in os.environ\n"
        "np.load(path, allow_pickle=False); yaml.safe_load(text); cell.eval()\n"
    )
    assert not findings(text, "training/somewhere.py")
