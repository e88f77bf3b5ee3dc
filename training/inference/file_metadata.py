"""What an exported file says of itself: preprocessing, classes, box format, where it came from.

Kept as text values by name, which both ONNX and MindIR can carry; `exported.py` reads it back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import build, in_words, number_problem, parse_json, shown
from data_tools.core.sample import ClassInfo
from training.inference.model_file import ExportInfo, ModelFile
from training.nets.settings import settings_from_dict

FORMAT = "ssd-export/1"

NMS = ("score_floor", "nms_iou", "max_detections")
"""What an exported file that suppresses in its graph says of it."""

PREPROCESSING = (
    "Decode to 8-bit RGB; resize to image_size (height, width), aspect not kept, with bilinear "
    "interpolation and half-pixel centres (cv2.INTER_LINEAR); layout (N, 3, height, width), values "
    "0..255. The graph itself subtracts mean and divides by std."
)


def make_metadata(
    file: ModelFile,
    classes: tuple[ClassInfo, ...],
    export: ExportInfo,
    graph_nms: Mapping[str, float],
) -> dict[str, str]:
    """Return the metadata of an export.

    Args:
        file: The checkpoint.
        classes: Its classes.
        export: How the exported file is to be run.
        graph_nms: With `export.nms` the numbers of `NMS`.
    """
    numbers = {name: graph_nms[name] for name in NMS} if export.nms else {}
    values: dict[str, Any] = {
        "format": FORMAT,
        "model": dataclasses.asdict(file.model),
        "num_classes": file.num_classes,
        "classes": [dataclasses.asdict(c) for c in classes],
        "image_size": list(file.image_size),
        "mean": list(file.model.mean),
        "std": list(file.model.std),
        "preprocessing": PREPROCESSING,
        "input": "images: uint8 (N, 3, height, width) RGB",
        "outputs": outputs_in_words(export, numbers),
        "box_format": "y1, x1, y2, x2 relative to the image, 0..1" if export.decode else "raw",
        "decode": export.decode,
        "nms": export.nms,
        "batch_size": export.batch_size,
        "checkpoint_sha256": file.sha256,
        "data_fingerprint": file.data_fingerprint,
    }
    if file.thresholds:
        values["thresholds"] = {k: file.thresholds.get(k) for k in ("all", "per_class")}
    values |= numbers
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


def outputs_in_words(export: ExportInfo, numbers: Mapping[str, float]) -> str:
    """Say what the file's outputs are, in their order."""
    if export.nms:
        k = numbers["max_detections"]
        return (
            f"boxes float32 (N, {k}, 4), scores float32 (N, {k}), labels int64 (N, {k}) 1..C, best "
            "first, 0 behind the last detection; count int64 (N,)"
        )
    first = "boxes float32 (N, A, 4)" if export.decode else "regression float32 (N, A, 4)"
    return f"{first}, scores float32 (N, A, C + 1), column 0 is background"


def parse_metadata(path: Path, values: dict[str, str], sha256: str) -> ModelFile:
    """Read back what `make_metadata` made.

    Raises:
        CheckpointError: If it is missing or of a format this version cannot read.
    """
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: no metadata of format {FORMAT!r} (found {shown(values.get('format'))}). It "
            "was not written by this project's export.py, so its classes and preprocessing are "
            "unknown."
        )
    try:
        info = ExportInfo(
            decode=_parse(values, "decode", bool),
            nms=_parse(values, "nms", bool),
            batch_size=_parse(values, "batch_size", int),
        )
        file = ModelFile(
            path=path,
            model=settings_from_dict(_parse(values, "model", dict)),
            num_classes=_parse(values, "num_classes", int),
            classes=tuple(
                build(ClassInfo, entry, "classes") for entry in _parse(values, "classes", list)
            ),
            sha256=sha256,
            data_fingerprint=values["data_fingerprint"],
            graph_nms={name: _parse(values, name, int, float) for name in NMS} if info.nms else {},
            thresholds=_parse(values, "thresholds", dict) if "thresholds" in values else None,
            export=info,
        )
    except (KeyError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"{path}: its metadata is damaged ({what}). Export the checkpoint again."
        ) from error
    if info.batch_size < 0 or len(file.classes) not in (0, file.num_classes - 1):
        raise CheckpointError(
            f"{path}: its metadata is damaged ({len(file.classes)} classes, num_classes="
            f"{file.num_classes}, batch_size={info.batch_size}). Export the checkpoint again."
        )
    return file


def _parse(values: dict[str, str], key: str, *kinds: type) -> Any:
    """Parse one value; a number must be a finite one."""
    value = parse_json(values[key])
    if type(value) not in kinds or number_problem(value):
        raise ValueError(f"{key}: {shown(value)}, expected {in_words(kinds[-1])}")
    return value
