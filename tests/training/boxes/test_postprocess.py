"""Network output to detections: floors, order, limits, protocols."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.helpers.eval_fixtures import loop_nms
from training.boxes.postprocess import PUBLISHED, Protocol, coco_protocol, detect, one_name
from training.evaluation.settings import EvaluateSettings


def output(rng: np.random.Generator, anchors: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    corner = rng.random((anchors, 2)).astype(np.float32) * 0.6
    boxes = np.concatenate([corner, corner + rng.random((anchors, 2), dtype=np.float32) * 0.4], 1)
    # Few levels, so that equal scores are common.
    scores = rng.integers(0, 20, (anchors, classes)).astype(np.float32) / 20
    return boxes, scores


def oracle(
    boxes: np.ndarray, scores: np.ndarray, height: int, width: int, protocol: Protocol
) -> list[tuple]:
    """Loop over classes as the published tools do, with ties broken by anchor, then class."""
    found = []
    for label in range(1, scores.shape[1]):
        anchors = np.flatnonzero(scores[:, label] > protocol.score_floor)
        anchors = anchors[np.argsort(-scores[anchors, label], kind="stable")]
        pixels = boxes[anchors].astype(np.float64) * [height, width, height, width]
        for k in loop_nms(pixels, protocol.nms_iou, protocol.pixel_offset, protocol.max_per_class):
            score = scores[anchors[k], label]
            found.append((-score, label, anchors[k], tuple(pixels[k])))
    found.sort()
    return [(-s, label, box) for s, label, _, box in found[: protocol.max_per_image]]


def as_rows(detections) -> list[tuple]:
    return [
        (s, int(c), tuple(b))
        for s, c, b in zip(
            detections.scores, detections.labels, detections.boxes_yxyx_px, strict=True
        )
    ]


def test_equals_the_loop_over_classes_in_both_protocols() -> None:
    rng = np.random.default_rng(0)
    coco = coco_protocol(EvaluateSettings(score_floor=0.2))
    endless = dataclasses.replace(PUBLISHED, max_per_image=None)
    for protocol in (coco, PUBLISHED, endless, Protocol("few", 0.5, 0.3, max_per_image=7)):
        for _ in range(4):
            boxes, scores = output(rng, 150, 6)
            got = as_rows(detect(boxes, scores, 120, 333, protocol))
            assert got == oracle(boxes, scores, 120, 333, protocol)


def one_name_oracle(
    boxes: np.ndarray, scores: np.ndarray, height: int, width: int, protocol: Protocol
) -> list[tuple]:
    """The best class of each box; then the loop class by class; then the loop over all that is
    left.
    """
    only_best = np.zeros_like(scores)
    label = 1 + scores[:, 1:].argmax(axis=1)
    only_best[np.arange(len(scores)), label] = scores[np.arange(len(scores)), label]
    unlimited = dataclasses.replace(protocol, max_per_image=None)
    rows = oracle(boxes, only_best, height, width, unlimited)
    corners = np.array([box for _, _, box in rows]).reshape(-1, 4)
    kept = loop_nms(corners, protocol.one_name_iou, 0.0, None) if rows else []
    return [rows[k] for k in kept][: protocol.max_per_image]


def test_one_name_equals_three_loops() -> None:
    rng = np.random.default_rng(1)
    for iou, most in ((0.5, 100), (0.2, None), (0.9, 5), (1.0, 100)):
        protocol = Protocol("p", 0.2, 0.6, max_per_image=most, one_name_iou=iou)
        for anchors in (0, 1, 150):
            boxes, scores = output(rng, anchors, 6)
            got = as_rows(detect(boxes, scores, 120, 333, protocol))
            assert got == one_name_oracle(boxes, scores, 120, 333, protocol)


def test_one_name_leaves_no_two_boxes_of_one_object() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0.01, 0.5, 0.51], [0.5, 0.5, 1, 1]], np.float32)
    scores = np.array([[0, 0.9, 0.8, 0], [0, 0, 0.7, 0.6], [0, 0, 0, 0.5]], np.float32)
    protocol = Protocol("p", 0.1, 0.6)
    assert detect(boxes, scores, 100, 100, protocol).labels.tolist() == [1, 2, 3, 3]
    once = detect(boxes, scores, 100, 100, dataclasses.replace(protocol, one_name_iou=0.5))
    assert once.labels.tolist() == [1, 3]
    assert one_name(np.zeros((0, 4))).tolist() == []


def test_metrics_let_classes_overlap() -> None:
    assert coco_protocol(EvaluateSettings()).one_name_iou is None
    assert PUBLISHED.one_name_iou is None


def test_published_protocol_is_what_the_published_tools_do() -> None:
    assert (PUBLISHED.score_floor, PUBLISHED.nms_iou, PUBLISHED.pixel_offset) == (0.1, 0.6, 1.0)
    assert (PUBLISHED.max_per_class, PUBLISHED.max_per_image) == (100, 1000)


def test_background_is_never_a_detection() -> None:
    scores = np.zeros((3, 4), np.float32)
    scores[:, 0] = 1.0
    found = detect(np.zeros((3, 4), np.float32), scores, 10, 10, PUBLISHED)
    assert len(found) == 0
    assert found.boxes_yxyx_px.shape == (0, 4)


def test_the_floor_is_exclusive() -> None:
    scores = np.array([[0, 0.5], [0, 0.25]], np.float32)
    boxes = np.array([[0, 0, 0.1, 0.1], [0.5, 0.5, 1, 1]], np.float32)
    assert len(detect(boxes, scores, 10, 10, Protocol("p", 0.25, 0.5))) == 1


def test_not_finite_output_makes_no_detection() -> None:
    boxes = np.array([[0, 0, 1, 1], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]], np.float32)
    scores = np.array([[0, np.nan], [0, 0.9], [0, 0.8]], np.float32)
    assert len(detect(boxes, scores, 10, 10, PUBLISHED)) == 0


def test_boxes_are_scaled_to_the_image_without_rounding() -> None:
    boxes = np.array([[0.1, 0.2, 0.30000001, 0.7]], np.float32)
    found = detect(boxes, np.array([[0, 1]], np.float32), 333, 1001, PUBLISHED)
    expected = boxes[0].astype(np.float64) * [333, 1001, 333, 1001]
    assert found.boxes_yxyx_px[0].tolist() == expected.tolist()
