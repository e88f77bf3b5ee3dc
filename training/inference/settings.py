"""What `predict.py` takes: pictures, the detections wanted, and the local page.

The work is in `predict.py` and `serve.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from data_tools.core.settings_fields import (
    MISSING,
    require,
    require_choice,
    require_positive,
    setting,
)
from training.evaluation.settings import ONE_NAME_IOU, THRESHOLD, EvaluateSettings
from training.process.settings import DEVICES, ENGINES

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.

TOLERANCE = 1e-3
"""Largest difference of a score or relative box coordinate between two engines, or between a
checkpoint and its exported file, that is taken for rounding.
"""


@dataclass
class PredictCommand:
    """What `predict.py` takes."""

    checkpoint: str = setting(
        MISSING, "detector: .ckpt, .safetensors, .pth, or exported .onnx, .mindir, or hub:NAME"
    )
    images: str = setting("", "image file, folder, glob pattern or video")
    out: str = setting("outputs/predict", "folder for pictures, detections.json, detections.csv")
    threshold: Union[int, float, str] = setting(
        THRESHOLD,
        "lowest score shown and written, 0..1; auto = the best of each class, from evaluation",
    )
    top_k: int = setting(EvaluateSettings.max_detections, "most detections kept per image")
    nms_iou: float = setting(
        EvaluateSettings.nms_iou, "overlap above which the lower score of a class goes, 0..1"
    )
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
    engine: str = setting(
        "auto",
        "what computes a checkpoint: mindspore, onnxruntime, or auto = onnxruntime on CPU where "
        "its graph, built once and kept, agrees with MindSpore",
    )
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
        require_choice("engine", self.engine, ENGINES)
        require(0 <= self.port <= 65535, "port", self.port, "0..65535")
        require_positive("max_upload_mb", self.max_upload_mb)
