"""Latency and images per second of one network in MindSpore, as MindIR, and as ONNX in onnxruntime
and, where it is installed, OpenVINO; then the whole way from JPEG files to detections.

    python -m benchmarks.inference [--quick] [--model ssd300]

All engines take the same uint8 pixels and give decoded boxes and scores. `checkpoint` is what
`engine=auto` makes of the checkpoint, `files` the same with all that `predict.py` does to a folder
of JPEG files of 640 x 480 but start and pictures. Prints a table and, last, one line of JSON:
`ours` is the checkpoint's rate at the largest batch, `reference` onnxruntime's on our export.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np

from benchmarks.common import Result, at_least, median, parser, print_table
from benchmarks.photographs import photograph
from training.command_line.error_words import clear_errors
from training.inference.graph_cache import VARIABLE
from training.process.runtime import prepare_environment

BATCHES_OF_FILES = 4
SIZE_OF_FILES = 480, 640


@clear_errors()
def main() -> None:
    """Run the benchmark."""
    options = parser(__doc__ or "")
    options.add_argument("--model", default=None, help="file of conf/model; default ssd300")
    options.add_argument(
        "--classes", type=at_least(1), default=80, help="classes without background"
    )
    arguments = options.parse_args()
    name = arguments.model or ("ssd_tiny" if arguments.quick else "ssd300")
    batches, repeats = ((1, 4), 5) if arguments.quick else ((1, 8, 32), 15)
    prepare_environment()

    from training.process.runtime import start_device
    from training.process.settings import RuntimeSettings

    start_device(RuntimeSettings())
    with tempfile.TemporaryDirectory(prefix="ssd-inference-") as folder:
        os.environ[VARIABLE] = folder
        figures = measure(name, arguments.classes, batches, repeats, Path(folder))
    rows = [
        [
            f"{engine}, batch {batch}",
            *[f[key] for key in ("latency_ms", "worst_ms", "images_per_s", "processor_ms")],
        ]
        for engine, rates in figures.items()
        for batch, f in rates.items()
    ]
    print_table(
        f"{name}, decoded boxes and scores",
        ["engine", "median ms", "worst ms", "img/s", "CPU ms/img"],
        rows,
    )
    last = str(batches[-1])
    Result(
        "inference",
        figures["checkpoint"][last]["images_per_s"],
        figures["onnxruntime"][last]["images_per_s"],
        {"unit": "images/s", "model": name, "batch": batches[-1], "engines": figures},
    ).print()


def measure(
    name: str, classes: int, batches: tuple[int, ...], repeats: int, folder: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """Export a network with random weights and time all engines in turn.

    Returns:
        Engine -> batch size -> `latency_ms` (median of a call), `worst_ms`, `images_per_s`, and
        `processor_ms`, processor time an image, all threads together.
    """
    from training.checkpoints.weight_files import save_weights
    from training.nets.build import build_network
    from training.nets.settings import model_settings

    model = model_settings(name)
    save_weights(build_network(model, classes + 1, seed=1), folder / "w.ckpt")
    height, width = model.image_size
    rng = np.random.default_rng(0)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for batch in batches:
        images = rng.integers(0, 256, (batch, 3, height, width), np.uint8)
        engines = _engines(name, folder, batch)
        engines["files"] = _files(name, folder, batch, engines["checkpoint"])
        times: dict[str, list[float]] = {engine: [] for engine in engines}
        used = dict.fromkeys(engines, 0.0)
        for predict in engines.values():
            predict(images)  # compiles, warms up
        for _ in range(repeats):
            for engine, predict in engines.items():
                begun, processor = perf_counter(), process_time()
                predict(images)
                times[engine].append(perf_counter() - begun)
                used[engine] += process_time() - processor
        count = dict.fromkeys(engines, batch) | {"files": batch * BATCHES_OF_FILES}
        for engine, seconds in times.items():
            figures.setdefault(engine, {})[str(batch)] = {
                "latency_ms": median(seconds) * 1e3,
                "worst_ms": max(seconds) * 1e3,
                "images_per_s": count[engine] / median(seconds),
                "processor_ms": used[engine] / repeats / count[engine] * 1e3,
            }
    return figures


def _engines(name: str, folder: Path, batch: int) -> dict[str, Any]:
    from training.exporting.export import metadata_of, write_mindir, write_onnx
    from training.exporting.settings import ExportCommand
    from training.inference.engine import load_engine
    from training.inference.open_model import load_network, load_predictor, open_model_file

    file = open_model_file(folder / "w.ckpt", name)
    network = load_network(file)
    engines: dict[str, Any] = {"mindspore": load_predictor(file, batch)}
    for engine, kind, write in (
        ("mindir", "mindir", write_mindir),
        ("onnxruntime", "onnx", write_onnx),
    ):
        path = folder / f"m{batch}.{kind}"
        command = ExportCommand(checkpoint="", out=str(path), format=kind, batch_size=batch)
        write(network, file, command, metadata_of(file, file.named_classes(), command), path)
        engines[engine] = load_predictor(open_model_file(path), batch)
    engines["checkpoint"] = load_engine(file, batch, "onnxruntime")[0]
    if importlib.util.find_spec("openvino"):
        engines["openvino"] = _openvino(folder / f"m{batch}.onnx")
    return engines


def _openvino(path: Path) -> Any:
    """Return our export as OpenVINO runs it, in float32 as all others."""
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 where the processor has it
    model = openvino.Core().compile_model(str(path), "CPU", exact)
    return lambda images: list(model([images]).values())


def _files(name: str, folder: Path, batch: int, predict_fn: Any) -> Any:
    """Return a function that detects on JPEG files as `predict.py` does; its argument is unused."""
    from training.inference.detector import Choice, Detector
    from training.inference.image_source import find_images
    from training.inference.open_model import open_model_file
    from training.inference.predict import predict_images
    from training.inference.predict_output import PredictionFiles

    file = open_model_file(folder / "w.ckpt", name)
    detector = Detector(predict_fn, file.image_size, file.named_classes(), batch)
    pictures = folder / f"pictures{batch}"
    pictures.mkdir()
    for k in range(batch * BATCHES_OF_FILES):
        image = photograph(np.random.default_rng(k), *SIZE_OF_FILES)
        cv2.imwrite(str(pictures / f"{k:04}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    images = find_images(str(pictures))

    def run(_: Any) -> None:
        silent = contextlib.redirect_stderr(io.StringIO())
        with silent, PredictionFiles(folder / "out") as files:
            predict_images(detector, Choice(threshold=0.9), images, files, pictures=False)

    return run


if __name__ == "__main__":
    main()
