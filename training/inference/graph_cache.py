"""ONNX graphs of checkpoints that were built once: where they lie, their keys, whole or not at all.

What a graph is and how it was proven is `engine.py`'s matter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from data_tools.core.files import replacing, write_atomic
from data_tools.core.json_dataclass import read_json
from data_tools.core.lock import Held, hold
from training.inference.model_file import ModelFile
from training.process.cache_folder import cache_folder

FORMAT = "ssd-graph/1"
VARIABLE = "SSD_GRAPH_CACHE"
KEPT = 32
"""Graphs that are kept; of more, those go that were not used for longest."""

_PACKAGES = ("mindspore", "onnx", "onnxruntime")
_CODE = (
    "nets",
    "checkpoints/weights.py",
    "checkpoints/weight_files.py",
    "inference/agreement.py",
    "inference/detection_cell.py",
    "inference/onnx_graph.py",
    "inference/onnx_writer.py",
    "inference/predictor.py",
)
_LONGEST_WAIT = 120.0  # seconds; then two processes do the same work, which harms nobody


@dataclass(frozen=True)
class Entry:
    """What the cache knows of a checkpoint.

    Args:
        graph: Bytes of the ONNX graph; empty if it was found unfit.
        proof: What was found when it was compared with MindSpore, or why there is no graph.
    """

    graph: bytes
    proof: dict[str, Any]


def graphs_folder() -> Path:
    """Return the folder of graphs, see `process/cache_folder.py`.

    Raises:
        SettingError: If a variable holds a relative path.
    """
    return cache_folder(VARIABLE, "graphs")


def graph_key(file: ModelFile) -> str:
    """Return the key of a checkpoint's graph: what is in the file, and whatever else decides what
    the graph computes, the code that writes it and the versions of its packages among it.
    """
    what = {
        "format": FORMAT,
        "sha256": file.sha256,
        "model": dataclasses.asdict(file.model),
        "num_classes": file.num_classes,
        "machine": platform.machine(),
        "code": code_hash(_CODE),
        **{name: package_version(name) for name in _PACKAGES},
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]


def package_version(name: str) -> str:
    """Return the version of an installed package, without importing it; empty if it is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def code_hash(names: tuple[str, ...]) -> str:
    """Return the hash of modules and of whole folders of `training/`, given by their paths in
    it.
    """
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for name in names:
        path = package / name
        for module in [path] if path.suffix else sorted(path.rglob("*.py")):
            digest.update(module.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class GraphCache:
    """A folder of graphs, `KEY.onnx`, each with its proof, `KEY.json`, which is written last.

    Args:
        folder: The folder; need not exist.
    """

    folder: Path

    def read(self, key: str) -> Entry | None:
        """Return what is kept under a key; None if nothing is, or if it is damaged."""
        try:
            proof = read_json(self._proof(key))
            if not isinstance(proof, dict) or proof["format"] != FORMAT:
                return None
            if not proof["graph_sha256"]:
                return Entry(b"", proof)
            graph = self._graph(key).read_bytes()
            if hashlib.sha256(graph).hexdigest() != proof["graph_sha256"]:
                return None
        except (OSError, ValueError, KeyError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self._proof(key))
        return Entry(graph, proof)

    def write(self, key: str, graph: bytes, proof: dict[str, Any]) -> None:
        """Keep a graph and its proof; old ones may go for it.

        Raises:
            OSError: If the folder cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if graph:
            with replacing(self._graph(key), flush=False) as temporary:
                temporary.write_bytes(graph)
        header = {
            "format": FORMAT,
            "graph_sha256": hashlib.sha256(graph).hexdigest() if graph else "",
        }
        write_atomic(self._proof(key), json.dumps({**header, **proof}, indent=1) + "\n")
        self._forget_oldest()

    @contextlib.contextmanager
    def locked(self, key: str, notify: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of a key, so that one process builds and the others read.

        Where no lock can be had, there is none: files appear whole in any case.
        """
        lock = self.folder / f"{key}.lock"
        end = time.monotonic() + _LONGEST_WAIT
        with contextlib.ExitStack() as stack:
            announced = False
            while time.monotonic() < end:
                try:
                    stack.enter_context(hold(lock, Path.unlink))
                    break
                except Held as held:
                    if not announced:
                        notify(f"engine: waiting for {held.holder}, which builds the same graph")
                        announced = True
                    time.sleep(0.1)
                except OSError:
                    break
            yield

    def _graph(self, key: str) -> Path:
        return self.folder / f"{key}.onnx"

    def _proof(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _forget_oldest(self) -> None:
        with contextlib.suppress(OSError):
            proofs = sorted(self.folder.glob("*.json"), key=lambda path: -path.stat().st_mtime)
            for proof in proofs[KEPT:]:
                proof.unlink(missing_ok=True)
                proof.with_suffix(".onnx").unlink(missing_ok=True)
