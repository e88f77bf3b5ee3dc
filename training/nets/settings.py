"""What can be set about a network, its default boxes and its loss, and the shipped models by name.

Pure Python: no layers here (`zoo/`), no default boxes (`anchors.py`), no loss code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_tools.augment.settings import MEAN_RGB
from data_tools.core.errors import SettingError
from data_tools.core.json_dataclass import build
from data_tools.core.settings_fields import require, require_choice, require_positive, setting

ASSIGNMENTS = ("published", "atss", "tal")

CONFIG_DIR = Path(__file__).resolve().parents[2] / "conf" / "model"


PRIOR_SCALING = (0.1, 0.2)
"""Units of the regression of the SSD paper's code: of a centre in box sizes, and of a size's
logarithm.
"""


@dataclass
class AnchorSettings:
    """Default boxes: `scales` as the SSD paper draws them, `octaves` as the FPN models do."""

    kind: str = setting("scales", "scales: sizes relative to the image; octaves: sizes x step")
    steps: list[float] = setting(
        [16.0, 32.0, 64.0, 100.0, 150.0, 300.0],
        "pixels between box centres, a level each; empty = image size / feature map size",
    )
    aspect_ratios: list[list[float]] = setting(
        [[], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0]],
        "a list a level; scales: r gives r and 1/r, [] = three small boxes; octaves: width/height",
    )
    min_scale: float = setting(0.2, "scales: size on the first level, fraction of the image")
    max_scale: float = setting(0.95, "scales: size on the last level, fraction of the image")
    scales: list[float] = setting(
        [],
        "scales: one size a level and one more; empty = even from min_scale to max_scale, then 1",
    )
    larger_square: str = setting(
        "last", "scales: position of a cell's larger square: last, or second (torchvision)"
    )
    largest: float = setting(
        0.0, "scales: no side is longer than this fraction of the image; 0 = no limit"
    )
    base: float = setting(4.0, "octaves: smallest size in steps")
    per_octave: int = setting(2, "octaves: sizes between one power of two and the next")

    def __post_init__(self) -> None:
        require_choice("model.anchors.kind", self.kind, ("scales", "octaves"))
        for step in self.steps:
            require_positive("model.anchors.steps", step)
        levels = len(self.aspect_ratios)
        require(levels > 0, "model.anchors.aspect_ratios", self.aspect_ratios, "one list a level")
        require(
            not self.steps or len(self.steps) == levels,
            "model.anchors.steps",
            self.steps,
            f"{levels} steps, one for each list in aspect_ratios, or none",
        )
        for ratios in self.aspect_ratios:
            for ratio in ratios:
                require_positive("model.anchors.aspect_ratios", ratio)
        require(
            0 < self.min_scale <= self.max_scale,
            "model.anchors.min_scale",
            self.min_scale,
            f"0 < min_scale <= max_scale={self.max_scale}",
        )
        require(
            not self.scales or (len(self.scales) == levels + 1 and min(self.scales) > 0),
            "model.anchors.scales",
            self.scales,
            f"{levels + 1} numbers > 0 (a level each, and one more), or none",
        )
        require_choice("model.anchors.larger_square", self.larger_square, ("last", "second"))
        require(self.largest >= 0, "model.anchors.largest", self.largest, "a number >= 0")
        require_positive("model.anchors.base", self.base)
        require_positive("model.anchors.per_octave", self.per_octave)


@dataclass
class ModelSettings:
    """Which network, for which images, which default boxes; the default is published SSD300."""

    name: str = setting("ssd300", "which network: a file of training/nets/zoo")
    image_size: list[int] = setting([300, 300], "height and width the network sees, pixels")
    norm: str = setting(
        "local",
        "batch-norm statistics: local (each device its own), sync (over all devices), "
        "frozen (the stored ones, never updated)",
    )
    padding: str = setting(
        "same",
        "zeros around maps: same (as the published models: more below and to the right at "
        "strides), symmetric (as torch), mindcv (as mindcv's classifier of this backbone)",
    )
    rectifier: str = setting(
        "relu6", "bound of the backbone's ReLU6s: relu6, or relu for none (as mindcv's MobileNetV1)"
    )
    tail: str = setting(
        "halved",
        "ssdlite_mobilenet_v3: last layers of the backbone, halved or full (as classifiers)",
    )
    scores: str = setting(
        "sigmoid", "class scores: sigmoid (focal loss) or softmax (multibox loss)"
    )
    init: str = setting(
        "published",
        "first weights: published (truncated normal, sigma 0.02) or he (fan-out, for nets "
        "trained from scratch)",
    )
    head_prior: float = setting(
        0.0, "first score of an object class at every box, e.g. 0.01; 0 = biases 0, as published"
    )
    assign: str = setting(
        "published",
        "which boxes learn an object: published (by their overlap with it), atss (by a threshold "
        "of each object's own, arXiv:1912.02424) or tal (task-aligned, arXiv:2108.07755: "
        "those that find it best so far, chosen in every step; with loss.box=giou, diou or ciou)",
    )
    match_threshold: float = setting(
        0.5, "assign=published: least overlap (IoU) of a box and an object it learns"
    )
    max_boxes: int = setting(
        100, "assign=tal: objects of a training image that are learned; of more, the largest"
    )
    box_bins: int = setting(
        0,
        "ssd_light: each side of a box as a distribution over N distances: 0, 1, ... N - 1 steps "
        "of the level (arXiv:2006.04388); 0 = plain offsets",
    )
    prior_scaling: list[float] = setting(
        list(PRIOR_SCALING), "units of the regression: centre (in box sizes) and log size"
    )
    mean: list[float] = setting(
        list(MEAN_RGB), "RGB mean taken from the 0..255 pixels: .485, .456, .406 x 255"
    )
    std: list[float] = setting(
        [58.395, 57.12, 57.375], "RGB deviation the pixels are divided by: .229, .224, .225 x 255"
    )
    anchors: AnchorSettings = setting(AnchorSettings(), "default boxes")

    @property
    def height_width(self) -> tuple[int, int]:
        """`image_size` as a tuple: height and width the network sees, pixels."""
        height, width = self.image_size
        return int(height), int(width)

    def __post_init__(self) -> None:
        require_choice("model.name", self.name, zoo_names())
        require(
            len(self.image_size) == 2 and all(32 <= side <= 4096 for side in self.image_size),
            "model.image_size",
            list(self.image_size),
            "[height, width], each 32 to 4096 pixels",
        )
        require_choice("model.norm", self.norm, ("local", "sync", "frozen"))
        require_choice("model.padding", self.padding, ("same", "symmetric", "mindcv"))
        require_choice("model.rectifier", self.rectifier, ("relu6", "relu"))
        require_choice("model.tail", self.tail, ("halved", "full"))
        require_choice("model.scores", self.scores, ("sigmoid", "softmax"))
        require_choice("model.init", self.init, ("published", "he"))
        require(0 <= self.head_prior < 1, "model.head_prior", self.head_prior, "0 <= prior < 1")
        require_choice("model.assign", self.assign, ASSIGNMENTS)
        require(1 <= self.max_boxes <= 10_000, "model.max_boxes", self.max_boxes, "1..10000")
        require(
            self.box_bins == 0 or 4 <= self.box_bins <= 64,
            "model.box_bins",
            self.box_bins,
            "4..64, or 0 for none",
        )
        require(
            0 < self.match_threshold < 1,
            "model.match_threshold",
            self.match_threshold,
            "an overlap between 0 and 1",
        )
        require(
            len(self.prior_scaling) == 2 and min(self.prior_scaling) > 0,
            "model.prior_scaling",
            list(self.prior_scaling),
            "two numbers > 0",
        )
        require(len(self.mean) == 3, "model.mean", list(self.mean), "three numbers, RGB")
        require(
            len(self.std) == 3 and min(self.std) > 0,
            "model.std",
            list(self.std),
            "three numbers > 0, RGB",
        )


def zoo_names() -> tuple[str, ...]:
    """The names of the networks that ship: the module names of `training/nets/zoo`, sorted."""
    folder = Path(__file__).resolve().parent / "zoo"
    return tuple(sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__"))


def model_settings(name: str, **overrides: Any) -> ModelSettings:
    """Read the settings of a shipped model without Hydra.

    Args:
        name: A file of `conf/model`, for instance `ssd300`.
        **overrides: Fields of `ModelSettings` to replace, for instance `norm="frozen"`.

    Returns:
        The settings in `conf/model/NAME.yaml` with the overrides applied.

    Raises:
        SettingError: If there is no such file or it has keys that are no settings.
    """
    import yaml  # type: ignore[import-untyped]

    path = CONFIG_DIR / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIG_DIR.glob("*.yaml")))
        raise SettingError(f"model={name}: no such model; conf/model has {known}.")
    values = {**(yaml.safe_load(path.read_text(encoding="utf-8")) or {}), **overrides}
    return settings_from_dict(values)


def settings_from_dict(values: dict[str, Any]) -> ModelSettings:
    """Build `ModelSettings` from plain values, for instance those of a checkpoint's card.

    Raises:
        SettingError: If a key is no setting, or a value cannot work.
    """
    try:
        return build(ModelSettings, values, "model")
    except SettingError:
        raise
    except ValueError as error:
        raise SettingError(f"{error}.") from error
