"""What a detector file is - checkpoint, ONNX, MindIR - before anything is compiled, and its
classes.

Files are opened and made ready to run in `open_model.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError, DataError
from data_tools.core.sample import ClassInfo
from data_tools.shards.manifest import MANIFEST, open_split
from training.inference.coco_classes import coco_classes
from training.nets.settings import ModelSettings

EXPORTED = (".onnx", ".mindir")
WEIGHTS = (".ckpt", ".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class ExportInfo:
    """How an exported file is to be run.

    Args:
        decode: Its boxes are decoded.
        nms: Its outputs are detections.
        batch_size: Images it takes at a time; 0 for any number.
    """

    decode: bool
    nms: bool
    batch_size: int


@dataclass(frozen=True)
class ModelFile:
    """What a detector file is, before anything is compiled.

    Args:
        path: The file.
        model: The network's settings.
        num_classes: Classes with background.
        classes: Names and ids by label; empty if nobody knows them.
        sha256: Hash of the file.
        data_fingerprint: Fingerprint of the data it was trained on; empty if unknown.
        graph_nms: `score_floor`, `nms_iou` and `max_detections` of an exported file that suppresses
            in its graph; empty for any other.
        thresholds: Best thresholds as in `metrics.json`, None if it was never evaluated.
        export: How a file that `export.py` wrote is to be run; None for any other.
        weights: Parameter name to value, if they had to be read to tell whose they are; else empty.
            Who builds the network takes them out, so that they are not kept in memory twice.
    """

    path: Path
    model: ModelSettings
    num_classes: int
    classes: tuple[ClassInfo, ...]
    sha256: str
    data_fingerprint: str
    graph_nms: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, Any] | None = None
    export: ExportInfo | None = None
    weights: dict[str, npt.NDArray[np.generic]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that the network takes."""
        return self.model.height_width

    def named_classes(self, class_names: str = "") -> tuple[ClassInfo, ...]:
        """Return the classes, from `class_names` where given, else the file's own, COCO's, or
        numbers.

        Args:
            class_names: A text file with a name a line in the order of the labels, or a converted
                data set; empty for none.

        Raises:
            CheckpointError: If the number of names is not the network's.
        """
        count = self.num_classes - 1
        if class_names:
            classes = read_class_names(Path(class_names))
            if len(classes) != count:
                raise CheckpointError(
                    f"class_names={class_names}: {len(classes)} classes; {self.path} has {count}. "
                    "Give one name a line for each, without the background."
                )
            return classes
        if self.classes:
            return self.classes
        if count == len(coco_classes()):
            print(
                f"note: nobody says how the {count} classes of {self.path} are called: they are "
                "taken for COCO's, as in the published files. If it was trained on another set, "
                f"give class_names=FILE, or its card {self.path.with_suffix('.json').name} next "
                "to it."
            )
            return coco_classes()
        print(
            f"note: nobody says how the classes of {self.path} are called (there is no card "
            f"{self.path.with_suffix('.json').name} next to it): they are shown as class 1 to "
            f"class {count}. Copy the card as well, or give class_names=FILE."
        )
        return tuple(ClassInfo(k, f"class {k}", k) for k in range(1, count + 1))


def read_class_names(path: Path) -> tuple[ClassInfo, ...]:
    """Read classes from a text file or from a converted data set (its folder or a split's).

    Raises:
        DataError: If there is neither.
    """
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return open_split(path.parent, path.name).classes
        splits = sorted(p.parent.name for p in path.glob(f"*/{MANIFEST}"))
        if splits:
            return open_split(path, splits[0]).classes
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"class_names={path}: neither a converted data set nor a text file ({error})."
        ) from error
    return tuple(ClassInfo(k, name, k) for k, name in enumerate(filter(None, names), 1))
