"""The kinds of defect that raw data sets have, and what may be done about each.

Defects that were found are kept in `defects.py`; this module is read by the settings and imports
nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of defect.

    Args:
        meaning: What is wrong, in a few words.
        actions: What may be done, the default first. `error` stops before anything is published,
            `skip` leaves the item out, `clip` cuts the box to the image, `keep` only reports it,
            `fix` repairs it.
        unit: What `skip` leaves out: `image`, `box`, or `file` for what was no image of the set.
        since: 0 for the first kinds. A manifest names the policy of a later kind only where it is
            not the default, so that sets made before the kind was known stay the same.
    """

    meaning: str
    actions: tuple[str, ...]
    unit: str
    since: int = 0


KINDS: Mapping[str, Kind] = {
    "malformed_entry": Kind(
        "an image or annotation entry lacks a field or has one of the wrong type",
        ("skip", "error"),
        "image",
    ),
    "duplicate_image_id": Kind(
        "two images have one id; the first is kept", ("skip", "error"), "image"
    ),
    "duplicate_file": Kind("two images name one file", ("keep", "skip", "error"), "image"),
    "path_escape": Kind(
        "an image's file name leaves the data set's folder, or is no text that can be a name",
        ("skip", "error"),
        "image",
    ),
    "missing_image": Kind(
        "the image file is not there or not readable", ("skip", "error"), "image"
    ),
    "undecodable_image": Kind("the image does not decode", ("skip", "error"), "image"),
    "damaged_image": Kind(
        "the image decodes, but its data is cut short or holds foreign bytes",
        ("keep", "skip", "error"),
        "image",
    ),
    "size_mismatch": Kind(
        "the image has another size than declared; `fix` scales the boxes, `keep` leaves them",
        ("skip", "fix", "keep", "error"),
        "image",
    ),
    "too_large": Kind(
        "the image does not fit a MindRecord page, or has more pixels than can be decoded",
        ("skip", "error"),
        "image",
    ),
    "missing_annotation": Kind(
        "a listed image has no annotation file; `keep` takes it as an image without objects",
        ("skip", "keep", "error"),
        "image",
    ),
    "unreadable_annotation": Kind(
        "an image's annotation file cannot be parsed", ("skip", "error"), "image"
    ),
    "extent_taken": Kind(
        "a polygon, mask, circle or turned box gives its upright extent",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "ignored_region": Kind(
        "a region that the source says to ignore (KITTI's DontCare)",
        ("skip", "error"),
        "file",
        since=1,
    ),
    "duplicate_annotation": Kind(
        "a picture was annotated more than once; the first is taken",
        ("skip", "error"),
        "file",
        since=1,
    ),
    "ambiguous_image": Kind(
        "an annotation file or a name fits several images, or two files claim one image",
        ("skip", "error"),
        "image",
        since=1,
    ),
    "lost_all_boxes": Kind(
        "every box of the image was left out for a defect; `keep` takes it as an image without "
        "objects",
        ("skip", "keep", "error"),
        "image",
        since=1,
    ),
    "hidden_files": Kind(
        "pictures in folders or files that an editor, a NAS or an archive hides "
        "(.ipynb_checkpoints, @eaDir, __MACOSX, ._name)",
        ("skip", "error"),
        "file",
        since=1,
    ),
    "unread_files": Kind(
        "pictures of a kind that nothing here reads (a camera's raw files, icons, drawings)",
        ("skip", "error"),
        "file",
        since=1,
    ),
    "cut_away": Kind(
        "images that no split takes: the fractions of an annotation file add up to less than 1",
        ("skip", "error"),
        "file",
        since=1,
    ),
    "duplicate_image": Kind(
        "a picture has equal bytes or equal pixels as an earlier one of its split; `skip` keeps "
        "the first",
        ("keep", "skip", "error"),
        "image",
        since=1,
    ),
    "similar_image": Kind(
        "a picture is nearly equal to an earlier one of its split (re-encoded, scaled, or the next "
        "frame)",
        ("keep", "skip", "error"),
        "image",
        since=1,
    ),
    "copies_disagree": Kind(
        "copies of a picture have different boxes; `skip` leaves all of them out",
        ("keep", "skip", "error"),
        "image",
        since=1,
    ),
    "leak": Kind(
        "a picture is in a smaller split too, or one nearly equal; `skip` leaves it out of the "
        "larger split",
        ("keep", "skip", "error"),
        "image",
        since=1,
    ),
    "unknown_image": Kind(
        "an annotation names an image that is not there", ("skip", "error"), "box"
    ),
    "unknown_category": Kind(
        "an annotation names a category that does not exist", ("skip", "error"), "box"
    ),
    "duplicate_annotation_id": Kind(
        "two annotations have one id; the first is kept, `fix` gives the second a new id",
        ("skip", "fix", "error"),
        "box",
    ),
    "malformed_box": Kind("a box is not four numbers", ("skip", "error"), "box"),
    "box_not_finite": Kind(
        "a box has NaN, infinity, or a number above a billion", ("skip", "error"), "box"
    ),
    "box_degenerate": Kind("a box has zero or negative width or height", ("skip", "error"), "box"),
    "box_outside": Kind(
        "a box sticks out of its image; one wholly outside is left out",
        ("clip", "skip", "keep", "error"),
        "box",
    ),
    "duplicate_box": Kind(
        "a box is an exact copy of another: same image, class, corners and crowd flag",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "area_not_positive": Kind(
        "the declared area of a box is zero, negative or no number; `fix` takes that of the box",
        ("fix", "keep", "error"),
        "box",
        since=1,
    ),
    "area_mismatch": Kind(
        "the declared area of a box is larger than the box, or below a hundredth of it; `fix` "
        "takes that of the box",
        ("keep", "fix", "error"),
        "box",
        since=1,
    ),
    "similar_box": Kind(
        "a box overlaps (IoU) an earlier one of its class by 0.9 or more: drawn twice; `skip` "
        "keeps the first",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "classes_overlap": Kind(
        "a box overlaps (IoU) an earlier one of another class by 0.9 or more; `skip` keeps the "
        "first",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "box_whole_image": Kind(
        "a box is the whole picture, to one per cent of its sides",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "size_far_off": Kind(
        "the size of a box is far from the median of its class (five robust deviations)",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "aspect_far_off": Kind(
        "width / height of a box is far from the median of its class (five robust deviations)",
        ("keep", "skip", "error"),
        "box",
        since=1,
    ),
    "class_names_alike": Kind(
        "names of classes that differ only by case, blanks or what is not seen",
        ("keep", "error"),
        "file",
        since=1,
    ),
    "unused_class": Kind(
        "a parent of other classes, without a box; left out where its child has its name",
        ("keep", "error"),
        "file",
        since=1,
    ),
    "no_box": Kind(
        "not one image of the split has a box, though it has 100 images, or no split has one",
        ("error", "keep"),
        "file",
        since=1,
    ),
    "corrected": Kind(
        "exclude=FILE names the image or box: it is left out or changed as the file says",
        ("fix",),
        "box",
    ),
}
"""Every kind, in the order of reports."""

POLICIES = {kind: entry for kind, entry in KINDS.items() if len(entry.actions) > 1}
"""The kinds about which there is a choice."""
