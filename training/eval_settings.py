"""Settings of evaluation, prediction and export, with their defaults, meaning and checks.

What they do lives in `commands/evaluate.py`, `predict.py` and `export.py`; training only composes
`EvaluateSettings`. The published protocol has no settings: its numbers are fixed in `boxes/postprocess.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Optional, Union

from data_tools.core.errors import SettingError
from data_tools.core.settings_fields import (
    MISSING,
    require,
    require_choice,
    require_positive,
    setting,
)

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.

DEVICES = ("CPU", "Ascend")

ONE_NAME_IOU = 0.5
"""Overlap above which two boxes are taken for one object in what people look at; docs/evaluate.md measures it."""


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


@dataclass
class PredictCommand:
    """What `predict.py` takes."""

    checkpoint: str = setting(
        MISSING, "detector: .ckpt, .safetensors, .pth, or exported .onnx, .mindir, or hub:NAME"
    )
    images: str = setting("", "image file, folder, glob pattern or video")
    out: str = setting("outputs/predict", "folder for pictures, detections.json, detections.csv")
    threshold: Union[int, float, str] = setting(
        0.5, "lowest score shown and written, 0..1; auto = the best of each class, from evaluation"
    )
    top_k: int = setting(100, "most detections kept per image")
    nms_iou: float = setting(0.6, "overlap above which the lower score of a class goes, 0..1")
    one_name: bool = setting(
        True, "one object, one box, one name: the best of what overlaps, whatever the classes"
    )
    one_name_iou: float = setting(
        ONE_NAME_IOU, "one_name: overlap above which two boxes are taken for one object, 0..1"
    )
    classes: list[str] = setting([], "names of the classes to keep; empty = all")
    batch_size: int = setting(4, "images per network call")
    pictures: bool = setting(True, "write a picture per image (an annotated video for a video)")
    video_step: int = setting(1, "of a video, every how many frames one is looked at")
    recursive: bool = setting(False, "look into the folder's subfolders too")
    class_names: str = setting(
        "", "for a checkpoint without a card: text file with a class name a line, or converted set"
    )
    model: Optional[str] = setting(
        None, "network of a checkpoint without a card, e.g. ssd300; empty = found from its weights"
    )
    device: str = setting("CPU", "CPU or Ascend")
    serve: bool = setting(False, "open a local web page instead: drop a picture, see the boxes")
    host: str = setting("127.0.0.1", "serve: address to bind; the default only this machine sees")
    port: int = setting(8000, "serve: port; 0 = any free one")
    max_upload_mb: float = setting(16.0, "serve: largest picture taken, in MB")

    def __post_init__(self) -> None:
        require(
            self.threshold == "auto"
            or (not isinstance(self.threshold, str) and 0 <= self.threshold < 1),
            "threshold",
            self.threshold,
            "0 <= threshold < 1, or auto",
        )
        require(self.top_k >= 1, "top_k", self.top_k, "a count >= 1")
        require(0 < self.nms_iou <= 1, "nms_iou", self.nms_iou, "0 < iou <= 1")
        require(0 < self.one_name_iou <= 1, "one_name_iou", self.one_name_iou, "0 < iou <= 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "a count >= 1")
        require(self.video_step >= 1, "video_step", self.video_step, "a count >= 1")
        require_choice("device", self.device, DEVICES)
        require(0 <= self.port <= 65535, "port", self.port, "0..65535")
        require_positive("max_upload_mb", self.max_upload_mb)


@dataclass
class ExportCommand:
    """What `export.py` takes."""

    checkpoint: str = setting(
        MISSING, "detector checkpoint: .ckpt, .safetensors, torchvision's .pth, or hub:NAME"
    )
    format: str = setting("onnx", "onnx, mindir, or safetensors (the weights alone)")
    names: str = setting("ours", "safetensors: names of the weights, ours or torchvision")
    out: str = setting(MISSING, "file to write; FILE.parity.json goes beside it")
    batch_size: int = setting(1, "images per call that the file takes; 0 = any number")
    decode: bool = setting(True, "put the decoding of boxes into the graph")
    nms: bool = setting(False, "put score floor and NMS into the graph (onnx); needs decode=true")
    score_floor: float = setting(0.01, "nms: score floor in the graph, 0..1")
    nms_iou: float = setting(0.6, "nms: overlap above which the lower score goes, 0..1")
    max_detections: int = setting(100, "nms: detections per image in the graph")
    data: str = setting("", "converted set for the parity report and its AP; empty = drawn images")
    split: str = setting("val", "split of `data`")
    parity_images: int = setting(16, "images compared between checkpoint and file")
    tolerance: float = setting(1e-3, "largest difference of a score or relative box coordinate")
    class_names: str = setting(
        "", "for a checkpoint without a card: text file with a class name a line, or converted set"
    )
    model: Optional[str] = setting(
        None, "network of a checkpoint without a card, e.g. ssd300; empty = found from its weights"
    )
    overwrite: bool = setting(False, "write over an existing file")

    def __post_init__(self) -> None:
        require_choice("format", self.format, ("onnx", "mindir", "safetensors"))
        require_choice("names", self.names, ("ours", "torchvision"))
        require(
            self.names == "ours" or self.format == "safetensors",
            "names",
            self.names,
            "ours, unless format=safetensors",
        )
        require(self.batch_size >= 0, "batch_size", self.batch_size, "a count >= 0 (0 = any)")
        require(0 <= self.score_floor < 1, "score_floor", self.score_floor, "0 <= floor < 1")
        require(0 < self.nms_iou <= 1, "nms_iou", self.nms_iou, "0 < iou <= 1")
        require(self.max_detections >= 1, "max_detections", self.max_detections, "a count >= 1")
        require(self.parity_images >= 1, "parity_images", self.parity_images, "a count >= 1")
        require_positive("tolerance", self.tolerance)
        require(
            not (self.nms and self.format != "onnx"),
            "nms",
            self.nms,
            f"false for format={self.format} (only ONNX has room for it here); use format=onnx",
        )
        require(not (self.nms and not self.decode), "decode", self.decode, "true with nms=true")
