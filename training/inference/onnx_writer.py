"""A network as an ONNX graph: MindSpore's own export, made fit for use by `onnx_graph.py`.

Files with a report are `training/exporting/`'s matter; graphs that are kept for inference are
`graph_cache.py`'s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from training.inference.predictor import detection_cell


def onnx_model(
    network: Any, batch_size: int, metadata: dict[str, str], folder: Path, *, decode: bool = True
) -> Any:
    """Write a network as an ONNX graph: uint8 pixels to boxes (or raw regression) and scores.

    Args:
        network: A detector of `training.nets` in inference mode.
        batch_size: Images per call; 0 for any number.
        metadata: Written into the graph.
        folder: An empty folder of a plain name to work in; what MindSpore drops stays in it.
        decode: Give boxes `[y1, x1, y2, x2]` relative to the image in place of raw regression.

    Returns:
        The ModelProto.
    """
    import mindspore as ms
    import onnx

    from training.inference import onnx_graph

    height, width = network.model.height_width
    path = folder / "graph.onnx"
    # MindSpore writes static shapes only; the batch is freed afterwards.
    sample = ms.Tensor(np.zeros((1, 3, height, width), np.float32))
    mindspore_export(detection_cell(network, decode=decode), sample, path, "ONNX")
    model = onnx.load(str(path))
    path.unlink()
    onnx_graph.finish(model, ("boxes" if decode else "regression", "scores"), batch_size, metadata)
    onnx_graph.check(model)
    return model


def mindspore_export(cell: Any, sample: Any, path: Path, kind: str) -> None:
    """Let MindSpore write a cell to a file.

    Args:
        cell: The network.
        sample: An input.
        path: The file.
        kind: ONNX or MINDIR.
    """
    import mindspore as ms

    # MindSpore drops its debris (rank_0/, kernel_meta/) where it is run from: not in the user's
    # folder.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        ms.export(cell, sample, file_name=str(path), file_format=kind)
    finally:
        os.chdir(before)
