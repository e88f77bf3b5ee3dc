"""An ONNX graph as MindSpore writes it, made fit for use: names, batch, pixels in, metadata.

MindSpore exports static shapes, float input, and outputs with internal names. The graph comes from
`onnx_writer.py`; suppression is put into it by `exporting/onnx_nms.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BATCH = "batch"


def finish(
    model: Any,
    output_names: tuple[str, str],
    batch_size: int,
    metadata: dict[str, str],
) -> Any:
    """Rename inputs and outputs, take uint8 pixels, set the batch, and write the metadata.

    Args:
        model: ModelProto that MindSpore exported for one image.
        output_names: Names for its two outputs.
        batch_size: Images per call; 0 for any number.
        metadata: Written into the file.

    Returns:
        The same ModelProto, changed.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    assert len(inputs) == 1 and len(graph.output) == 2, "the graph of a DetectionCell"
    for value, name in zip(graph.output, output_names, strict=True):
        rename(graph, value.name, name)
    _take_pixels(graph, inputs[0])
    _free_batch(graph)
    for value in (inputs[0], *graph.output):
        _set_batch(value, batch_size)
    # Initializers need not be listed as inputs since IR 4; listed, they keep runtimes from folding
    # them.
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    set_metadata(model, metadata)
    model.producer_name = "mindspore-ssd"
    graph.name = "detector"
    return model


def set_metadata(model: Any, metadata: dict[str, str]) -> None:
    """Replace the file's metadata."""
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)


def rename(graph: Any, old: str, new: str) -> None:
    """Give a value of the graph another name, wherever it is used."""
    for node in graph.node:
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                if name == old:
                    names[k] = new
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new


def _take_pixels(graph: Any, value: Any) -> None:
    """Let the input be uint8 and cast it to float32 first."""
    old, inner = value.name, "images_float32"
    rename(graph, old, inner)
    value.name = "images"
    value.type.tensor_type.elem_type = TensorProto.UINT8
    graph.node.insert(0, helper.make_node("Cast", ["images"], [inner], to=TensorProto.FLOAT))


def _free_batch(graph: Any) -> None:
    """Let reshapes that begin with a batch of 1 copy the batch of their input (0 in ONNX)."""
    shapes = {name for node in graph.node if node.op_type == "Reshape" for name in node.input[1:2]}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            tensor.CopyFrom(_with_free_batch(tensor, tensor.name))
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            node.attribute[0].t.CopyFrom(_with_free_batch(node.attribute[0].t, ""))


def _with_free_batch(tensor: Any, name: str) -> Any:
    shape = numpy_helper.to_array(tensor).astype(np.int64).copy()
    if len(shape) > 1 and shape[0] == 1:
        shape[0] = 0
    return numpy_helper.from_array(shape, name)


def _set_batch(value: Any, batch_size: int) -> None:
    dimension = value.type.tensor_type.shape.dim[0]
    if batch_size:
        dimension.dim_value = batch_size
    else:
        dimension.dim_param = BATCH


def check(model: Any) -> None:
    """Let ONNX check the file's structure; a failure here is a mistake of ours."""
    onnx.checker.check_model(model, full_check=False)
