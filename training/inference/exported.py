"""Exported files - ONNX in onnxruntime, MindIR in MindSpore - behind the same predict function.

How they are written is in `export.py`; what they say of themselves in `file_metadata.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from data_tools.core.files import sha256_of_file
from data_tools.core.json_dataclass import first_line
from training.boxes.codec import decode_boxes
from training.inference.file_metadata import parse_metadata
from training.inference.model_file import ExportInfo, ModelFile
from training.inference.onnx_session import open_session
from training.inference.predictor import pad_batch
from training.nets.anchors import default_boxes
from training.process.plain_paths import plain_path

Arrays = list[npt.NDArray[Any]]

_AGAIN = "Copy the file again, or export the checkpoint again."


def read_metadata(path: Path) -> ModelFile:
    """Read what an exported file says of itself.

    Raises:
        CheckpointError: If it is damaged or was not written by `export.py`.
    """
    values = _onnx_metadata(path) if path.suffix == ".onnx" else _mindir_metadata(path)
    return parse_metadata(path, values, sha256_of_file(path))


def _onnx_metadata(path: Path) -> dict[str, str]:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        # Protobuf's own errors come through, and which they are depends on its version.
        raise CheckpointError(
            f"{path}: not an ONNX file, or damaged ({first_line(error)}). {_AGAIN}"
        ) from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _mindir_metadata(path: Path) -> dict[str, str]:
    import mindspore as ms

    try:
        with plain_path(path) as plain:
            model = ms.load_mindir(str(plain))
    except Exception as error:
        # MindSpore lets protobuf's own errors through, and which they are depends on its version.
        raise CheckpointError(
            f"{path}: not a MindIR file, or damaged ({first_line(error)}). {_AGAIN}"
        ) from error
    return dict(model.user_info)


class ExportedPredictor:
    """A predict function over an exported file.

    Args:
        run: (n, 3, H, W) uint8 -> the file's outputs, where n is `step`, or anything if `step` is
            0.
        file: What the file is.
        info: How it is to be run.
        step: Images per call.
    """

    def __init__(
        self,
        run: Callable[[npt.NDArray[np.uint8]], Arrays],
        file: ModelFile,
        info: ExportInfo,
        step: int,
    ) -> None:
        self._run, self._file, self._info, self._step = run, file, info, step

    def outputs(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """Return the file's own outputs for any number of images (N, 3, H, W) uint8 RGB."""
        step = self._step or len(images)
        parts = []
        for start in range(0, len(images), step):
            chunk = images[start : start + step]
            full = pad_batch(chunk, step)
            parts.append([output[: len(chunk)] for output in self._run(full)])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def __call__(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return boxes (N, A, 4) relative and scores (N, A, C + 1).

        Of a file with NMS in its graph A is its number of detections, and each has a score in the
        column of its class only: a further NMS at the same overlap changes nothing.
        """
        outputs = self.outputs(images)
        if self._info.nms:
            boxes, scores, labels = outputs[:3]
            table = np.zeros((*scores.shape, self._file.num_classes), np.float32)
            np.put_along_axis(table, labels[:, :, None], scores[:, :, None], axis=2)
            table[:, :, 0] = 0.0
            return boxes, table
        boxes, scores = outputs
        if not self._info.decode:
            model = self._file.model
            boxes = decode_boxes(boxes, default_boxes(model), model.prior_scaling)
            boxes = np.clip(boxes, 0.0, 1.0)
        return boxes, scores


def load_exported(file: ModelFile, batch_size: int) -> ExportedPredictor:
    """Make an exported file ready to run.

    Args:
        file: From `read_metadata`.
        batch_size: Images per call, where the file takes any number.

    Raises:
        CheckpointError: If the runtime refuses it.
    """
    info = file.export
    assert info is not None, "read_metadata gave it"
    step = info.batch_size or batch_size
    run = _onnx_runner(file.path) if file.path.suffix == ".onnx" else _mindir_runner(file.path)
    return ExportedPredictor(run, file, info, step)


def _onnx_runner(path: Path) -> Callable[[npt.NDArray[np.uint8]], Arrays]:
    try:
        session = open_session(path)
    except Exception as error:  # onnxruntime's errors have no common base but Exception
        raise CheckpointError(
            f"{path}: onnxruntime refuses it ({first_line(error)}). {_AGAIN}"
        ) from error
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def _mindir_runner(path: Path) -> Callable[[npt.NDArray[np.uint8]], Arrays]:
    import mindspore as ms
    from mindspore import nn

    try:
        with plain_path(path) as plain:
            cell = nn.GraphCell(ms.load(str(plain)))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: MindSpore refuses it ({first_line(error)}). {_AGAIN}"
        ) from error
    return lambda images: [output.asnumpy() for output in cell(ms.Tensor(images))]
