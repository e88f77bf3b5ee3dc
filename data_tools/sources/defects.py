"""The defects that were found in a raw data set, and the log that says what the policy wants done
about each.

Finding them is the business of `sources/`, `convert/prepare_image.py` and `box_checks.py`; the
kinds are named in `defect_kinds.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError
from data_tools.sources.defect_kinds import KINDS

IdArray = npt.NDArray[np.int64]


class PolicyError(DataError):
    """The data set has defects that the policy calls errors, or is left with too little."""


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
        return dict(vars(self))


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
        """What the source calls an image, category or annotation: its text in quotes, or its
        number.
        """
        text = self.names[what].get(number)
        return str(number) if text is None else repr(text)

    def renumber(self, final: Mapping[str, Callable[[IdArray], IdArray]]) -> None:
        """Give the images and annotations of the defects so far their final ids, and name their
        texts.
        """
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
        + f"\nMend the files, or choose another policy ({choices}). "
        + "See all of them with check=true."
    )


def count_left_out(defects: Iterable[Defect]) -> tuple[int, int]:
    """Count the images and the boxes that a source left out while it was read."""
    units = Counter(unit_of(d) for d in defects if d.action == "skip")
    return units["image"], units["box"]


def unit_of(defect: Defect) -> str:
    """What a skipped defect left out: `image`, `box`, `category` or `file`."""
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


def where_boxes_went(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return a line for each kind that left something out.

    Args:
        counts: What `summary` returns.
    """
    return "\n".join(
        f"  {kind}: {sum(actions.values())} ({KINDS[kind].meaning})"
        for kind, actions in counts.items()
        if "skip" in actions and kind != "lost_all_boxes"
    )
