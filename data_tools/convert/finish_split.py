"""Joins the results of a split's shards to what is published: manifest, full ground truth, report.

Works from the plan and the result files alone, so it is the same on one machine and after a merge.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

import data_tools
from data_tools.convert.coco_json import inner_json
from data_tools.convert.ground_truth_file import GroundTruthFile
from data_tools.convert.plan import Plan, SplitPlan
from data_tools.convert.shard_result import read_result
from data_tools.convert.workspace import Workspace
from data_tools.core.files import sha256_of_file, write_atomic
from data_tools.shards.manifest import ANNOTATIONS, REPORT, Manifest, ShardInfo
from data_tools.sources.defect_kinds import KINDS
from data_tools.sources.defects import (
    Defect,
    PolicyError,
    raise_errors,
    summary,
    where_boxes_went,
)
from data_tools.sources.raw_split import SMALL_SPLIT

TOTALS = ("images", "boxes", "crowd_boxes", "images_without_boxes")


@dataclass(frozen=True)
class Base:
    """What stays of a finished split that is extended; all parts are empty for a new one.

    Args:
        shards: Its shards.
        images: Its entries of the list of images of `annotations.json`, by ascending id.
        annotations: Its entries of the list of annotations, by their images' order.
        totals: Counts, see `TOTALS`.
        defects: Defects of its images.
        changes: Counts of what was done to its images.
        hashes: Hashes of its pictures, see `Manifest`.
    """

    shards: tuple[ShardInfo, ...] = ()
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    defects: tuple[Defect, ...] = ()
    changes: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)


def assemble_splits(
    workspace: Workspace,
    plan: Plan,
    max_skipped: float,
    bases: Mapping[str, Base | None] | None = None,
) -> list[dict[str, Any]]:
    """Write what belongs to the shards of every split of a plan, which are made; see
    `assemble_split`.

    Args:
        workspace: Where the shards and their results are.
        plan: The plan.
        max_skipped: See `assemble_split`.
        bases: Name of a split to the finished split that is extended, if there are any.

    Returns:
        The reports, in the order of the plan.

    Raises:
        PolicyError: See `assemble_split`.
    """
    return [
        assemble_split(
            plan,
            split,
            [workspace.state_file(split.name, k) for k in range(split.num_shards)],
            workspace.split_folder(split.name),
            max_skipped,
            (bases or {}).get(split.name),
        )
        for split in plan.splits
    ]


def assemble_split(
    plan: Plan,
    split: SplitPlan,
    states: list[Path],
    folder: Path,
    max_skipped: float,
    base: Base | None = None,
) -> dict[str, Any]:
    """Write `annotations.json`, `report.json` and, last, `manifest.json` of a split.

    Args:
        plan: The plan.
        split: The split.
        states: The result files of all its shards, in order.
        folder: Folder that holds the shards.
        max_skipped: Share of skipped images that is refused in splits of 100 images or more.
        base: The finished split that is extended, if there is one.

    Returns:
        The report.

    Raises:
        PolicyError: If no image is left, too many were skipped, or the policy calls a defect an
            error.
    """
    kept = base or Base()
    shards = list(kept.shards)
    all_defects = list(kept.defects)
    changes, totals = Counter(kept.changes), Counter(kept.totals)
    hashes = {kind: dict(texts) for kind, texts in kept.hashes.items()}
    images, annotations = list(kept.images), list(kept.annotations)
    with GroundTruthFile(folder / ANNOTATIONS, split.name, plan.classes) as truth:
        for state in states:
            result = read_result(state)
            if result.shard is not None:
                shards.append(result.shard)
                for kind, text in result.hashes.items():
                    hashes.setdefault(kind, {})[result.shard.file] = text
            all_defects += result.defects
            changes.update(result.changes)
            totals.update(result.totals)
            if base is None:
                truth.add(result.images, result.annotations)
            else:
                images += msgspec.json.decode(f"[{result.images}]")
                annotations += msgspec.json.decode(f"[{result.annotations}]")
        if base is not None:
            # As if all had been made at once: by the order of the images.
            shards.sort(key=lambda shard: shard.first_image_id)
            all_defects.sort(key=lambda defect: defect.image_id or 0)
            images.sort(key=itemgetter("id"))
            annotations.sort(key=itemgetter("image_id"))
            truth.add(inner_json(images), inner_json(annotations))
        defects = [*split.defects, *all_defects]
        raise_errors(defects)
        truth.finish()
    report = _report(split, totals, defects, changes)
    _refuse_empty(split, report, defects, max_skipped)
    write_atomic(folder / REPORT, json.dumps(report, indent=1, sort_keys=False) + "\n")
    manifest = Manifest(
        split=split.name,
        classes=plan.classes,
        shards=tuple(shards),
        totals={key: totals[key] for key in TOTALS},
        settings=plan.settings,
        source=split.source,
        files={
            ANNOTATIONS: sha256_of_file(folder / ANNOTATIONS),
            REPORT: sha256_of_file(folder / REPORT),
        },
        tool_version=str(getattr(data_tools, "__version__", "")),
        hashes=hashes,
    )
    manifest.write(folder)
    return report


def _report(
    split: SplitPlan, totals: Mapping[str, int], defects: list[Defect], changes: Counter[str]
) -> dict[str, Any]:
    empty_left_out = split.empty_left_out + changes.pop("empty_left_out", 0)
    files: dict[str, list[dict[str, Any]]] = {}
    for defect in defects:
        entry = {k: v for k, v in defect.as_dict().items() if k != "file" and v is not None}
        files.setdefault(defect.file, []).append(entry)
    return {
        "split": split.name,
        "found": {key: split.found[key] for key in ("images", "boxes")},
        "written": {"images": totals["images"], "boxes": totals["boxes"]},
        "left_out": {
            "images": split.found["images"] - totals["images"],
            "images_without_boxes": empty_left_out,
            "boxes": split.found["boxes"] - totals["boxes"],
            "boxes_of_other_classes": split.other_classes,
        },
        "defects": summary(defects),
        "meanings": {kind: KINDS[kind].meaning for kind in summary(defects)},
        "images_changed": dict(sorted(changes.items())),
        "files": files,
    }


def _refuse_empty(
    split: SplitPlan, report: dict[str, Any], defects: list[Defect], max_skipped: float
) -> None:
    written, read = report["written"]["images"], report["found"]["images"]
    lines = "\n".join(f"  {d.line()}" for d in defects[:5])
    if not written:
        raise PolicyError(f"split {split.name!r}: none of its {read} images can be used:\n{lines}")
    dropped = read - written - report["left_out"]["images_without_boxes"]
    if read >= SMALL_SPLIT and dropped > max_skipped * read:
        raise PolicyError(
            f"split {split.name!r}: {dropped} of {read} images would be skipped, more than "
            f"max_skipped={max_skipped:g} allows. The first defects:\n{lines}\n"
            "See all of them with check=true; raise max_skipped if that is as it should be."
        )
    boxes = report["found"]["boxes"] - report["left_out"]["boxes_of_other_classes"]
    lost = boxes - report["written"]["boxes"]
    allowed = max_skipped * boxes if boxes >= SMALL_SPLIT else boxes - 1
    if boxes and lost > allowed:
        raise PolicyError(
            f"split {split.name!r}: {lost} of its {boxes} boxes would be left out for defects"
            f"{'' if lost == boxes else f', more than max_skipped={max_skipped:g} allows'}. Where "
            "they went:\n"
            f"{where_boxes_went(report['defects'])}\nThe first defects:\n{lines}\n"
            "See all of them with check=true."
        )
