"""The settings of `convert.py`: what to read, what to do with it, and where it goes.

How batches are made from a converted set is set in `pipeline_settings.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Optional

from data_tools.defects import KINDS
from data_tools.fields import require, require_choice, require_positive, setting

DATASET_KINDS = ("coco", "voc", "txt", "yolo", "shapes")
IMAGE_CHECKS = ("fast", "full")
EXIF_CHOICES = ("auto", "apply", "ignore")
BOX_ORDERS = ("xyxy", "yxyx")


@dataclass
class SplitSettings:
    """Where one split of a raw data set lies; paths are relative to `dataset.root`."""

    annotations: str = setting(
        "",
        "COCO: the JSON file; VOC: the folder of XML files; TXT: the list; YOLO: the labels' folder",
    )
    images: str = setting("", "folder of the images")
    list: str = setting("", "text file that names the split's images, one a line; empty takes all")
    fraction: Optional[float] = setting(
        None, "share of the images, 0..1: splits of one source are cut apart by `split_seed`"
    )
    count: int = setting(0, "shapes only: number of scenes")


@dataclass
class DatasetSettings:
    """A raw data set: its layout and its classes."""

    kind: str = setting("coco", "layout: coco, voc, txt, yolo or shapes (drawn, needs no files)")
    root: str = setting("", "folder of the raw data set")
    splits: dict[str, SplitSettings] = setting({}, "name of a split -> where it lies")
    only: list[str] = setting([], "splits to convert; empty converts all of `splits`")
    split_seed: int = setting(0, "seed of the splits that are a `fraction`")
    names: list[str] = setting(
        [],
        "class names in the order of the source's numbers (txt, yolo, shards of published tools)",
    )
    names_file: str = setting(
        "", "file with the class names, one a line, or a YOLO data.yaml; relative to `root`"
    )
    classes: list[str] = setting(
        [], "classes to keep, in the order of their labels; empty keeps all in the source's order"
    )
    merge: dict[str, list[str]] = setting({}, "new class -> the source's classes that become it")
    keep_empty: bool = setting(True, "keep images without boxes as negatives")
    box_origin: int = setting(
        1, "voc, txt: 1 = pixels count from 1 and the last one belongs to the box, 0 = edges from 0"
    )
    box_order: str = setting("xyxy", "txt: order of a box's numbers, xyxy or yxyx")
    first_class: int = setting(0, "txt: number of the first class in the files, 0 or 1")
    seed: int = setting(1, "shapes: seed of the drawn scenes")
    min_side: int = setting(160, "shapes: smallest image side in pixels")
    max_side: int = setting(320, "shapes: largest image side in pixels")

    def __post_init__(self) -> None:
        require_choice("dataset.kind", self.kind, DATASET_KINDS)
        require_choice("dataset.box_origin", self.box_origin, (0, 1))
        require_choice("dataset.box_order", self.box_order, BOX_ORDERS)
        require_choice("dataset.first_class", self.first_class, (0, 1))
        require(
            32 <= self.min_side <= self.max_side,
            "dataset.min_side",
            self.min_side,
            f"32..dataset.max_side ({self.max_side})",
        )
        require(self.max_side <= 16384, "dataset.max_side", self.max_side, "at most 16384 pixels")
        for name in (*self.splits, *self.only):
            require(
                name.isidentifier() and name.isascii(),
                "dataset.splits",
                name,
                "names of letters, digits and underscores, such as train or val",
            )
        for name in self.only:
            require_choice("dataset.only", name, list(self.splits))
        for name, split in self.splits.items():
            fraction = split.fraction
            require(
                fraction is None or 0 < fraction <= 1,
                f"dataset.splits.{name}.fraction",
                fraction,
                "a number > 0 and <= 1",
            )


@dataclass
class ImageSettings:
    """What is done to the images; by default their bytes stay as they are."""

    check: str = setting(
        "fast",
        "fast: the file's structure, and a full decode where that is odd; full: decode every image",
    )
    max_side: int = setting(
        0, "re-encode images whose longest side is above this, in pixels, scaled down; 0 keeps all"
    )
    quality: int = setting(
        0, "JPEG quality 1..100 of re-encoded images; 0: only those that must be, at 95"
    )
    exif: str = setting(
        "auto",
        "EXIF orientation: apply turns the image upright, ignore leaves it, auto applies it unless "
        "the declared size says that the boxes belong to the image as stored",
    )

    def __post_init__(self) -> None:
        require_choice("image.check", self.check, IMAGE_CHECKS)
        require_choice("image.exif", self.exif, EXIF_CHOICES)
        require(
            self.max_side == 0 or self.max_side >= 16, "image.max_side", self.max_side, "0 or >= 16"
        )
        require(0 <= self.quality <= 100, "image.quality", self.quality, "0..100")


def _policy(kind: str) -> str:
    """Declare the policy of one kind of defect: its default action, and its meaning as the help."""
    entry = KINDS[kind]
    declared: str = setting(entry.actions[0], f"{entry.meaning}: {', '.join(entry.actions)}")
    return declared


@dataclass
class PolicySettings:
    """What is done about each kind of defect; `error` stops before anything is published."""

    malformed_entry: str = _policy("malformed_entry")
    duplicate_image_id: str = _policy("duplicate_image_id")
    duplicate_file: str = _policy("duplicate_file")
    path_escape: str = _policy("path_escape")
    missing_image: str = _policy("missing_image")
    undecodable_image: str = _policy("undecodable_image")
    damaged_image: str = _policy("damaged_image")
    size_mismatch: str = _policy("size_mismatch")
    too_large: str = _policy("too_large")
    missing_annotation: str = _policy("missing_annotation")
    unreadable_annotation: str = _policy("unreadable_annotation")
    unknown_image: str = _policy("unknown_image")
    unknown_category: str = _policy("unknown_category")
    duplicate_annotation_id: str = _policy("duplicate_annotation_id")
    malformed_box: str = _policy("malformed_box")
    box_not_finite: str = _policy("box_not_finite")
    box_degenerate: str = _policy("box_degenerate")
    box_outside: str = _policy("box_outside")

    def __post_init__(self) -> None:
        for kind, entry in KINDS.items():
            require_choice(f"policy.{kind}", getattr(self, kind), entry.actions)


@dataclass
class ConvertSettings:
    """Settings of the `convert.py` command."""

    dataset: DatasetSettings = setting(DatasetSettings(), "the raw data set")
    image: ImageSettings = setting(ImageSettings(), "what is done to the images")
    policy: PolicySettings = setting(PolicySettings(), "what is done about each kind of defect")
    max_skipped: float = setting(
        0.5, "stop if more than this share of a split of 100 images or more would be skipped"
    )
    out: str = setting("", "folder of the converted set; appears whole or not at all")
    workers: int = setting(1, "processes, each writing whole shards; no effect on the result")
    shards: int = setting(0, "shards of each split; 0: one per 2000 images")
    overwrite: bool = setting(False, "replace a finished or half-finished set in `out`")
    parts: int = setting(
        1, "convert only a part of the shards: in how many parts, for many machines"
    )
    part: int = setting(1, "which of the `parts`, 1..parts")
    merge: str = setting("", "folder whose parts are joined to one set")
    verify: str = setting("", "folder of a converted set to check: every hash, count, id and box")
    preview: str = setting("", "folder of a converted set to draw as a contact sheet")
    upgrade: str = setting("", "folder of shards of the published tools to write a manifest for")
    check: bool = setting(False, "audit the raw data set and write nothing but the report")
    check_model: str = setting(
        "ssd300", "check: model whose default boxes are laid over the objects"
    )
    check_out: str = setting("outputs/check", "check: folder of the audit's table, CSV and picture")
    picture: str = setting("", "preview: file to draw to; empty: outputs/preview/<set>-<split>.png")
    rows: int = setting(16, "preview: number of images, spread over the split")
    split: str = setting("", "preview: the split; empty: the first")

    def __post_init__(self) -> None:
        require(0 <= self.max_skipped <= 1, "max_skipped", self.max_skipped, "0..1")
        require_positive("workers", self.workers)
        require_positive("parts", self.parts)
        require_positive("rows", self.rows)
        require(1 <= self.part <= self.parts, "part", self.part, f"1..parts ({self.parts})")
        require(0 <= self.shards <= 99999, "shards", self.shards, "0..99999")
        modes = [m for m in ("merge", "verify", "preview", "upgrade") if getattr(self, m)]
        modes += ["check"] if self.check else []
        require(len(modes) <= 1, "+".join(modes), "all given", "one of them at a time")

    def content(self) -> dict[str, Any]:
        """The settings that decide the content of the set, for the manifest: no paths, no workers."""
        dataset = asdict(self.dataset)
        del dataset["root"], dataset["only"]
        names = self.dataset.only or list(self.dataset.splits)
        dataset["splits"] = {name: dataset["splits"][name] for name in names}
        return {
            "dataset": dataset,
            "image": asdict(self.image),
            "policy": asdict(self.policy),
            "shards": self.shards,
        }
