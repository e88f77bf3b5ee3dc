"""Drawn ground truth with detections, and what pycocotools and our own code make of them."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np

from training.evaluation.coco_ap import coco_scores
from training.evaluation.coco_matching import match
from training.evaluation.detection_table import from_results
from training.evaluation.ground_truth import from_coco


def random_case(seed: int, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Make ground truth with crowds and gaps in the ids, and noisy detections with equal scores."""
    rng = np.random.default_rng(seed)
    images = [{"id": int(i), "file_name": f"{i}.jpg", "height": 400, "width": 500}
              for i in rng.permutation(np.arange(3, 60, 4))]  # fmt: skip
    categories = [{"id": int(c), "name": f"c{c}"} for c in (7, 2, 11, 90)]
    annotations: list[dict[str, Any]] = []
    results = []
    for image in images[1:]:  # one image stays without boxes
        for category in (2, 7, 11):  # category 90 stays without boxes
            for _ in range(rng.integers(0, 5)):
                box = np.concatenate([rng.random(2) * 200, 4 + rng.random(2) ** 2 * 180])
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": category,
                        "bbox": box.tolist(),
                        "area": float(box[2] * box[3] * rng.uniform(0.5, 1)),
                        "iscrowd": int(rng.random() < 0.15),
                    }
                )
                for _ in range(rng.integers(0, 4)):
                    moved = box + rng.normal(0, 4, 4) * (rng.random() < 0.8)
                    results.append(
                        {
                            "image_id": image["id"],
                            "category_id": int(rng.choice([category, category, 90])),
                            "bbox": np.maximum(moved, 0.5).tolist(),
                            "score": float(rng.integers(1, 12)) / 12,
                        }
                    )
    rng.shuffle(results)  # type: ignore[arg-type]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return {**truth, **changes}, results


def reference(truth: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    """Let pycocotools evaluate."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(truth))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(results))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def scores_of(truth: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    """Evaluate with our own code."""
    parsed = from_coco(truth["images"], truth["annotations"], truth["categories"])
    return coco_scores(match(parsed, from_results(results)))
