"""Commands without the seconds that Python and MindSpore take to start: each is a fork of a process
that has imported them and done nothing else.

    run_warm("train.py", f"data={data}", cwd=REPOSITORY)

stands for `subprocess.run([sys.executable, "train.py", ...], capture_output=True, text=True)`: the
same words, folder, environment, exit code and texts, and the interpreter's own end. What only a
process of its own shows is left to tests that start one: starting, signals, being killed, hash
seeds of its own.

Run as a program, this file is that process: it takes one command after the other from a socket.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import multiprocessing.process
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import IO

# Read anew by every command, so that a process that started with other values does. Any other
# variable may be read while something is imported, and so has a process of its own.
READ_LATE = ("PYTEST_CURRENT_TEST", "MS_DEV_SAVE_GRAPHS_PATH", "SSD_DRY_STEPS", "SSD_DRY_PART")
# What the commands import sooner or later. Not `prepare_environment`: that is each one's first act.
IMPORTED = ("hydra", "mindspore", "matplotlib.figure", "matplotlib.backends.backend_agg",
            "training.run.trainer", "training.commands.evaluate", "training.inference.predict",
            "training.exporting.export")  # fmt: skip
LONGEST = 1 << 17  # bytes of a request
MOST_SERVERS = 2  # each takes some hundred MB


def run_warm(
    *words: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run this Python with some words, as `subprocess.run` would, in a fork of a warm process.

    Args:
        words: A script and its arguments, `-m` and a module and its, or `-c` and code.
        cwd: The folder that it starts in.
        env: All of its variables; those of this process by default.
        timeout: Seconds that it may take.
        stderr: `subprocess.STDOUT` puts both into `stdout`.

    Raises:
        subprocess.TimeoutExpired: If it takes longer.
    """
    variables = dict(os.environ if env is None else env)
    server = server_for(variables)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        both = stderr == subprocess.STDOUT
        code = server.run(words, cwd, variables, timeout, out, out if both else err)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="backslashreplace"))
    return subprocess.CompletedProcess([sys.executable, *words], code, *texts)


def server_for(variables: Mapping[str, str]) -> Server:
    """Return the warm process of an environment; those unused for longest end."""
    key = frozenset(item for item in variables.items() if item[0] not in READ_LATE)
    server = _SERVERS.pop(key, None) or Server(variables)
    _SERVERS[key] = server
    while len(_SERVERS) > MOST_SERVERS:
        _SERVERS.pop(next(iter(_SERVERS))).close()
    return server


class Server:
    """A warm process, and the line to it. It ends with this process, however that ends.

    Args:
        variables: The environment that it starts with.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.line, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(its.fileno())], env=variables,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[its.fileno()],
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        atexit.unregister(self.close)
        self.line.close()
        self.process.wait()

    def run(
        self,
        words: tuple[str, ...],
        cwd: Path,
        variables: Mapping[str, str],
        timeout: float,
        out: IO[bytes],
        err: IO[bytes],
    ) -> int:
        """Run a command; return its exit code, or minus the signal that ended it."""
        request = json.dumps([words, str(cwd), dict(variables)]).encode()
        assert len(request) < LONGEST
        socket.send_fds(self.line, [request], [out.fileno(), err.fileno()])
        child = int(self.answer())
        self.line.settimeout(timeout)
        try:
            return int(self.answer())
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            self.line.settimeout(None)
            self.answer()
            raise subprocess.TimeoutExpired(words, timeout) from None
        finally:
            self.line.settimeout(None)

    def answer(self) -> bytes:
        """Return its next word."""
        word = self.line.recv(64)
        assert word, f"the warm process ended with {self.process.wait()}"
        return word


_SERVERS: dict[frozenset[tuple[str, str]], Server] = {}


def serve(line: socket.socket) -> list[str] | None:
    """Fork for each request until the line closes; the child returns its words, ready to run."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # what is here now is looked through by no child's collector
    while True:
        request, files, *_ = socket.recv_fds(line, LONGEST, 2)
        if not request:
            return None
        child = os.fork()
        if child == 0:
            line.close()
            words, folder, variables = json.loads(request)
            become(folder, variables, *files)
            return list(words)
        for file in files:
            os.close(file)
        line.send(str(child).encode())
        _, status = os.waitpid(child, 0)
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


def become(folder: str, variables: Mapping[str, str], out: int, err: int) -> None:
    """Take on what a process is started with."""
    import numpy as np

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None
    multiprocessing.process.ORIGINAL_DIR = folder  # type: ignore[attr-defined]
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    np.random.seed()


def execute(words: list[str]) -> None:
    """Be this Python with some words."""
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], str(Path.cwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    if words[0] == "-c":
        sys.argv, sys.path[0], text, name = ["-c", *words[2:]], "", words[1], "<string>"
    else:
        script = Path(words[0]).absolute()
        sys.argv, sys.path[0] = words, str(script.resolve().parent)
        text, name = script.read_text(encoding="utf-8"), str(script)
        main.__file__ = name
    sys.modules["__main__"] = main
    exec(compile(text, name, "exec"), main.__dict__)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    wanted = serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        execute(wanted)
