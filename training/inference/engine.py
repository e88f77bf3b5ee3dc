"""What computes a detector's network: MindSpore, or onnxruntime on a graph that was proven equal.

Graphs are written by `onnx_writer.py`, compared in `agreement.py` and kept by `graph_cache.py`;
exported files run in `exported.py`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.core.errors import CheckpointError, SettingError
from data_tools.core.json_dataclass import first_line
from data_tools.core.settings_fields import require_choice
from data_tools.images.decode import one_thread_per_call
from training.evaluation.predict_fn import PredictFn
from training.inference.agreement import IMAGES, Agreement, compare_outputs, scenes
from training.inference.file_metadata import make_metadata
from training.inference.graph_cache import (
    Entry,
    GraphCache,
    graph_key,
    graphs_folder,
    package_version,
)
from training.inference.model_file import EXPORTED, ExportInfo, ModelFile
from training.inference.onnx_session import SessionPredictor, has_onnxruntime, open_session
from training.inference.onnx_writer import onnx_model
from training.inference.open_model import load_network, load_predictor
from training.inference.predictor import build_predictor
from training.process.plain_paths import plain_folder
from training.process.runtime import prepare_environment, start_device
from training.process.settings import ENGINES, RuntimeSettings

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Engine:
    """What computes a network.

    Args:
        name: `mindspore` or `onnxruntime`.
        version: Its version.
        why: Why it was taken, or what its parity check found; may be empty.
        parity: Of a checkpoint in onnxruntime, how far it is from MindSpore.
    """

    name: str
    version: str
    why: str = ""
    parity: Agreement | None = None

    @property
    def line(self) -> str:
        """One line that says which engine it is, and why."""
        return f"engine: {self.name}{f' ({self.why})' if self.why else ''}"

    def facts(self) -> dict[str, Any]:
        """Return what `metrics.json` says of it."""
        facts: dict[str, Any] = {"name": self.name, "version": self.version}
        if self.parity is not None:
            facts["parity"] = dataclasses.asdict(self.parity)
        return facts


def mindspore_engine(why: str = "") -> Engine:
    """Return the engine that trains, with the reason why it was taken."""
    return Engine("mindspore", package_version("mindspore"), why)


def load_engine(
    file: ModelFile,
    batch_size: int,
    engine: str = "auto",
    device: str = "CPU",
    notify: Notify = print,
) -> tuple[PredictFn, Engine]:
    """Make a detector file ready to run in the engine that is wanted.

    Args:
        file: From `open_model_file`.
        batch_size: Images per call; what an exported file fixes wins.
        engine: `mindspore`, `onnxruntime`, or `auto`: onnxruntime for an .onnx file, and on CPU for
            a checkpoint whose graph agrees with MindSpore; else MindSpore.
        device: CPU or Ascend.
        notify: Prints a line while a graph is built.

    Returns:
        The predict function, and what computes it.

    Raises:
        SettingError: If the engine cannot run such a file, or not here.
        CheckpointError: If the weights do not fit the network, or onnxruntime is demanded and does
            not agree with MindSpore.
    """
    require_choice("engine", engine, ENGINES)
    prepare_environment()
    if file.path.suffix in EXPORTED:
        return _exported(file, batch_size, engine, device)
    if engine == "mindspore":
        return _mindspore(file, batch_size, device, "")
    obstacle = _obstacle(device)
    if not obstacle:
        session, outcome = _proven_session(file, notify)
        if isinstance(outcome, Agreement):
            one_thread_per_call()
            why = f"parity with MindSpore checked: largest difference {outcome.largest:.1e}"
            version = package_version("onnxruntime")
            ready = SessionPredictor(session, batch_size)
            return ready, Engine("onnxruntime", version, why, outcome)
        obstacle = outcome
    if engine == "onnxruntime":
        kind = SettingError if _obstacle(device) else CheckpointError
        raise kind(f"engine=onnxruntime: {obstacle}. Set engine=mindspore, or engine=auto.")
    return _mindspore(file, batch_size, device, f"not onnxruntime: {obstacle}")


def _obstacle(device: str) -> str:
    if device != "CPU":
        return f"it runs on the CPU, and device={device}"
    if not has_onnxruntime():
        return "it is not installed (pip install onnxruntime)"
    return ""


def _exported(
    file: ModelFile, batch_size: int, engine: str, device: str
) -> tuple[PredictFn, Engine]:
    own = "onnxruntime" if file.path.suffix == ".onnx" else "mindspore"
    if engine not in ("auto", own):
        raise SettingError(
            f"engine={engine}: {file.path} is an exported file, which only {own} runs. Leave "
            f"engine out, or give the checkpoint that it was made of."
        )
    if own == "mindspore":
        return _mindspore(file, batch_size, device, "")
    one_thread_per_call()
    version = package_version("onnxruntime")
    return load_predictor(file, batch_size), Engine("onnxruntime", version)


def _mindspore(file: ModelFile, batch_size: int, device: str, why: str) -> tuple[PredictFn, Engine]:
    start_device(RuntimeSettings(device=device), "device")
    return load_predictor(file, batch_size), mindspore_engine(why)


def _proven_session(file: ModelFile, notify: Notify) -> tuple[Any, Agreement | str]:
    """Return a session over the graph of a checkpoint and its proof, or None and what is wrong."""
    cache = GraphCache(graphs_folder())
    key = graph_key(file)
    ready = _from_entry(cache.read(key))
    if ready is None:
        with cache.locked(key, notify):
            ready = _from_entry(cache.read(key)) or _build(file, cache, key, notify)
    return ready


def _from_entry(entry: Entry | None) -> tuple[Any, Agreement | str] | None:
    if entry is None:
        return None
    try:
        if not entry.graph:
            return None, str(entry.proof["why"])
        numbers = entry.proof["parity"]
        agreement = Agreement(
            int(numbers["images"]),
            float(numbers["box_difference"]),
            float(numbers["score_difference"]),
            float(numbers["tolerance"]),
        )
        return (open_session(entry.graph), agreement) if agreement.holds else None
    except Exception:  # whatever is wrong with what was kept: it is made anew
        return None


def _build(
    file: ModelFile, cache: GraphCache, key: str, notify: Notify
) -> tuple[Any, Agreement | str]:
    """Build the graph, compare it with MindSpore, and keep graph and proof, or why it is unfit."""
    notify(
        f"engine: building the ONNX graph of {file.path.name}, once; it is kept in {cache.folder}"
    )
    start_device(RuntimeSettings())
    network = load_network(file)
    session, graph = None, b""
    try:
        graph = write_graph(network, file)
        session = open_session(graph)
    except Exception as error:  # MindSpore's, ONNX's and onnxruntime's have no common base
        outcome: Agreement | str = f"the network does not become an ONNX graph: {first_line(error)}"
    else:
        reference = build_predictor(network, IMAGES)
        outcome = compare_outputs(
            reference, SessionPredictor(session, IMAGES), scenes(file.image_size)
        )
        if not outcome.holds:
            outcome = (
                f"its largest difference from MindSpore is {outcome.largest:.1e}, above "
                f"{outcome.tolerance:g}"
            )
    proof: dict[str, Any] = {"checkpoint_sha256": file.sha256}
    if isinstance(outcome, str):
        session, graph = None, b""
        proof["why"] = outcome
    else:
        proof["parity"] = dataclasses.asdict(outcome)
    try:
        cache.write(key, graph, proof)
    except OSError as error:
        notify(f"engine: the graph is not kept: {cache.folder}: {error.strerror or error}")
    return session, outcome


def write_graph(network: Any, file: ModelFile) -> bytes:
    """Return the bytes of a network's ONNX graph: any number of images, decoded boxes, scores."""
    export = ExportInfo(decode=True, nms=False, batch_size=0)
    metadata = make_metadata(file, file.classes, export, {})
    with plain_folder(Path(tempfile.gettempdir())) as folder:
        return bytes(onnx_model(network, 0, metadata, folder).SerializeToString())
