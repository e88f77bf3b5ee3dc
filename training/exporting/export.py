"""What `export.py` does: a checkpoint to an ONNX, MindIR or safetensors file, with metadata and
parity report.

The ONNX graph comes from `inference/onnx_writer.py`, suppression in it from `onnx_nms.py`, the
comparison is in `parity.py`, the running in `inference/exported.py`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.errors import CheckpointError, SettingError, UserError
from data_tools.core.files import make_folder, naming, replacing
from data_tools.core.sample import ClassInfo
from data_tools.core.where_to_look import where_to_look
from data_tools.shards.manifest import ConvertedSplit, open_split
from training.checkpoints.ledger import ledger, ledger_path, write_ledger
from training.checkpoints.weight_files import is_torchvision, read_with_rest
from training.exporting.parity import compare
from training.exporting.safetensors_file import compare_weights, donor_names, write_safetensors
from training.exporting.settings import ExportCommand
from training.inference.class_columns import check_classes
from training.inference.file_metadata import NMS, make_metadata
from training.inference.model_file import WEIGHTS, ExportInfo, ModelFile
from training.inference.onnx_writer import mindspore_export, onnx_model
from training.inference.open_model import load_network, open_model_file
from training.inference.predictor import detection_cell
from training.process.plain_paths import plain_folder
from training.process.runtime import prepare_environment, start_device
from training.process.settings import RuntimeSettings
from training.weights.origin import licence_of

_FULL = 1 << 20
"""Bytes. With less left, whatever failed while a graph was written failed for want of space."""


def run(command: ExportCommand) -> int:
    """Export as the command says.

    The file is written under a temporary name, compared with the checkpoint, and only then named.
    The report `FILE.parity.json` is written either way.

    Returns:
        0.

    Raises:
        SettingError: If the output exists, or a setting cannot work.
        CheckpointError: If the checkpoint cannot be read, or the file does not agree with it.
    """
    prepare_environment()
    out = Path(command.out)
    _check_output(command, out)
    split = open_split(command.data, command.split) if command.data else None
    file = open_model_file(command.checkpoint, command.model)
    if file.path.suffix not in WEIGHTS:
        raise CheckpointError(
            f"checkpoint={file.path}: already an exported file; export takes {', '.join(WEIGHTS)}."
        )
    if split is not None:
        check_classes(file, split, accept=True)
    classes = (
        split.classes if split and not file.classes else file.named_classes(command.class_names)
    )
    start_device(RuntimeSettings())
    network = load_network(file)
    metadata = metadata_of(file, classes, command)
    make_folder(out.parent, "out")
    report_path = ledger_path(out)
    with plain_folder(out.parent) as folder:
        temporary = folder / f"model{out.suffix}"
        with _full_disk(temporary, out):
            WRITERS[command.format](network, file, command, metadata, temporary)
        report = compared(network, temporary, command, split)
        report |= {
            "file": out.name,
            "checkpoint": str(file.path),
            **_ledger(network, file, command, report),
        }
        write_ledger(out, report)
        print(summary(report))
        if not report["passed"]:
            raise CheckpointError(
                f"{out} was not written: it does not agree with {file.path} within "
                f"tolerance={command.tolerance:g}; see {report_path}."
            )
        temporary.chmod(0o644)
        with replacing(out) as growing:
            shutil.move(temporary, growing)
    print(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB), {report_path.name}")
    predict = f"python predict.py {shlex.quote(f'checkpoint={out}')} images=FOLDER"
    print(where_to_look(then=f"{predict} draws what it finds on pictures of yours"))
    return 0


def metadata_of(
    file: ModelFile, classes: tuple[ClassInfo, ...], command: ExportCommand
) -> dict[str, str]:
    """Return what the exported file says of itself.

    Args:
        file: The checkpoint.
        classes: Its classes.
        command: The export's settings.
    """
    export = ExportInfo(command.decode, command.nms, command.batch_size)
    numbers = {name: getattr(command, name) for name in NMS}
    return make_metadata(file, classes, export, numbers)


@contextlib.contextmanager
def _full_disk(temporary: Path, out: Path) -> Iterator[None]:
    """Say that the disk is full where MindSpore, ONNX or safetensors say something of their own."""
    try:
        with naming(out):
            yield
    except Exception as error:
        if shutil.disk_usage(temporary.parent).free < _FULL and not isinstance(error, UserError):
            raise OSError(
                errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} in {temporary.parent.parent}", str(out)
            ) from error
        raise


def compared(
    network: Any, path: Path, command: ExportCommand, split: ConvertedSplit | None
) -> dict[str, Any]:
    """Compare the written file with the network it was written from; the report."""
    if command.format == "safetensors":
        return compare_weights(network, path)

    return compare(network, path, command, split)


def _ledger(
    network: Any, file: ModelFile, command: ExportCommand, report: dict[str, Any]
) -> dict[str, Any]:
    """The part of a report that every conversion has."""
    library = "torchvision" if is_torchvision(file.path) else "mindspore"
    in_words = {
        "max_box_difference": "boxes",
        "max_score_difference": "scores",
        "max_weight_difference": "weights",
    }
    if command.format == "safetensors":
        inputs = "every weight, read back from the file"
    else:
        inputs = f"{report['images']} images: {report['image_source']}"
    return ledger(
        donor=command.checkpoint,
        donor_sha256=file.sha256,
        library=library,
        licence=licence_of(file.sha256),
        names=donor_names(network, command, library),
        left_out=dict.fromkeys(
            read_with_rest(file.path)[1], "not needed: a counter, or of the trainer"
        ),
        inputs=inputs,
        differences={words: report[key] for key, words in in_words.items() if key in report},
    )


def summary(report: dict[str, Any]) -> str:
    """Say in two lines what a parity report found."""
    if "max_weight_difference" in report:
        most = report["max_weight_difference"]
        return f"{report['weights']} weights, read back: largest difference {most:g}"
    lines = []
    if "max_box_difference" in report:
        lines.append(
            f"{report['images']} images: largest difference of a box "
            f"{report['max_box_difference']:.2e} (relative), of a score "
            f"{report['max_score_difference']:.2e}"
        )
    detections = report["detections"]
    text = (
        f"detections: {detections['checkpoint']} and {detections['file']}, "
        f"{detections['unmatched']} unmatched, {detections['faults']} faults"
    )
    if report.get("ap") is not None:
        ap = report["ap"]
        text += (
            f"; AP {ap['checkpoint']:.4f} and {ap['file']:.4f} (delta {ap['delta']:+.1e}) on these "
            f"{ap['images']} images alone: it compares the two, eval.py tells what the detector is "
            "worth"
        )
    return "\n".join([*lines, text])


def _check_output(command: ExportCommand, out: Path) -> None:
    if out.suffix != f".{command.format}":
        raise SettingError(
            f"out={out}: a file of format={command.format} is called NAME.{command.format}."
        )
    if out.is_dir():
        raise SettingError(f"out={out}: expected a file, but it is a folder. Choose another name.")
    if out.exists() and not command.overwrite:
        raise SettingError(f"out={out}: exists. Choose another name, or set overwrite=true.")


def write_mindir(
    network: Any, file: ModelFile, command: ExportCommand, metadata: dict[str, str], path: Path
) -> None:
    """Write a network as MindIR, with the metadata inside."""
    import mindspore as ms

    height, width = file.image_size
    if command.batch_size:
        sample = ms.Tensor(np.zeros((command.batch_size, 3, height, width), np.uint8))
    else:
        sample = ms.Tensor(shape=[None, 3, height, width], dtype=ms.uint8)
    mindspore_export(detection_cell(network, decode=command.decode), sample, path, "MINDIR")
    model = ms.load_mindir(str(path))
    for key, value in metadata.items():
        model.user_info[key] = value
    path.chmod(0o600)
    ms.save_mindir(model, str(path))


def write_onnx(
    network: Any, file: ModelFile, command: ExportCommand, metadata: dict[str, str], path: Path
) -> None:
    """Write a network as ONNX, with NMS if asked, and the metadata inside."""
    import onnx

    from training.exporting.onnx_nms import append_nms
    from training.inference.onnx_graph import check

    model = onnx_model(network, command.batch_size, metadata, path.parent, decode=command.decode)
    if command.nms:
        append_nms(
            model,
            network.num_anchors,
            file.num_classes,
            command.score_floor,
            command.nms_iou,
            command.max_detections,
        )
        check(model)
    onnx.save(model, str(path))


WRITERS = {"onnx": write_onnx, "mindir": write_mindir, "safetensors": write_safetensors}
