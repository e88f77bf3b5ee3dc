"""What `eval.py detections=FILE` does: anybody's COCO results in, all figures out, without a
network.

A detector of ours is evaluated in `evaluate.py`.
"""

from __future__ import annotations

from pathlib import Path

from data_tools.core.files import sha256_of_file
from data_tools.shards.manifest import ConvertedSplit, open_split
from training.boxes.postprocess import PUBLISHED
from training.evaluation.crosscheck import compare_with_pycocotools
from training.evaluation.foreign_results import read_foreign_results
from training.evaluation.ground_truth import GroundTruth, read_ground_truth
from training.evaluation.scoring import score
from training.evaluation.settings import EvalCommand
from training.evaluation.thresholds import is_share
from training.insight.outputs import Wanted, clear_outputs, write_outputs

AS_GIVEN = {"detections": "as given"}
"""The protocol of detections from a file: no floor, suppression or limit of ours."""


def open_truth(data: str, split: str) -> tuple[GroundTruth, ConvertedSplit | None, str]:
    """Open a converted set or a COCO annotation file.

    Returns:
        The ground truth, the split (None for an annotation file), and the fingerprint of the data:
        the split's, or the file's sha256.

    Raises:
        DataError: If it is missing or damaged.
    """
    if Path(data).is_file():
        return read_ground_truth(data), None, sha256_of_file(Path(data))
    converted = open_split(data, split)
    return read_ground_truth(converted.annotations_path), converted, converted.fingerprint


def run(command: EvalCommand) -> int:
    """Score a file of detections and write what an evaluation of a detector writes.

    Detections are taken as they are. For `published` they are those above its floor, on its images;
    suppression is not repeated.

    Returns:
        0.

    Raises:
        DataError: If the detections or the data are missing or damaged, or do not belong together.
        SettingError: If the folder cannot be made.
    """
    truth, split, fingerprint = open_truth(command.data, command.split)
    table = read_foreign_results(command.detections, truth)
    output = Path(command.output)
    clear_outputs(output)
    result = score(truth, table, table.above(PUBLISHED.score_floor))
    if command.crosscheck:
        path = split.annotations_path if split is not None else Path(command.data)
        print(compare_with_pycocotools(path, result))
    facts = {
        "detections_sha256": sha256_of_file(Path(command.detections)),
        "data_fingerprint": fingerprint,
        "data": str(Path(command.data).absolute()),
        "split": command.split if split is not None else "",
        "protocol": AS_GIVEN,
    }
    wanted = Wanted(
        command.worst,
        command.curves,
        tuple(command.evaluate.sizes),
        command.report,
        command.suspects,
        f"{Path(command.detections).name} on {Path(command.data).name}",
    )
    print(f"{command.detections}: {len(table)} detections on {truth.num_images} images")
    if not is_share(table.score):
        print(
            f"scores from {table.score.min():g} to {table.score.max():g}: beyond 0..1 they are no "
            "probabilities, so there is no calibration, and curves over the score show 0..1 only"
        )
    write_outputs(output, result, facts, split, wanted)
    return 0
