"""Evaluation while training: the current weights in a network of their own, on all ranks.

The figures come from `evaluation/evaluate.py`, the same call that `eval.py` makes, so the digits
agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from data_tools.core.errors import DataError
from data_tools.core.files import write_atomic
from data_tools.core.words import printable
from data_tools.shards.manifest import ConvertedSplit, open_split
from training.evaluation.evaluate import evaluate
from training.inference.engine import mindspore_engine
from training.inference.predictor import build_predictor
from training.learning.assemble import RunComponents
from training.learning.state import copy_weights
from training.nets.build import build_network
from training.process.disk_errors import disk_errors
from training.run.validation_loss import LossAndDetections
from training.watching.tensorboard import TensorBoard
from training.watching.visualize import write_prediction_sheet

_MOST_CLASSES = 10


class Evaluator:
    """Scores the run's weights on its evaluation split; `loss` is the latest loss on it, None
    without one.

    Weights are copied into a second network: the training one stays in training mode, and averages
    of weights (ema) are evaluated without touching the weights that train.

    Args:
        components: The run.

    Raises:
        DataError: If evaluation is wanted and its split's classes are not those of training.
    """

    def __init__(self, components: RunComponents) -> None:
        self.components = components
        self.split = self._open()
        self.predict: Any = None
        self.judge: LossAndDetections | None = None
        self.loss: float | None = None
        self.network: Any = None
        self.result: Any = None

    def _open(self) -> ConvertedSplit | None:
        settings = self.components.settings
        if not settings.evaluate_at_end and settings.evaluate_every_epochs == 0:
            return None
        split = open_split(settings.data, settings.evaluate_split)
        if split.classes != self.components.split.classes:
            raise DataError(
                f"{split.folder}: its classes are not those of {self.components.split.folder}. "
                "Convert both splits in one go."
            )
        return split

    def evaluate(self, notify: Callable[[str], None]) -> dict[str, Any] | None:
        """Evaluate the current weights; call it on every rank.

        Args:
            notify: Prints a line on the main rank.

        Returns:
            The metrics, the same on every rank; None if there is no evaluation split.
        """
        if self.split is None:
            return None
        settings, world = self.components.settings, self.components.world
        if self.network is None:
            self.network = build_network(settings.model, self.components.split.num_classes)
            if settings.evaluate_loss:
                self.judge = LossAndDetections(
                    self.network, self.components.loss, self.components.pipeline.encoder
                )
            else:
                self.predict = build_predictor(self.network, settings.evaluate.batch_size)
        copy_weights(world.broadcast(self.components.state.detector_weights()), self.network)
        self.result = evaluate(
            self.predict,
            self.split,
            settings.model.height_width,
            settings.evaluate,
            rank=world.rank,
            world_size=world.size,
            gather=world.gather_bytes if world.size > 1 else None,
            judge=self.judge,
        )
        self.loss = self.judge.take(world) if self.judge is not None else None
        metrics: dict[str, Any] = self.result.metrics
        coco = metrics["coco"]
        notify(
            f"evaluation of {coco['num_images']} images: AP {coco['AP']:.4f}, AP50 "
            f"{coco['AP50']:.4f}"
        )
        notify(f"  AP by class: {ap_by_class(metrics['per_class'])}")
        return metrics

    def publish(self, step: int, metrics: dict[str, Any], tensorboard: TensorBoard) -> None:
        """Write the latest figures and pictures of predictions; the main rank calls it.

        Args:
            step: Steps done.
            metrics: What `evaluate` returned.
            tensorboard: Gets the figures and the picture.

        Raises:
            UserError: If the disk is full or fails.
        """
        output = self.components.output
        content = {"step": step, **metrics, "data_fingerprint": self.fingerprint}
        content["engine"] = mindspore_engine().facts()
        with disk_errors(output / "metrics.json"):
            write_atomic(output / "metrics.json", json.dumps(content, indent=1) + "\n")
        figures = {f"val/{k}": v for k, v in metrics["coco"].items() if isinstance(v, float)}
        tensorboard.scalars(figures, step)
        count = self.components.settings.log.pictures
        if count and self.split is not None:
            write_prediction_sheet(output / "predictions.png", self.split, self.result, count)
            tensorboard.picture("predictions", output / "predictions.png", step)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the evaluation split, empty without one."""
        return self.split.fingerprint if self.split is not None else ""


def ap_by_class(per_class: dict[str, Any]) -> str:
    """Return the AP of each class, the worst first; of many classes, the ten worst.

    >>> ap_by_class({"cat": {"AP": 0.5}, "dog": {"AP": 0.25}, "cow": {"AP": None}})
    'dog 0.250, cat 0.500, without objects: cow'
    """
    known = {n: v["AP"] for n, v in per_class.items() if v["AP"] is not None and v["AP"] >= 0}
    worst = sorted(known, key=lambda name: known[name])
    parts = [f"{printable(name)} {known[name]:.3f}" for name in worst[:_MOST_CLASSES]]
    if len(worst) > _MOST_CLASSES:
        parts.append(f"... the {_MOST_CLASSES} worst of {len(worst)}; all in metrics.json")
    absent = [printable(name) for name in per_class if name not in known]
    if absent and len(per_class) <= _MOST_CLASSES:
        parts.append(f"without objects: {', '.join(absent)}")
    return ", ".join(parts)
