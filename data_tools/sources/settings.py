"""The settings of a raw data set: its layout, where its splits lie, which classes are kept.

What is done with it is set in `convert/settings.py`.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Optional

from data_tools.core.settings_fields import require, require_choice, setting

NAMED_KINDS = ("voc", "labelme", "cvat", "label_studio", "open_images", "csv", "kitti")
"""Layouts whose boxes have class names and no numbers."""
LOOKING_KINDS = ("auto", "darknet", "roboflow")
"""Names that stand for several layouts: which one, a look at the folder tells."""
DATASET_KINDS = (*LOOKING_KINDS, "coco", "txt", "yolo", *NAMED_KINDS, "shapes")
BOX_ORDERS = ("xyxy", "yxyx")
YOLO_LINES = ("auto", "box", "polygon", "pose")
LATER_SETTINGS = ("yolo_lines", "group")
"""Settings that came later: a manifest names them only where they differ from their default, so
that the fingerprint of sets that do not use them stays."""


@dataclass
class SplitSettings:
    """Where one split of a raw data set lies; paths are relative to `dataset.root`."""

    annotations: str = setting(
        "",
        "the file (coco, cvat, label_studio, open_images, csv: JSON, XML or CSV; txt: the list) or "
        "the folder (voc, labelme, kitti, yolo) of the annotations",
    )
    images: str = setting("", "folder of the images")
    list: str = setting("", "text file that names the split's images, one a line; empty takes all")
    folders: builtins.list[str] = setting(
        [],
        "only what lies in these folders below `images`; empty: all. yolo: a text file among them "
        "lists images",
    )
    fraction: Optional[float] = setting(
        None, "share of the images, 0..1: splits of one source are cut apart by `split_seed`"
    )
    count: int = setting(0, "shapes only: number of scenes")


@dataclass
class DatasetSettings:
    """A raw data set: its layout and its classes."""

    kind: str = setting(
        "coco",
        "layout: " + ", ".join(DATASET_KINDS[1:-1]) + ", shapes (drawn) or auto (looks)",
    )
    root: str = setting(
        "",
        "folder of the raw data set, an archive, or an address: s3://BUCKET/FOLDER, obs://..., "
        "https://... (extra `cloud`)",
    )
    endpoint: str = setting(
        "", "address of the S3 interface of s3:// and obs://; empty: AWS_ENDPOINT_URL, or Amazon's"
    )
    splits: dict[str, SplitSettings] = setting({}, "name of a split -> where it lies")
    only: list[str] = setting([], "splits to convert; empty converts all of `splits`")
    split_seed: int = setting(0, "seed of the splits that are a `fraction`")
    group: str = setting(
        "",
        "regular expression: images in whose names it finds the same (its brackets, if it has any) "
        "stay on one side of a cut by `fraction`: frames of one video, pictures of one patient; or "
        "column:NAME: images with the same in a column (csv, open_images) or in a field of the "
        "entries of images (coco)",
    )
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
    box_origin: Optional[int] = setting(
        None,
        "voc, csv, txt: 1 = pixels count from 1 and the last one belongs to the box, 0 = edges "
        "from 0; null = as the layout has it: 1 for voc, 0 for csv and txt",
    )
    box_order: str = setting("xyxy", "txt: order of a box's numbers, xyxy or yxyx")
    first_class: int = setting(0, "txt: number of the first class in the files, 0 or 1")
    yolo_lines: str = setting(
        "auto",
        "yolo: what a line of more than four numbers is: box (and a confidence), polygon, or pose "
        "(a box and key points); auto goes by kpt_shape in `names_file` and by the numbers, and "
        "refuses doubt",
    )
    seed: int = setting(1, "shapes: seed of the drawn scenes")
    min_side: int = setting(160, "shapes: smallest image side in pixels")
    max_side: int = setting(320, "shapes: largest image side in pixels")

    @property
    def first_pixel(self) -> int:
        """`box_origin`; where it is not set, 0 for csv and txt and 1 for voc.

        Other layouts have edges from 0 whatever this is; manifests have always had 1 for them.
        """
        if self.box_origin is not None:
            return self.box_origin
        return 0 if self.kind in ("csv", "txt") else 1

    def __post_init__(self) -> None:
        require_choice("dataset.kind", self.kind, DATASET_KINDS)
        require_choice("dataset.box_origin", self.box_origin, (None, 0, 1))
        require_choice("dataset.box_order", self.box_order, BOX_ORDERS)
        require_choice("dataset.yolo_lines", self.yolo_lines, YOLO_LINES)
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
        for name in self.only if self.kind not in LOOKING_KINDS else ():
            require_choice("dataset.only", name, list(self.splits))
        for name, split in self.splits.items():
            for key in ("annotations", "images", "list"):
                path = getattr(split, key)
                require(
                    "://" not in path,
                    f"dataset.splits.{name}.{key}",
                    path,
                    "a path below dataset.root: only dataset.root may be an address",
                )
            fraction = split.fraction
            require(
                fraction is None or 0 < fraction <= 1,
                f"dataset.splits.{name}.fraction",
                fraction,
                "a number > 0 and <= 1",
            )
