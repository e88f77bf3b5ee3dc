"""Labels that an evaluation gives reason to doubt, ranked, in a form that `convert.py exclude=FILE`
takes.

A detector is no judge: every line is a question to a person, who looks at `suspects.png` and
deletes lines or changes their `action`. Applying the answers is
`data_tools/sources/corrections.py`'s matter.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.core.files import write_atomic
from data_tools.core.words import csv_cell
from data_tools.sources.corrections import COLUMNS
from training.evaluation.coco_matching import Matches
from training.evaluation.detection_table import DetectionTable
from training.evaluation.error_causes import CAUSES, CORRECT, FOREGROUND, ErrorCauses
from training.evaluation.error_causes import kernels as loops
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.thresholds import Judged, best_operating

KINDS = ("no_box", "never_found", "other_class", "sloppy_edges")
SURE = 0.9
"""A detection is confident from the score on from which this share of its class's are right."""

_FEWEST = 10  # right detections of a class, before its own scores say what confident is
_TIGHT = 0.75  # overlap below which the edges of a found box are doubted
_LOOSE = 0.3  # overlap up to which a detection says nothing about the edges of a box
_FAINT = 0.2  # score from which a detection of exactly the box speaks for it

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Suspect:
    """One label in doubt.

    Args:
        kind: One of `KINDS`.
        suspicion: 0..1; the list falls with it.
        image: Position of the image.
        box: The box in doubt, -1 where one seems to be missing.
        detection: The detection that raises the doubt, -1 where it is that there is none.
        overlap: Overlap of the two.
    """

    kind: str
    suspicion: float
    image: int
    box: int
    detection: int
    overlap: float


def find_suspects(
    truth: GroundTruth,
    table: DetectionTable,
    matches: Matches,
    causes: ErrorCauses,
    judged: Judged,
    most: int,
) -> list[Suspect]:
    """List labels in doubt, the most doubtful first.

    `no_box`: a confident detection of nothing that is labelled; the label may be missing.
    `never_found`: only the faintest detections, of any class, are there, though the class is found
    elsewhere. `other_class`: a confident detection of another class, and none of the box's own as
    sure. `sloppy_edges`: a confident detection of the box whose edges lie elsewhere, or a box that
    is not found for that reason.

    Args:
        truth: The boxes; crowds and difficult ones are not doubted.
        table: The detections.
        matches: Who found what.
        causes: What is wrong with each detection.
        judged: Right and wrong detections, best first.
        most: Suspects listed at most.
    """
    sure = confident_scores(judged)
    confident = matches.score >= sure[matches.category]
    doubted = ~truth.iscrowd & ~truth.difficult
    own_best, any_best = _best_evidence(truth, table, matches)
    background, other_class, location = (
        CAUSES.index(k) for k in ("background", "class", "location")
    )
    suspects: list[Suspect] = []
    for d in np.flatnonzero(confident & matches.counts):
        cause, g, score = int(causes.cause[d]), int(causes.box[d]), float(matches.score[d])
        image, overlap = int(matches.image[d]), float(causes.overlap[d])
        if cause == background:
            suspects.append(Suspect("no_box", score, image, -1, int(d), overlap))
        elif g < 0 or not doubted[g]:
            continue
        elif cause == other_class and own_best[g] < score:
            # The surer the box's own class is of it, the less is to be doubted.
            suspects.append(
                Suspect("other_class", score * (1 - own_best[g]), image, g, int(d), overlap)
            )
        elif (cause == CORRECT and overlap < _TIGHT) or (
            cause == location and matches.best_score[g] < 0 and overlap > _LOOSE
        ):
            doubt = score * (1 - overlap)
            suspects.append(Suspect("sloppy_edges", doubt, image, g, int(d), overlap))
    recall = class_recall(truth, matches)
    # Where many of a class are missed, a missed box says little about its label.
    doubts = recall[truth.category] * (1 - np.maximum(own_best, any_best) / _FAINT)
    for g in np.flatnonzero(doubted & (doubts > 0)):
        suspects.append(
            Suspect("never_found", float(doubts[g]), int(truth.image[g]), int(g), -1, 0.0)
        )
    suspects.sort(key=lambda s: (-s.suspicion, s.image, s.box, s.detection))
    return suspects[:most]


