"""The settings of `convert.py`: what to read, what to do with it, and where it goes.

How batches are made from a converted set is set in `pipeline/settings.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from data_tools.core.settings_fields import require, require_choice, require_positive, setting
from data_tools.sources.defect_kinds import POLICIES
from data_tools.sources.settings import LATER_SETTINGS, DatasetSettings

IMAGE_CHECKS = ("fast", "full")
UNPACK_FORMATS = ("coco", "yolo", "voc", "labelme")
EXIF_CHOICES = ("auto", "apply", "ignore")
HASHES = ("none", "bytes", "pictures")


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
    hashes: str = setting(
        "bytes",
        "hashes in the manifest, by which leaks=[SET,SET] compares sets without their pictures: of "
        "the bytes, also of what pictures show (decodes each; finds copies that were altered), or "
        "none; the fingerprint does not depend on it",
    )

    def __post_init__(self) -> None:
        require_choice("image.check", self.check, IMAGE_CHECKS)
        require_choice("image.exif", self.exif, EXIF_CHOICES)
        require_choice("image.hashes", self.hashes, HASHES)
        require(
            self.max_side == 0 or self.max_side >= 16, "image.max_side", self.max_side, "0 or >= 16"
        )
        require(0 <= self.quality <= 100, "image.quality", self.quality, "0..100")


def _policy(kind: str) -> str:
    """Declare the policy of one kind of defect: its default action, and its meaning as the help."""
    entry = POLICIES[kind]
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
    extent_taken: str = _policy("extent_taken")
    ignored_region: str = _policy("ignored_region")
    duplicate_annotation: str = _policy("duplicate_annotation")
    ambiguous_image: str = _policy("ambiguous_image")
    lost_all_boxes: str = _policy("lost_all_boxes")
    hidden_files: str = _policy("hidden_files")
    unread_files: str = _policy("unread_files")
    cut_away: str = _policy("cut_away")
    duplicate_image: str = _policy("duplicate_image")
    similar_image: str = _policy("similar_image")
    copies_disagree: str = _policy("copies_disagree")
    leak: str = _policy("leak")
    unknown_image: str = _policy("unknown_image")
    unknown_category: str = _policy("unknown_category")
    duplicate_annotation_id: str = _policy("duplicate_annotation_id")
    malformed_box: str = _policy("malformed_box")
    box_not_finite: str = _policy("box_not_finite")
    box_degenerate: str = _policy("box_degenerate")
    box_outside: str = _policy("box_outside")
    duplicate_box: str = _policy("duplicate_box")
    area_not_positive: str = _policy("area_not_positive")
    area_mismatch: str = _policy("area_mismatch")
    similar_box: str = _policy("similar_box")
    classes_overlap: str = _policy("classes_overlap")
    box_whole_image: str = _policy("box_whole_image")
    size_far_off: str = _policy("size_far_off")
    aspect_far_off: str = _policy("aspect_far_off")
    class_names_alike: str = _policy("class_names_alike")
    unused_class: str = _policy("unused_class")
    no_box: str = _policy("no_box")

    def __post_init__(self) -> None:
        for kind, entry in POLICIES.items():
            require_choice(f"policy.{kind}", getattr(self, kind), entry.actions)


@dataclass
class ConvertSettings:
    """Settings of the `convert.py` command."""

    dataset: DatasetSettings = setting(DatasetSettings(), "the raw data set")
    image: ImageSettings = setting(ImageSettings(), "what is done to the images")
    policy: PolicySettings = setting(PolicySettings(), "what is done about each kind of defect")
    exclude: str = setting(
        "",
        "file of corrections, e.g. suspects.csv of eval.py after a look: images and boxes to leave "
        "out, classes and boxes to change or add; or a file with the name of an image to leave out "
        "a line",
    )
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
    extend: str = setting(
        "",
        "folder of a converted set to add images to: `out` holds its shards, unchanged, and new "
        "ones for what `dataset` has besides",
    )
    retry: bool = setting(
        False,
        "extend: add the images that the set skipped and that are mended now; made as the set was, "
        "only dataset.root is to be given",
    )
    unpack: str = setting("", "folder of a converted set to write to `out` for other tools")
    diff: list[str] = setting(
        [],
        "two folders of converted sets, before and after, to compare: images, boxes, classes; to "
        "`out`",
    )
    leaks: list[str] = setting(
        [],
        "two converted sets (or splits): which pictures of the first are in the second, from their "
        "manifests' hashes, or the shards where those have none; to `out`",
    )
    format: str = setting("coco", "unpack: " + ", ".join(UNPACK_FORMATS))
    check: bool = setting(False, "audit the raw data set and write nothing but the report")
    check_model: str = setting(
        "ssd300", "check: model whose default boxes are laid over the objects"
    )
    check_out: str = setting("outputs/check", "check: folder of the audit's table, CSV and picture")
    check_report: int = setting(
        1000, "check: pictures in report.html at most, suspicious ones first; 0 writes no page"
    )
    picture: str = setting("", "preview: file to draw to; empty: outputs/preview/<set>-<split>.png")
    rows: int = setting(
        16, "preview: number of images, spread over the split; diff: at most this many on the sheet"
    )
    split: str = setting("", "preview: the split; empty: the first")

    def __post_init__(self) -> None:
        require(0 <= self.max_skipped <= 1, "max_skipped", self.max_skipped, "0..1")
        require_choice("format", self.format, UNPACK_FORMATS)
        require_positive("workers", self.workers)
        require_positive("parts", self.parts)
        require_positive("rows", self.rows)
        require(self.check_report >= 0, "check_report", self.check_report, "a number >= 0")
        require(1 <= self.part <= self.parts, "part", self.part, f"1..parts ({self.parts})")
        require(0 <= self.shards <= 99999, "shards", self.shards, "0..99999")
        modes = [
            m
            for m in ("merge", "verify", "preview", "upgrade", "unpack", "extend", "diff", "leaks")
            if getattr(self, m)
        ]
        modes += ["check"] if self.check else []
        require(len(modes) <= 1, "+".join(modes), "all given", "one of them at a time")
        require(
            bool(self.extend) or not self.retry, "retry", self.retry, "false without extend=SET"
        )

    def content(self) -> dict[str, Any]:
        """The settings that decide the set's content, for the manifest: no paths, no workers."""
        dataset = asdict(self.dataset)
        del dataset["root"], dataset["only"], dataset["endpoint"]
        dataset["box_origin"] = self.dataset.first_pixel
        for key in LATER_SETTINGS:
            if dataset[key] == getattr(DatasetSettings(), key):
                del dataset[key]
        names = self.dataset.only or list(self.dataset.splits)
        dataset["splits"] = {name: dataset["splits"][name] for name in names}
        for split in dataset["splits"].values():
            if not split["folders"]:
                del split["folders"]
        policy = {
            kind: action
            for kind, action in asdict(self.policy).items()
            if not POLICIES[kind].since or action != POLICIES[kind].actions[0]
        }
        image = asdict(self.image)
        del image["hashes"]
        return {
            "dataset": dataset,
            "image": image,
            "policy": policy,
            "shards": self.shards,
        }
