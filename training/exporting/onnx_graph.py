"""An ONNX file as MindSpore writes it, made fit for use: names, batch, pixels in, NMS, metadata.

MindSpore exports static shapes, float input, and outputs with internal names. Running is
`inference/exported.py`'s.
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
        _rename(graph, value.name, name)
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


def _rename(graph: Any, old: str, new: str) -> None:
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
    _rename(graph, old, inner)
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


def append_nms(
    model: Any, num_anchors: int, num_classes: int, floor: float, iou: float, most: int
) -> Any:
    """Put score floor, per-class NMS and the choice of the best into the graph.

    The outputs become `boxes` (N, K, 4), `scores` (N, K), `labels` (N, K) from 1 on, and `count`
    (N,): detections best first, then lower label, then earlier anchor; zeros behind the last.

    Args:
        model: ModelProto with outputs `boxes` and `scores`, finished.
        num_anchors: A.
        num_classes: C + 1, with background.
        floor: Detections score more than this.
        iou: Overlap above which the lower score of a class goes.
        most: K, detections per image.

    Returns:
        The same ModelProto, changed.
    """
    graph, objects = model.graph, num_classes - 1
    most_possible = min(most, num_anchors * objects)
    batch = graph.output[0].type.tensor_type.shape.dim[0]
    del graph.output[:]

    def constant(name: str, values: Any, dtype: type = np.int64) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), f"nms/{name}"))
        return f"nms/{name}"

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        graph.node.append(
            helper.make_node(kind, inputs, outputs, f"nms/{outputs[0]}", **attributes)
        )

    _rename(graph, "boxes", "all_boxes")
    _rename(graph, "scores", "all_scores")
    node("Slice", ["all_scores", constant("one", [1]), constant("end", [num_classes]),
                   constant("last", [2])], ["object_scores"])  # fmt: skip
    node("Transpose", ["object_scores"], ["class_scores"], perm=[0, 2, 1])  # (N, C, A)
    node("NonMaxSuppression", ["all_boxes", "class_scores", constant("anchors", [num_anchors]),
                               constant("iou", [iou], np.float32),
                               constant("floor", [floor], np.float32)], ["picked"])  # fmt: skip
    # Picked scores go back to their places in a table of zeros, where the best of an image are
    # found; equal scores come out by place, which is label-major.
    node("GatherND", ["class_scores", "picked"], ["picked_scores"])
    node("Shape", ["class_scores"], ["table_shape"])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    node("ConstantOfShape", ["table_shape"], ["empty_table"], value=zero)
    node("ScatterND", ["empty_table", "picked", "picked_scores"], ["table"])
    node("Reshape", ["table", constant("rows", [0, -1])], ["flat"])
    node("TopK", ["flat", constant("most", [most_possible])], ["scores", "place"], axis=1)
    width = constant("width", num_anchors)
    node("Div", ["place", width], ["class_index"])
    node("Mul", ["class_index", width], ["class_start"])
    node("Sub", ["place", "class_start"], ["anchor"])
    node("Greater", ["scores", constant("nothing", 0.0, np.float32)], ["is_there"])
    node("Cast", ["is_there"], ["there"], to=TensorProto.INT64)
    node("Cast", ["is_there"], ["there_float"], to=TensorProto.FLOAT)
    node("Add", ["class_index", constant("first_label", 1)], ["any_label"])
    node("Mul", ["any_label", "there"], ["labels"])
    node("ReduceSum", ["there"], ["count"], axes=[1], keepdims=0)
    node("Unsqueeze", ["anchor"], ["anchor_column"], axes=[2])
    node("GatherND", ["all_boxes", "anchor_column"], ["any_box"], batch_dims=1)
    node("Unsqueeze", ["there_float"], ["there_column"], axes=[2])
    node("Mul", ["any_box", "there_column"], ["boxes"])
    for name, kind, shape in (
        ("boxes", TensorProto.FLOAT, [most_possible, 4]),
        ("scores", TensorProto.FLOAT, [most_possible]),
        ("labels", TensorProto.INT64, [most_possible]),
        ("count", TensorProto.INT64, []),
    ):
        value = helper.make_tensor_value_info(name, kind, [1, *shape])
        value.type.tensor_type.shape.dim[0].CopyFrom(batch)
        graph.output.append(value)
    # GatherND with batch dimensions came with opset 12.
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, 12)
    return model


def check(model: Any) -> None:
    """Let ONNX check the file's structure; a failure here is a mistake of ours."""
    onnx.checker.check_model(model, full_check=False)
