"""Settings of evaluation: the `coco` protocol and its cost, and what `eval.py` takes.

The published protocol has no settings: its numbers are fixed in `boxes/postprocess.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Optional

from data_tools.core.errors import SettingError
from data_tools.core.settings_fields import (
    require,
    require_choice,
    require_positive,
    setting,
)
from training.process.settings import DEVICES, ENGINES

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.

ONE_NAME_IOU = 0.5
"""Overlap above which two boxes are taken for one object in what people look at; docs/evaluate.md
measures it.
"""

THRESHOLD = 0.5
"""Lowest score of what people look at where nobody says another, and no other is known to be the
best: a hundred faint boxes would hide the picture.
"""


@dataclass
class EvaluateSettings:
    """How a network is scored on a converted split: the `coco` protocol and the cost."""

    score_floor: float = setting(0.01, "coco protocol: detections score more than this, 0..1")
    nms_iou: float = setting(0.6, "coco protocol: overlap above which the lower score goes, 0..1")
    max_detections: int = setting(100, "coco protocol: detections kept per image, 1..100")
    candidates_per_class: Optional[int] = setting(
        None, "coco protocol: boxes of a class that NMS looks at, the best; empty = all"
    )
    batch_size: int = setting(8, "images per network call on each device")
    workers: int = setting(2, "threads that read and resize images; 0 = one a core")
    sizes: list[float] = setting(
        [], "sides in pixels that cut size classes of your own, e.g. [16,64]; AP of each"
    )

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise([0.0, *self.sizes, 1e5]))
        require(rising, "evaluate.sizes", self.sizes, "rising sides in pixels, e.g. [16,64]")
        require(
            0 <= self.score_floor < 1, "evaluate.score_floor", self.score_floor, "0 <= floor < 1"
        )
        require(0 < self.nms_iou <= 1, "evaluate.nms_iou", self.nms_iou, "0 < iou <= 1")
        require(
            1 <= self.max_detections <= 100,
            "evaluate.max_detections",
            self.max_detections,
            "1..100 (the protocol counts at most 100)",
        )
        require_positive("evaluate.candidates_per_class", self.candidates_per_class)
        require(self.batch_size >= 1, "evaluate.batch_size", self.batch_size, "a count >= 1")
        require(self.workers >= 0, "evaluate.workers", self.workers, "a count >= 0")


@dataclass
class EvalCommand:
    """What `eval.py` takes."""

    checkpoint: str = setting(
        "", "detector: .ckpt, .safetensors, .pth, or exported .onnx, .mindir, or hub:NAME"
    )
    data: str = setting(
        "", "converted data set: the folder that convert.py wrote; with detections also a COCO file"
    )
    detections: str = setting("", "score this COCO results file instead of a checkpoint")
    compare: list[str] = setting([], "two output folders of eval.py: is the second one better?")
    draws: int = setting(1000, "compare: draws of the bootstrap")
    seed: int = setting(0, "compare: seed of the bootstrap; same seed, same digits")
    output: str = setting("outputs/eval", "folder for metrics.json, detections.json and pictures")
    split: str = setting("val", "split to score on")
    device: str = setting("CPU", "CPU or Ascend")
    engine: Optional[str] = setting(
        None,
        "what computes a checkpoint: mindspore, onnxruntime, or auto = onnxruntime on CPU where it "
        "agrees with MindSpore; empty = mindspore, whose digits are those of train.py",
    )
    worst: int = setting(16, "pictures of the images with the most errors; 0 = none")
    curves: bool = setting(True, "draw curves and the confusion matrix")
    report: int = setting(5000, "images in report.html, most errors first; 0 = no page")
    suspects: int = setting(500, "labels in doubt listed in suspects.csv; 0 = no list")
    crosscheck: bool = setting(False, "score again with pycocotools; an error if a number differs")
    accept_other_classes: bool = setting(
        False, "score although the checkpoint's class list differs from the data set's"
    )
    model: Optional[str] = setting(
        None, "network of a checkpoint without a card, e.g. ssd300; empty = found from its weights"
    )
    evaluate: EvaluateSettings = setting(EvaluateSettings(), "the coco protocol and the cost")

    def __post_init__(self) -> None:
        require_choice("device", self.device, DEVICES)
        if self.engine is not None:
            require_choice("engine", self.engine, ENGINES)
        require(self.worst >= 0, "worst", self.worst, "a count >= 0")
        require(self.suspects >= 0, "suspects", self.suspects, "a count >= 0")
        require(self.report >= 0, "report", self.report, "a count >= 0")
        given = [name for name in ("checkpoint", "detections", "compare") if getattr(self, name)]
        if not given:
            raise SettingError(
                "checkpoint: required. Give it as checkpoint=FILE. (Or detections=FILE, or "
                "compare=[RUN_A,RUN_B].)"
            )
        if len(given) > 1:
            raise SettingError(
                f"{' and '.join(given)}: only one of them can be evaluated at a time."
            )
        require(10 <= self.draws <= 1_000_000, "draws", self.draws, "10..1000000")
        require(0 <= self.seed < 2**63, "seed", self.seed, "a number >= 0")
        if self.compare:
            require(len(self.compare) == 2, "compare", self.compare, "two folders: [RUN_A,RUN_B]")
        elif not self.data:
            raise SettingError("data: required. Give it as data=FOLDER.")
