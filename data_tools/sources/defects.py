"""The kinds of defect that raw data sets have, what may be done about each, and the log of those found.

Finding them is the business of `sources/`, `convert/prepare_image.py` and `box_checks.py`; this module only names and keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError

IdArray = npt.NDArray[np.int64]


class PolicyError(DataError):
    """The data set has defects that the policy calls errors, or is left with too little."""


@dataclass(frozen=True)
class Kind:
    """One kind of defect.

    Args:
        meaning: What is wrong, in a few words.
        actions: What may be done, the default first. `error` stops before anything is published, `skip`
            leaves the item out, `clip` cuts the box to the image, `keep` only reports it, `fix` repairs it.
        unit: What `skip` leaves out: `image`, `box`, or `file` for what was no image of the set.
        since: 0 for the first kinds. A manifest names the policy of a later kind only where it is not the
            default, so that sets made before the kind was known stay the same.
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
        "every box of the image was left out for a defect; `keep` takes it as an image without objects",
        ("skip", "keep", "error"),
        "image",
        since=1,
    ),
    "hidden_files": Kind(
        "pictures in folders or files that an editor, a NAS or an archive hides (.ipynb_checkpoints, "
        "@eaDir, __MACOSX, ._name)",
        ("skip", "error"),
        "file",
        since=1,
    ),
    "duplicate_image": Kind(
        "a picture has equal bytes or equal pixels as an earlier one of its split; `skip` keeps the first",
        ("keep", "skip", "error"),
        "image",
        since=1,
    ),
    "similar_image": Kind(
        "a picture is nearly equal to an earlier one of its split (re-encoded, scaled, or the next frame)",
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
        "a picture is in a smaller split too, or one nearly equal; `skip` leaves it out of the larger split",
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
    "corrected": Kind(
        "exclude=FILE names the image or box: it is left out or changed as the file says",
        ("fix",),
        "box",
    ),
}
"""Every kind, in the order of reports."""

POLICIES = {kind: entry for kind, entry in KINDS.items() if len(entry.actions) > 1}
"""The kinds about which there is a choice."""


@dataclass(frozen=True)
class Defect:
    """One defect found.

    Args:
        kind: A key of `KINDS`.
        action: What was done: `error`, `skip`, `clip`, `keep` or `fix`.
        file: The file it was found in, relative to the data set's folder.
        image_id: The image's id where known.
        annotation_id: The annotation's id where known.
        detail: The values that are wrong.
    """

    kind: str
    action: str
    file: str
    image_id: int | None
    annotation_id: int | None
    detail: str

    def line(self) -> str:
        """The defect as one line of text."""
        where = self.file
        if self.image_id is not None:
            where += f", image {self.image_id}"
        if self.annotation_id is not None:
            where += f", annotation {self.annotation_id}"
        return f"{where}: {self.kind}: {self.detail}"

    def as_dict(self) -> dict[str, Any]:
        """The defect as it stands in `report.json`."""
        return asdict(self)


class DefectLog:
    """Collects defects and says what the policy wants done about each.

    Args:
        policy: Kind to action; kinds that are missing take their default.
    """

    def __init__(self, policy: Mapping[str, str]) -> None:
        self.policy = policy
        self.defects: list[Defect] = []
        # Of image, category and annotation: id -> what the source calls it, where that is another.
        self.names: dict[str, dict[int, str]] = {"image": {}, "category": {}, "annotation": {}}

    def called(self, what: str, number: int) -> str:
        """What the source calls an image, category or annotation: its text in quotes, or its number."""
        text = self.names[what].get(number)
        return str(number) if text is None else repr(text)

    def renumber(self, final: Mapping[str, Callable[[IdArray], IdArray]]) -> None:
        """Give the images and annotations of the defects so far their final ids, and name their texts."""
        for k, defect in enumerate(self.defects):
            image_id, annotation_id = (
                None if number is None else int(final[what](np.array([number], np.int64))[0])
                for what, number in (
                    ("image", defect.image_id),
                    ("annotation", defect.annotation_id),
                )
            )
            detail = defect.detail + self._texts(image_id, annotation_id)
            self.defects[k] = replace(
                defect, image_id=image_id, annotation_id=annotation_id, detail=detail
            )

    def _texts(self, image_id: int | None, annotation_id: int | None) -> str:
        texts = (
            (what, self.names[what].get(number))
            for what, number in (("image", image_id), ("annotation", annotation_id))
            if number is not None
        )
        named = [f"{what} {text!r}" for what, text in texts if text is not None]
        return f" ({', '.join(named)})" if named else ""

    def action(self, kind: str) -> str:
        """Return the policy's action for a kind."""
        return self.policy.get(kind, KINDS[kind].actions[0])

    def add(
        self,
        kind: str,
        file: str,
        detail: str,
        *,
        image_id: int | None = None,
        annotation_id: int | None = None,
        action: str | None = None,
    ) -> str:
        """Note a defect.

        Args:
            kind: A key of `KINDS`.
            file: The file it was found in.
            detail: The values that are wrong.
            image_id: The image's id where known.
            annotation_id: The annotation's id where known.
            action: What was done, where that is not what the policy says for the kind.

        Returns:
            The action. `error` is noted here and raised by `raise_errors`, so that a user sees all
            defects at once: go on as with `skip`.
        """
        action = action or self.action(kind)
        detail += self._texts(image_id, annotation_id)
        self.defects.append(Defect(kind, action, file, image_id, annotation_id, detail))
        return action


def raise_errors(defects: Iterable[Defect]) -> None:
    """Raise one error that lists the defects whose action is `error`, if there are any.

    Raises:
        PolicyError: With the counts, the first ten, and what to do.
    """
    fatal = [d for d in defects if d.action == "error"]
    if not fatal:
        return
    counts = Counter(d.kind for d in fatal)
    total = ", ".join(f"{counts[k]} {k}" for k in KINDS if counts[k])
    lines = [f"  {d.line()}" for d in fatal[:10]]
    if len(fatal) > 10:
        lines.append(f"  ... and {len(fatal) - 10} more")
    kinds = [k for k in KINDS if counts[k]]
    choices = "; ".join(f"policy.{k}={'|'.join(KINDS[k].actions)}" for k in kinds)
    raise PolicyError(
        "the data set has defects that the policy calls errors: "
        + total
        + "\n"
        + "\n".join(lines)
        + f"\nMend the files, or choose another policy ({choices}). See all of them with check=true."
    )


def count_left_out(defects: Iterable[Defect]) -> tuple[int, int]:
    """Count the images and the boxes that a source left out while it was read."""
    units = Counter(_unit(d) for d in defects if d.action != "keep")
    return units["image"], units["box"]


def _unit(defect: Defect) -> str:
    if defect.kind == "malformed_entry":  # the kind of entry is known by the list that it is in
        named = {"images": "image", "categories": "category"}
        return named.get(defect.detail.partition(":")[0], "box")
    return KINDS[defect.kind].unit


def summary(defects: Iterable[Defect]) -> dict[str, dict[str, int]]:
    """Count defects by kind and action, in the order of `KINDS`: kind -> action -> count."""
    counts = Counter((d.kind, d.action) for d in defects)
    return {
        kind: {action: n for (k, action), n in sorted(counts.items()) if k == kind}
        for kind in KINDS
        if any(k == kind for k, _ in counts)
    }
