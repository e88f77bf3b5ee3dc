"""Score floor, suppression and the choice of the best, put into an ONNX graph of a detector.

The graph before that is `inference/onnx_writer.py`'s matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from training.inference.onnx_graph import rename


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

    rename(graph, "boxes", "all_boxes")
    rename(graph, "scores", "all_scores")
    node("Slice", ["all_scores", constant("one", [1]), constant("end", [num_classes]),
                   constant("last", [2])], ["object_scores"])  # fmt: skip
    node("Transpose", ["object_scores"], ["class_scores"], perm=[0, 2, 1])  # (N, C, A)
    node("NonMaxSuppression", ["all_boxes", "class_scores", constant("anchors", [num_anchors]),
                               constant("iou", [iou], np.float32),
                               constant("floor", [floor], np.float32)], ["picked"])  # fmt: skip
    # Picked scores go back to their positions in a table of zeros, where the best of an image are
    # found; equal scores come out by position, which is label-major.
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