def confident_scores(judged: Judged) -> _Floats:
    """Return the lowest score (C,) of each class from which `SURE` of its detections are right.

    It is not below the best threshold: from there down most detections are wrong, whatever the
    share above is. A class with few right detections takes the score of all classes together; where
    no score is that sure, none is (2.0).
    """
    everything = _sure_from(judged.score, judged.hit, int(judged.num_boxes.sum()))
    result = np.full(len(judged.num_boxes), everything)
    for c in range(len(result)):
        mine = judged.category == c
        if judged.hit[mine].sum() >= _FEWEST:
            result[c] = _sure_from(judged.score[mine], judged.hit[mine], int(judged.num_boxes[c]))
    return result


def _sure_from(score: _Floats, hit: npt.NDArray[np.bool_], num_boxes: int) -> float:
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    last = np.append(score[1:] != score[:-1], True) if len(score) else np.zeros(0, bool)
    good = np.flatnonzero(last & (precision >= SURE))
    if not len(good):
        return 2.0
    return max(float(score[good[-1]]), best_operating(score, hit, num_boxes).threshold)


def class_recall(truth: GroundTruth, matches: Matches) -> _Floats:
    """(C,) share of the boxes of each class that were found by a detection of any score; 0 without
    boxes.
    """
    counts = ~truth.iscrowd
    total = np.bincount(truth.category[counts], minlength=len(truth.category_ids))
    detected = counts & (matches.best_score >= 0)
    hits = np.bincount(truth.category[detected], minlength=len(truth.category_ids))
    return np.divide(hits, total, out=np.zeros(len(total)), where=total > 0)


def _best_evidence(
    truth: GroundTruth, table: DetectionTable, matches: Matches
) -> tuple[_Floats, _Floats]:
    """Return the best score of its own class at each box (G,), and the most that any detection says
    of it.
    """
    order = np.argsort(matches.image, kind="stable")
    first = np.searchsorted(matches.image[order], np.arange(truth.num_images + 1))
    own, anything = loops().evidence(
        truth.image,
        truth.category,
        truth.boxes_xywh_px,
        first.astype(np.int64),
        order,
        matches.category,
        matches.score,
        np.ascontiguousarray(table.boxes_xywh_px, np.float64),
        FOREGROUND,
    )
    return own, anything


def write_suspects(
    path: Path,
    suspects: Sequence[Suspect],
    truth: GroundTruth,
    table: DetectionTable,
    matches: Matches,
    split: str,
) -> None:
    """Write the list as CSV, ready for `convert.py exclude=FILE`.

    `action` is what would follow if the doubt is right: `add` the missing box, `drop` the one that
    is never found, change the `class`, or move the `box`.
    """
    names = truth.unique_names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = ("labelled", "score", "overlap")
    writer.writerow(["rank", "kind", "suspicion", *COLUMNS, *extra])
    actions = dict(zip(KINDS, ("add", "drop", "class", "box"), strict=True))
    for rank, s in enumerate(suspects, 1):
        height, width = truth.sizes[s.image]
        d = s.detection
        box = table.boxes_xywh_px[d] if d >= 0 else truth.boxes_xywh_px[s.box]
        category = matches.category[d] if d >= 0 else truth.category[s.box]
        writer.writerow(
            [
                rank,
                s.kind,
                f"{s.suspicion:.4f}",
                actions[s.kind],
                split,
                csv_cell(truth.file_names[s.image]) or int(truth.image_ids[s.image]),
                int(truth.annotation_ids[s.box]) if s.box >= 0 else "",
                csv_cell(truth.names[category]),
                *(f"{v:.2f}" for v in box),
                int(width) or "",
                int(height) or "",
                csv_cell(names[truth.category[s.box]]) if s.box >= 0 else "",
                f"{matches.score[d]:.4f}" if d >= 0 else "",
                f"{s.overlap:.3f}",
            ]
        )
    write_atomic(path, text.getvalue())
