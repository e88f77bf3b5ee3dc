"""Post-processing versus a Python loop over classes, on one core, and AP versus pycocotools.

    python -m benchmarks.postprocess [--quick]

Both sides start from the same network output in the same process, bound to one core, and must give
the same detections. Prints tables and, last, one line of JSON; its `ratio` is that of the published
protocol.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import resource
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common import Result, parser, print_table
from training.boxes.postprocess import PUBLISHED, Detections, Protocol, coco_protocol, detect
from training.evaluation.coco_ap import coco_scores
from training.evaluation.coco_matching import kernels, match
from training.evaluation.detection_table import DetectionTable
from training.evaluation.ground_truth import GroundTruth, from_coco
from training.evaluation.settings import EvaluateSettings

ANCHORS, CLASSES, CANDIDATES = 1917, 80, 12_000
HEIGHT, WIDTH = 480, 640
Output = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def network_output(rng: np.random.Generator, clustered: bool) -> Output:
    """Make boxes and scores of one image with 12,000 scores above every floor.

    Args:
        rng: Source of randomness.
        clustered: Boxes crowd around 12 objects, as a trained network's do, instead of everywhere.
    """
    size = np.exp(rng.uniform(np.log(0.05), np.log(0.6), (ANCHORS, 2)))
    centre = rng.random((ANCHORS, 2))
    if clustered:
        objects = rng.integers(0, 12, ANCHORS)
        centre = rng.random((12, 2))[objects] + rng.normal(0, 0.03, (ANCHORS, 2))
        size = np.exp(rng.uniform(np.log(0.1), np.log(0.5), (12, 2)))[objects]
        size *= np.exp(rng.normal(0, 0.15, (ANCHORS, 2)))
    boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], 1), 0, 1)
    scores = np.zeros((ANCHORS, CLASSES + 1), np.float32)
    cells = rng.choice(ANCHORS * CLASSES, CANDIDATES, replace=False)
    scores[cells // CLASSES, 1 + cells % CLASSES] = rng.uniform(0.11, 1, CANDIDATES)
    return boxes.astype(np.float32), scores


def loop_over_classes(output: Output, protocol: Protocol) -> list[tuple[float, int, int]]:
    """Detect as a plain loop does: for every class, pick the best box and drop what it overlaps.

    Returns:
        (-score, label, anchor) of each detection, sorted.
    """
    boxes, scores = output
    detections = []
    for label in range(1, scores.shape[1]):
        anchors = np.flatnonzero(scores[:, label] > protocol.score_floor)
        pixels = boxes[anchors].astype(np.float64) * [HEIGHT, WIDTH, HEIGHT, WIDTH]
        y1, x1, y2, x2 = pixels.T
        one = protocol.pixel_offset
        areas = (x2 - x1 + one) * (y2 - y1 + one)
        left = np.argsort(-scores[anchors, label], kind="stable")
        picked: list[int] = []
        while left.size and len(picked) < (protocol.max_per_class or len(anchors)):
            best, left = int(left[0]), left[1:]
            picked.append(best)
            wide = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left]) + one
            tall = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left]) + one
            inter = np.maximum(wide, 0.0) * np.maximum(tall, 0.0)
            left = left[inter / (areas[best] + areas[left] - inter) <= protocol.nms_iou]
        detections += [(-float(scores[anchors[k], label]), label, int(anchors[k])) for k in picked]
    detections.sort()
    return detections[: protocol.max_per_image]


def same(loop: list[tuple[float, int, int]], ours: Detections, output: Output) -> bool:
    """Whether both sides give the same boxes, labels and scores in the same order."""
    boxes = output[0][[anchor for _, _, anchor in loop]].astype(np.float64)
    return (
        ours.labels.tolist() == [label for _, label, _ in loop]
        and ours.scores.tolist() == [-score for score, _, _ in loop]
        and np.array_equal(ours.boxes_yxyx_px, boxes * [HEIGHT, WIDTH, HEIGHT, WIDTH])
    )


def measure(outputs: list[Output], protocol: Protocol, repeats: int) -> dict[str, Any]:
    """Time both sides in turn; the best of the repeats counts, the least disturbed by others."""
    loop_s, our_s, equal = [], [], True
    for _ in range(repeats):
        begun = perf_counter()
        loops = [loop_over_classes(output, protocol) for output in outputs]
        middle = perf_counter()
        ours = [detect(*output, HEIGHT, WIDTH, protocol) for output in outputs]
        loop_s.append((middle - begun) / len(outputs))
        our_s.append((perf_counter() - middle) / len(outputs))
        equal &= all(same(a, b, o) for a, b, o in zip(loops, ours, outputs, strict=True))
    return {
        "ours_images_per_s": 1 / min(our_s),
        "loop_images_per_s": 1 / min(loop_s),
        "ratio": min(loop_s) / min(our_s),
        "detections_per_image": sum(map(len, ours)) / len(ours),
        "same_detections": bool(equal),
    }


def synthetic_set(images: int) -> tuple[list[dict[str, Any]], DetectionTable]:
    """Make annotations (7 boxes an image) and 100 detections an image, over 80 classes."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for image in range(1, images + 1):
        kinds = rng.integers(1, CLASSES + 1, 3)[rng.integers(0, 3, 7)]
        boxes = np.concatenate([rng.random((7, 2)) * 400, 8 + rng.random((7, 2)) ** 2 * 220], 1)
        for box, kind in zip(boxes, kinds, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(kind),
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(rng.random() < 0.01),
                }
            )
        owner = rng.integers(0, 7, 100)
        detected = boxes[owner] + rng.normal(0, 1, (100, 4)) * rng.choice([2, 12], (100, 1))
        labels = np.where(rng.random(100) < 0.6, kinds[owner], rng.integers(1, CLASSES + 1, 100))
        parts.append((np.full(100, image), labels, np.maximum(detected, 1), rng.random(100)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return annotations, DetectionTable(columns[0], columns[1], columns[2], columns[3])


def measure_ap(images: int) -> dict[str, Any]:
    """Time our AP and pycocotools' on the same detections, from loaded ground truth to figures."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, table = synthetic_set(images)
    listed = [{"id": k, "height": 700, "width": 700} for k in range(1, images + 1)]
    categories = [{"id": k, "name": f"c{k}"} for k in range(1, CLASSES + 1)]
    truth: GroundTruth = from_coco(listed, annotations, categories)
    kernels()  # compiled, or loaded, once in a process
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = perf_counter()
    ours = coco_scores(match(truth, table)).numbers()
    our_s = perf_counter() - begun
    middle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": listed, "annotations": annotations, "categories": categories}
        coco.createIndex()
        rows = np.column_stack(
            [table.image_id, table.boxes_xywh_px, table.score, table.category_id]
        )
        begun = perf_counter()
        evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        their_s = perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "images": images,
        "detections": len(table),
        "ours_s": our_s,
        "pycocotools_s": their_s,
        "ratio": their_s / our_s,
        "ours_extra_mb": (middle - before) / 1024,
        "pycocotools_extra_mb": (after - middle) / 1024,
        "same_digits": evaluation.stats.tolist() == list(ours.values()),
    }


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__ or "").parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    count, repeats = (1, 2) if arguments.quick else (4, 7)
    # The loop that we compare with keeps 100 of every class; so do we here, without a limit per
    # image.
    endless = dataclasses.replace(PUBLISHED, max_per_image=None)
    protocols = (endless, coco_protocol(EvaluateSettings()))
    results, rows = {}, []
    for clustered in (False, True):
        outputs = [network_output(rng, clustered) for _ in range(count)]
        for protocol in protocols:
            name = f"{protocol.name}, {'clustered' if clustered else 'scattered'} boxes"
            figures = results[name] = measure(outputs, protocol, repeats)
            rows.append([name, *figures.values()])
    headers = ["protocol", "ours img/s", "loop img/s", "ratio", "detections", "same"]
    print_table(f"Post-processing, one core, {CANDIDATES} candidates an image", headers, rows)
    ap = measure_ap(300 if arguments.quick else 5000)
    print_table(
        f"COCO AP, {ap['images']} images, {CLASSES} classes, {ap['detections']} detections",
        ["", "seconds", "extra MB", "same digits"],
        [
            ["ours", ap["ours_s"], ap["ours_extra_mb"], str(ap["same_digits"])],
            ["pycocotools", ap["pycocotools_s"], ap["pycocotools_extra_mb"], ""],
        ],
    )
    main_figures = results["published, scattered boxes"]
    Result(
        "postprocess",
        main_figures["ours_images_per_s"],
        main_figures["loop_images_per_s"],
        {"unit": "images/s", "candidates": CANDIDATES, "cases": results, "ap": ap},
    ).print()


if __name__ == "__main__":
    main()
