"""Runs cases and judges them: a clean exit code, a message, no traceback, no hang, no half-made
output.

    python tests/fuzz/fuzz_run.py --seed 1 --cases 200 --kinds raw,merge

Each case runs in a fork of this process, which has everything imported: the same as a process of
its own, without the wait for the imports. What goes wrong is printed with the case's number, which
makes the case again: `--kinds KIND --only NUMBER --keep`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

from tests.fuzz.cases_common import Case, Maker, make_seeds  # noqa: E402
from tests.fuzz.fuzz_cases import HEAVY, LIGHT  # noqa: E402

KINDS = {**LIGHT, **HEAVY}
MEMORY_BYTES = 12 << 30
FILE_BYTES = 1 << 30
LONGEST_MESSAGE = 6000
ROOT_COMMANDS = ("convert", "train", "eval", "predict", "export")


@dataclass
class Outcome:
    """What became of a case.

    Args:
        case: The case.
        code: Exit code; negative: the signal that ended it; None: it did not end in time.
        stdout: What it printed.
        stderr: What it printed there.
        seconds: How long it took.
        problems: What is wrong with that; empty if nothing is.
    """

    case: Case
    code: int | None
    stdout: str
    stderr: str
    seconds: float
    problems: list[str] = field(default_factory=list)


def run_case(kind: str, number: int, seeds: Path, folder: Path, *, real: bool = False) -> Outcome:
    """Make a case and run it in a folder of its own.

    Args:
        kind: A key of `KINDS`.
        number: Which case of the kind.
        seeds: The good input.
        folder: An empty folder for everything that belongs to the case.
        real: Start a process instead of forking this one.
    """
    rng = random.Random(f"{kind}-{number}")
    sandbox = folder / "up" / "work"
    for path in (sandbox, folder / "home", folder / "tmp"):
        path.mkdir(parents=True)
    maker: Maker = KINDS[kind][0]
    case = maker(rng, sandbox, seeds)
    case.seed = number
    before = set(_tree(folder))
    outcome = _run(case, sandbox, real=real)
    outcome.problems += _judge(outcome, folder, sandbox, before)
    if (
        not outcome.problems
        and outcome.code == 0
        and case.after
        and any(sandbox.glob("*/*/manifest.json"))
    ):
        check = Case(case.program, list(case.after), f"{case.what}: {case.after}", "")
        second = _run(check, sandbox, real=False)
        if second.code != 0:
            text = (second.stdout + second.stderr)[-1500:]
            outcome.problems.append(f"{case.after} then ends with {second.code}: {text}")
    return outcome


def _run(case: Case, sandbox: Path, *, real: bool) -> Outcome:
    logs = [sandbox.parents[1] / name for name in ("stdout", "stderr")]
    start = time.monotonic()
    with logs[0].open("wb") as out, logs[1].open("wb") as err:
        if real and case.program in ROOT_COMMANDS:
            process = _start_process(case, sandbox, out.fileno(), err.fileno())
        else:
            process = os.fork()
            if process == 0:
                _child(case, sandbox, out.fileno(), err.fileno())
    code = _wait(process, case.seconds)
    texts = [log.read_text(encoding="utf-8", errors="backslashreplace") for log in logs]
    return Outcome(case, code, texts[0], texts[1], time.monotonic() - start)


def _environment(sandbox: Path) -> dict[str, str]:
    top = sandbox.parents[1]
    return {
        **os.environ,
        "HOME": str(top / "home"),
        "TMPDIR": str(top / "tmp"),
        "MPLCONFIGDIR": str(Path(tempfile.gettempdir()) / "fuzz-matplotlib"),
        "COLUMNS": "100",
    }


def _start_process(case: Case, sandbox: Path, out: int, err: int) -> int:
    command = [sys.executable, str(REPOSITORY / f"{case.program}.py"), *case.arguments]
    return subprocess.Popen(
        command,
        cwd=sandbox,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=_environment(sandbox),
        start_new_session=True,
    ).pid


def _child(case: Case, sandbox: Path, out: int, err: int) -> None:
    """Be the command: never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(sandbox)
        os.environ.clear()
        os.environ.update(_environment(sandbox))
        tempfile.tempdir = None
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(source, target)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.disable()  # its report would go to the tests' own output
        code = _as_interpreter(case)
        threading._shutdown()  # type: ignore[attr-defined]
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _as_interpreter(case: Case) -> int:
    """Call the command and turn what it raises into an exit code, as the interpreter does."""
    try:
        _call(case)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return int(error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _call(case: Case) -> None:
    if case.program == "hub":
        from data_tools.core.errors import UserError
        from mindspore_hub_conf import create_network

        try:
            create_network(case.extra["name"], **case.extra["keywords"])
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        return
    if case.program == "launch":
        from training.launch.__main__ import main

        raise SystemExit(main(case.arguments))
    module, _, name = case.program.partition(":")
    sys.argv = [str(REPOSITORY / f"{module}.py"), *case.arguments]
    code = getattr(importlib.import_module(module), name or "main")()
    raise SystemExit(code if isinstance(code, int) else 0)


def _wait(process: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process, signal.SIGKILL)  # what it left running
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _judge(outcome: Outcome, folder: Path, sandbox: Path, before: set[str]) -> list[str]:
    case, code = outcome.case, outcome.code
    problems = []
    text = outcome.stdout + outcome.stderr
    if code is None:
        return [f"hangs: not done after {case.seconds:g} s"]
    if code < 0:
        problems.append(f"ended by signal {-code}")
    elif code not in (0, 1, 2):
        problems.append(f"exit code {code}")
    if "Traceback (most recent call last)" in text or "Error executing job" in text:
        problems.append(f"traceback: {_last_line(text)}")
    if code and not problems:
        problems += _judge_message(outcome)
    if code:
        for pattern in case.complete:
            found = list((sandbox / case.out).glob(pattern))
            if found:
                problems.append(f"failed, but {found[0].relative_to(folder)} is there")
    allowed = ("tmp/", "stdout", "stderr")
    if case.out:
        place = f"up/work/{case.out}"
        allowed += (f"{place}/", f"{place}.", place)
    else:
        allowed += ("up/", "home/")
    # onnxruntime's own files, made when it is imported, and our cache of graphs.
    foreign = ("home/.cache/Microsoft", "home/.cache/mindspore-ssd", "tmp/.ses")
    new = sorted(
        name
        for name in set(_tree(folder)) - before
        if name not in allowed
        and not name.startswith((*foreign, *(a for a in allowed if a[-1] in "/.")))
        and name != "home/.cache"
    )
    if new:
        problems.append(f"written outside of {case.out or 'the sandbox'}: {new[:4]}")
    left = [p for p in _tree(folder / "tmp") if not p.startswith(("mindspore-debris", ".ses"))]
    if left:
        problems.append(f"left in the temporary folder: {left[:4]}")
    return problems


def _judge_message(outcome: Outcome) -> list[str]:
    text = outcome.stderr.strip() or outcome.stdout.strip()
    if not text:
        return ["failed without a word"]
    message = text[text.rfind("error:") :] if "error:" in text else text
    problems = []
    if len(message) > LONGEST_MESSAGE:
        problems.append(f"a message of {len(message)} characters")
    if any(ord(c) < 32 and c not in "\n\t\r" for c in message):
        problems.append(f"control characters in the message: {message[:200]!r}")
    if "error:" not in text and "BAD " not in outcome.stdout and "usage:" not in text:
        problems.append(f"failed without an error: {message[-300:]!r}")
    return problems


def _last_line(text: str) -> str:
    """The exception of the last traceback, and where in this project it was raised."""
    lines = text.rstrip().splitlines()
    places = [
        line.strip() for line in lines if f'File "{REPOSITORY}' in line and "/tests/" not in line
    ]
    errors = [
        line for line in lines if line[:1].isalpha() and ("Error" in line or "Exception" in line)
    ]
    place = places[-1].replace(f"{REPOSITORY}/", "") if places else "?"
    return f"{errors[-1][:300] if errors else lines[-1][:300]} ({place})"


def _tree(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(root, name), folder)  # noqa: PTH118


def preload(*, heavy: bool) -> None:
    """Import what the cases need, so that forks find it there."""
    import hydra  # noqa: F401

    import training.launch.__main__  # noqa: F401

    if heavy:
        from training.process.runtime import prepare_environment

        prepare_environment()
        for name in ("commands.evaluate", "inference.predict", "exporting.export", "run.loop",
                     "run.trainer", "watching.replay", "commands.import_checkpoint",
                     "inference.exported", "nets.summary"):  # fmt: skip
            importlib.import_module(f"training.{name}")


def run_many(
    kinds: Sequence[str],
    first: int,
    seeds: Path,
    folder: Path,
    *,
    cases: int | None = None,
    seconds: float = float("inf"),
    real_every: int = 0,
    keep: bool = False,
    report: bool = True,
) -> tuple[Counter[str], list[Outcome]]:
    """Run cases of several kinds, each as often as its weight says, until there are enough.

    Returns:
        How many ran by kind, and the outcomes with problems.
    """
    order = [kind for kind in kinds for _ in range(KINDS[kind][1])]
    rng = random.Random(first)
    ran: Counter[str] = Counter()
    bad: list[Outcome] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (cases is None or sum(ran.values()) < cases):
        kind = rng.choice(order)
        number = first * 1_000_000 + ran[kind]
        ran[kind] += 1
        place = folder / f"{kind}-{number}"
        real = bool(real_every) and sum(ran.values()) % real_every == 0
        outcome = run_case(kind, number, seeds, place, real=real)
        if outcome.problems:
            bad.append(outcome)
            if report:
                _report(kind, number, outcome)
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    return ran, bad


def _report(kind: str, number: int, outcome: Outcome) -> None:
    arguments = " ".join(repr(a[:150]) for a in outcome.case.arguments)
    print(f"== {kind} {number} ({outcome.seconds:.1f} s): {outcome.case.what}")
    print(f"   {outcome.case.program} {arguments}".encode("utf-8", "backslashreplace").decode())
    for problem in outcome.problems:
        print(f"   -> {problem[:1500]}".encode("utf-8", "backslashreplace").decode(), flush=True)


def main() -> int:
    """Run the fuzzer from the command line."""
    parser = argparse.ArgumentParser(description="Feed damaged input to every command.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--kinds", default=",".join(LIGHT))
    parser.add_argument("--only", type=int, help="run one case by its number and show what it says")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the cases")
    parser.add_argument("--seeds", type=Path, help="folder of good input; made if it is not there")
    parser.add_argument(
        "--real-every", type=int, default=0, help="every so manieth in a process of its own"
    )
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    heavy = any(kind in HEAVY for kind in kinds)
    top = Path(tempfile.mkdtemp(prefix="fuzz-"))
    seeds = options.seeds or top / "seeds"
    preload(heavy=heavy)
    if not seeds.is_dir():
        make_seeds(seeds.absolute(), trained=heavy)
    if options.only is not None:
        outcome = run_case(kinds[0], options.only, seeds.absolute(), top / "case")
        _report(kinds[0], options.only, outcome)
        print(f"exit {outcome.code}\n{outcome.stdout[-3000:]}\n---\n{outcome.stderr[-6000:]}")
        print(top)
        return 0
    ran, bad = run_many(
        kinds, options.seed, seeds.absolute(), top, cases=options.cases,
        seconds=60 * options.minutes, real_every=options.real_every, keep=options.keep,
    )  # fmt: skip
    print(f"{sum(ran.values())} cases {dict(ran)}, {len(bad)} with problems")
    if not options.keep:
        shutil.rmtree(top, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
