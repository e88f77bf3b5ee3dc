"""Settings of the augmentation: how a training image is varied.

What the augmentations do is in the modules next to this one; which choices ship is in
`conf/augment/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_tools.core.settings_fields import require, require_choice, setting

MEAN_RGB = (123.675, 116.28, 103.53)
"""The mean colour of ImageNet's pixels, 0..255: .485, .456, .406 x 255."""

CROP_RULES = ("none", "published", "paper")

MIXING = ("mosaic_probability", "copy_paste_probability", "affine_probability", "mixup_probability",
          "erase_probability")  # fmt: skip
"""What `closing_epochs` ends."""


@dataclass
class AugmentSettings:
    """How a training image is varied. The defaults are the published recipe,
    `conf/augment/published.yaml`.
    """

    crop: str = setting(
        "published",
        "Random crop: none; published (as the published tools do it: their test does not enforce "
        "the overlap floor); paper (the floor holds for the best kept box, as in the SSD paper).",
    )
    crop_min_overlaps: list[float] = setting(
        [0.1, 0.3, 0.5, 0.7, 0.9],
        "Overlap floors (IoU of crop and box) of which one is drawn for an image; 'no crop' is one "
        "more choice, and with crop=paper 'any overlap' another.",
    )
    crop_scale: list[float] = setting(
        [0.3, 1.0], "Smallest and largest side of a crop as a share of the image's side."
    )
    crop_aspect: list[float] = setting(
        [0.5, 2.0], "Smallest and largest height/width of a crop in pixels."
    )
    crop_trials: int = setting(50, "Crops tried for an image before it is left whole.")
    crop_slack: float = setting(
        0.2,
        "crop=published only: a crop is refused when some box overlaps less than the floor AND "
        "some box overlaps more than the floor plus this.",
    )
    expand_probability: float = setting(
        0.0, "Share of images placed on a larger canvas before the crop (zooming out)."
    )
    expand_max: float = setting(
        4.0, "Largest side of that canvas as a multiple of the image's side."
    )
    expand_fill: list[float] = setting(
        list(MEAN_RGB), "Colour of the canvas, RGB 0..255; the default normalises to 0."
    )
    flip_probability: float = setting(0.5, "Share of images mirrored left to right.")
    colour_probability: float = setting(
        1.0, "Chance with which each of the colour changes below is applied to an image."
    )
    brightness: float = setting(0.4, "Brightness is multiplied by a factor in 1 - x .. 1 + x.")
    brightness_shift: float = setting(
        0.0, "A number in -x .. x (of 255) is added to every channel."
    )
    contrast: float = setting(
        0.4, "Contrast about the image's mean grey: factor in 1 - x .. 1 + x."
    )
    saturation: float = setting(
        0.4, "Distance from grey is multiplied by a factor in 1 - x .. 1 + x."
    )
    hue_degrees: float = setting(0.0, "Colours are turned about the grey axis by -x .. x degrees.")
    mosaic_probability: float = setting(
        0.0,
        "Share of images that become one of four on a canvas, each a part at another scale "
        "(YOLOv4, arXiv:2004.10934).",
    )
    mosaic_scale: list[float] = setting(
        [0.5, 1.0], "mosaic: size of each of the four, 1 for one that would fill the canvas."
    )
    copy_paste_probability: float = setting(
        0.0,
        "Share of images onto which objects of another one are pasted, cut out by their boxes "
        "(arXiv:2012.07177 cuts by masks).",
    )
    copy_paste_most: int = setting(2, "copy_paste: objects at most, each another one.")
    copy_paste_scale: list[float] = setting(
        [0.75, 1.25], "copy_paste: size of an object, 1 for that in its own image."
    )
    affine_probability: float = setting(
        0.0,
        "Share of images that are turned, scaled, sheared and shifted (boxes: upright "
        "ones around).",
    )
    affine_degrees: float = setting(5.0, "affine: turned by -x .. x degrees.")
    affine_scale: list[float] = setting([0.8, 1.25], "affine: smallest and largest scale.")
    affine_shear_degrees: float = setting(2.0, "affine: sheared by -x .. x degrees.")
    affine_shift: float = setting(0.1, "affine: shifted by -x .. x of the sides.")
    mixup_probability: float = setting(
        0.0,
        "Share of images through which another one shines, with its boxes (arXiv:1710.09412; share "
        "from Beta(2, 2)).",
    )
    erase_probability: float = setting(
        0.0, "Share of images of which a rectangle is painted over (arXiv:1708.04896)."
    )
    erase_area: list[float] = setting(
        [0.02, 0.2], "erase: smallest and largest rectangle as a share of the image."
    )
    sizes: list[list[int]] = setting(
        [],
        "Input sizes [H, W] of which one is drawn for each step (multi-scale, as in YOLOv2, "
        "arXiv:1612.08242; model.assign=tal only); empty: model.image_size always.",
    )
    closing_epochs: float = setting(
        0.0,
        "Last epochs without mosaic, copy_paste, affine, mixup, erase and drawn sizes; 0 = none.",
    )

    def __post_init__(self) -> None:
        require_choice("augment.crop", self.crop, CROP_RULES)
        require(
            all(0 <= x <= 1 for x in self.crop_min_overlaps),
            "augment.crop_min_overlaps", self.crop_min_overlaps, "numbers in 0..1",
        )  # fmt: skip
        low, high = _pair("augment.crop_scale", self.crop_scale)
        require(0 < low <= high <= 1, "augment.crop_scale", self.crop_scale, "0 < low <= high <= 1")
        low, high = _pair("augment.crop_aspect", self.crop_aspect)
        require(0 < low <= high, "augment.crop_aspect", self.crop_aspect, "0 < low <= high")
        require(
            1 <= self.crop_trials <= 10_000, "augment.crop_trials", self.crop_trials, "1..10000"
        )
        require(self.expand_max >= 1, "augment.expand_max", self.expand_max, "a number >= 1")
        require(
            len(self.expand_fill) == 3 and all(0 <= x <= 255 for x in self.expand_fill),
            "augment.expand_fill", self.expand_fill, "three numbers in 0..255 (R, G, B)",
        )  # fmt: skip
        for name in ("expand_probability", "flip_probability", "colour_probability", *MIXING):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augment.{name}", value, "a probability in 0..1")
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augment.{name}", value, "a number in 0..1")
        for name, limit in (("brightness_shift", 255), ("hue_degrees", 180)):
            value = getattr(self, name)
            require(0 <= value <= limit, f"augment.{name}", value, f"a number in 0..{limit}")
        for name, limit in (
            ("affine_degrees", 180),
            ("affine_shear_degrees", 60),
            ("affine_shift", 1),
        ):
            value = getattr(self, name)
            require(0 <= value <= limit, f"augment.{name}", value, f"a number in 0..{limit}")
        for name in ("mosaic_scale", "copy_paste_scale", "affine_scale"):
            low, high = _pair(f"augment.{name}", getattr(self, name))
            require(
                0.1 <= low <= high <= 10, f"augment.{name}", [low, high], "0.1 <= low <= high <= 10"
            )
        low, high = _pair("augment.erase_area", self.erase_area)
        require(0 < low <= high < 1, "augment.erase_area", self.erase_area, "0 < low <= high < 1")
        for size in self.sizes:
            require(
                len(size) == 2 and all(32 <= side <= 4096 for side in size),
                "augment.sizes",
                [list(each) for each in self.sizes],
                "lists of height and width, 32..4096 each",
            )
        most = self.copy_paste_most
        require(1 <= most <= 20, "augment.copy_paste_most", most, "a count 1..20")
        require(
            self.closing_epochs >= 0, "augment.closing_epochs", self.closing_epochs, "epochs >= 0"
        )
        require(self.crop_slack >= 0, "augment.crop_slack", self.crop_slack, "a number >= 0")

    @property
    def mixes(self) -> bool:
        """Whether anything but window, mirror and colours may happen to an image."""
        return any(getattr(self, name) > 0 for name in MIXING)


def _pair(key: str, values: list[float]) -> tuple[float, float]:
    require(len(values) == 2, key, values, "two numbers: smallest, largest")
    return values[0], values[1]
