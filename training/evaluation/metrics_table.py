"""The tables that evaluation prints.

Figures come from `evaluate.py`; nothing is computed here.
"""

from __future__ import annotations

from typing import Any

from training.evaluation.coco_ap import NAMES

_CLASSES_SHOWN = 100


def metrics_table(metrics: dict[str, Any]) -> str:
    """Lay out metrics as text: both protocols side by side, then VOC, then each class.

    Args:
        metrics: As in `metrics.json`.
    """
    coco, published, voc = metrics["coco"], metrics["published"], metrics["voc"]
    lines = [f"{'':12}{'coco':>10}{'published':>12}"]
    lines += [f"{name:12}{_number(coco[name]):>10}{_number(published[name]):>12}" for name in NAMES]
    lines.append(f"{'images':12}{coco['num_images']:>10}{published['num_images']:>12}")
    lines.append(
        f"VOC AP at 0.5: {_number(voc['AP2007'])} (2007, 11 points), {_number(voc['AP2010'])} "
        "(2010 on)"
    )
    lines += _engine_lines(metrics)
    lines += _diagnosis_lines(metrics)
    classes = metrics["per_class"]
    width = max([len(name) for name in classes] + [5])
    lines.append(f"{'class':{width}}{'AP':>8}{'AP50':>8}{'VOC10':>8}{'boxes':>8}{'found':>8}")
    for name, row in list(classes.items())[:_CLASSES_SHOWN]:
        lines.append(
            f"{name:{width}}{_number(row['AP']):>8}{_number(row['AP50']):>8}"
            f"{_number(row['VOC2010']):>8}{row['num_boxes']:>8}{row['num_detections']:>8}"
        )
    if len(classes) > _CLASSES_SHOWN:
        lines.append(f"... {len(classes) - _CLASSES_SHOWN} more in metrics.json")
    return "\n".join(lines)


def _engine_lines(metrics: dict[str, Any]) -> list[str]:
    """Say what computed the network, where one was computed."""
    if "engine" not in metrics:
        return []
    engine = metrics["engine"]
    line = f"computed by {engine['name']} {engine['version']}"
    if "parity" in engine:
        parity = engine["parity"]
        largest = max(parity["box_difference"], parity["score_difference"])
        line += f", within {largest:.1e} of MindSpore on {parity['images']} scenes"
    return [line]


def _diagnosis_lines(metrics: dict[str, Any]) -> list[str]:
    lines = []
    best = metrics["thresholds"]["all"]
    if best["threshold"] >= 0:
        lines.append(
            f"best threshold {best['threshold']:.3f}: F1 {best['f1']:.3f}, precision "
            f"{best['precision']:.3f}, recall {best['recall']:.3f}"
        )
    if "errors" in metrics:
        causes = metrics["errors"]["causes"].items()
        costs = (f"{name} {_number(cause['AP50_cost']['all'])}" for name, cause in causes)
        lines.append(f"AP50 lost by cause: {', '.join(costs)}")
    if metrics.get("calibration", {}).get("expected_error", -1) >= 0:
        lines.append(f"expected error of a score: {metrics['calibration']['expected_error']:.3f}")
    for name, row in metrics.get("sizes", {}).items():
        lines.append(
            f"sides {name:9} AP {_number(row['AP'])}, AP50 {_number(row['AP50'])}, "
            f"{row['num_boxes']} boxes"
        )
    return lines


def _number(value: float) -> str:
    return "-" if value < 0 else f"{value:.4f}"
