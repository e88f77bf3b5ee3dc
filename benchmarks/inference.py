"""Latency and images per second of one network in MindSpore, as MindIR, and as ONNX in onnxruntime.

    python -m benchmarks.inference [--quick] [--model ssd300]

All three take the same uint8 pixels and give decoded boxes and scores. Prints a table and, last,
one line of JSON: `ours` is onnxruntime's rate at the largest batch, `reference` MindSpore's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.common import Result, at_least, median, parser, print_table
from training.command_line.error_words import clear_errors
from training.process.runtime import prepare_environment


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
        figures = measure(name, arguments.classes, batches, repeats, Path(folder))
    rows = [
        [
            f"{engine}, batch {batch}",
            *[f[key] for key in ("latency_ms", "worst_ms", "images_per_s")],
        ]
        for engine, rates in figures.items()
        for batch, f in rates.items()
    ]
    print_table(
        f"{name}, decoded boxes and scores", ["engine", "median ms", "worst ms", "img/s"], rows
    )
    last = str(batches[-1])
    Result(
        "inference",
        figures["onnxruntime"][last]["images_per_s"],
        figures["mindspore"][last]["images_per_s"],
        {"unit": "images/s", "model": name, "batch": batches[-1], "engines": figures},
    ).print()


def measure(
    name: str, classes: int, batches: tuple[int, ...], repeats: int, folder: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """Export a network with random weights and time all three engines in turn.

    Returns:
        Engine -> batch size -> `latency_ms` (median of a call), `worst_ms`, `images_per_s`.
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
        times: dict[str, list[float]] = {engine: [] for engine in engines}
        for predict in engines.values():
            predict(images)  # compiles, warms up
        for _ in range(repeats):
            for engine, predict in engines.items():
                begun = perf_counter()
                predict(images)
                times[engine].append(perf_counter() - begun)
        for engine, seconds in times.items():
            figures.setdefault(engine, {})[str(batch)] = {
                "latency_ms": median(seconds) * 1e3,
                "worst_ms": max(seconds) * 1e3,
                "images_per_s": batch / median(seconds),
            }
    return figures


def _engines(name: str, folder: Path, batch: int) -> dict[str, Any]:
    from training.exporting.export import write_mindir, write_onnx
    from training.exporting.settings import ExportCommand
    from training.inference.file_metadata import make_metadata
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
        write(network, file, command, make_metadata(file, file.named_classes(), command), path)
        engines[engine] = load_predictor(open_model_file(path), batch)
    return engines


if __name__ == "__main__":
    main()
