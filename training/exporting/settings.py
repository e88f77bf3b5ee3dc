"""What `export.py` takes: the format, what goes into the graph, and how the file is compared.

The work is in `export.py` and `parity.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from data_tools.core.settings_fields import (
    MISSING,
    require,
    require_choice,
    require_positive,
    setting,
)
from training.evaluation.settings import EvaluateSettings
from training.inference.settings import TOLERANCE

# Optional[...] instead of `X | None` below: OmegaConf reads these annotations.


@dataclass
class ExportCommand:
    """What `export.py` takes."""

    checkpoint: str = setting(
        MISSING, "detector checkpoint: .ckpt, .safetensors, torchvision's .pth, or hub:NAME"
    )
    format: str = setting("onnx", "onnx, mindir, or safetensors (the weights alone)")
    names: str = setting("ours", "safetensors: names of the weights, ours or torchvision")
    out: str = setting(MISSING, "file to write; FILE.parity.json goes next to it")
    batch_size: int = setting(1, "images per call that the file takes; 0 = any number")
    decode: bool = setting(True, "put the decoding of boxes into the graph")
    nms: bool = setting(False, "put score floor and NMS into the graph (onnx); needs decode=true")
    score_floor: float = setting(
        EvaluateSettings.score_floor, "nms: score floor in the graph, 0..1"
    )
    nms_iou: float = setting(
        EvaluateSettings.nms_iou, "nms: overlap above which the lower score goes, 0..1"
    )
    max_detections: int = setting(
        EvaluateSettings.max_detections, "nms: detections per image in the graph"
    )
    data: str = setting("", "converted set for the parity report and its AP; empty = drawn images")
    split: str = setting("val", "split of `data`")
    parity_images: int = setting(16, "images compared between checkpoint and file")
    tolerance: float = setting(
        TOLERANCE, "largest difference of a score or relative box coordinate"
    )
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
            f"false for format={self.format} (only ONNX can hold it here); use format=onnx",
        )
        require(not (self.nms and not self.decode), "decode", self.decode, "true with nms=true")
