"""What `eval.py` does: a detector file and a converted set in; figures, detections and pictures
out.

The figures are computed in `evaluation/evaluate.py`, which the trainer calls too.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from data_tools.core.lock import alone_in
from data_tools.shards.manifest import ConvertedSplit, open_split
from training.checkpoints.checkpoint import read_card
from training.commands.compare import run as compare
from training.commands.evaluate_results import run as evaluate_results
from training.evaluation.crosscheck import compare_with_pycocotools
from training.evaluation.evaluate import evaluate
from training.evaluation.predict_fn import PredictFn
from training.evaluation.settings import EvalCommand, EvaluateSettings
from training.inference.class_columns import check_classes, with_columns
from training.inference.engine import Engine, load_engine
from training.inference.model_file import EXPORTED, WEIGHTS, ModelFile
from training.inference.open_model import open_model_file
from training.insight.outputs import Wanted, clear_outputs, write_outputs
from training.process.runtime import prepare_environment, start_device
from training.process.settings import RuntimeSettings
from training.process.world import World, is_scheduler, launched_ranks, start_world


def run(command: EvalCommand) -> int:
    """Evaluate as the command says: a detector, detections from a file, or the comparison of two
    runs.

    Returns:
        0.
    """
    if command.compare:
        return compare(command)
    if command.detections:
        with alone_in(Path(command.output), "output", "evaluation"):
            return evaluate_results(command)
    return evaluate_detector(command)


def evaluate_detector(command: EvalCommand) -> int:
    """Evaluate a detector; with a launcher, on all ranks together.

    Writes `metrics.json` and `detections.json` (COCO results) to `command.output`, and pictures. An
    earlier `metrics.json` and earlier pictures are removed first and the new `metrics.json` is
    written last, so it never stands next to another run's detections.

    Returns:
        0.

    Raises:
        DataError: If the data set is missing or damaged.
        CheckpointError: If the detector cannot be read, or is for other classes.
        SettingError: If the folder cannot be made.
    """
    prepare_environment()
    split = open_split(command.data, command.split)
    output = Path(command.output)
    file = open_model_file(command.checkpoint, command.model)
    columns = check_classes(file, split, command.accept_other_classes)
    if launched_ranks() > 1 or is_scheduler() or command.device != "CPU":
        start_device(RuntimeSettings(device=command.device), "device")
    world = start_world()
    predict_fn, engine = _engine(command, file)
    with alone_in(output, "output", "evaluation") if world.is_main else nullcontext():
        _evaluate_and_write(command, file, split, columns, predict_fn, engine, world)
    return 0


def _evaluate_and_write(
    command: EvalCommand,
    file: ModelFile,
    split: ConvertedSplit,
    columns: list[int] | None,
    predict_fn: PredictFn,
    engine: Engine,
    world: World,
) -> None:
    output = Path(command.output)
    if world.is_main:
        clear_outputs(output)
        print(
            f"{file.path}: {file.model.name}, {file.num_classes - 1} classes, image "
            f"{file.image_size}"
        )
        if not file.classes:
            print(f"note: its classes have no names: they are taken for those of {split.folder}")
        if file.graph_nms:
            print(graph_nms_note(file, command.evaluate))
        print(engine.line)
    world.barrier()
    result = evaluate(
        with_columns(predict_fn, columns),
        split,
        file.image_size,
        command.evaluate,
        rank=world.rank,
        world_size=world.size,
        gather=world.gather_bytes if world.size > 1 else None,
    )
    if world.is_main:
        if command.crosscheck:
            print(compare_with_pycocotools(split.annotations_path, result))
        wanted = Wanted(
            command.worst,
            command.curves,
            tuple(command.evaluate.sizes),
            command.report,
            command.suspects,
            f"{file.path.name} on {Path(command.data).name}, {command.split}",
        )
        write_outputs(output, result, _facts(command, file, split, engine), split, wanted)
        store_thresholds(file, result.metrics["thresholds"])
    world.barrier()


def _engine(command: EvalCommand, file: ModelFile) -> tuple[PredictFn, Engine]:
    """Make the detector ready: of checkpoints in MindSpore, as training evaluates, unless told."""
    default = "auto" if file.path.suffix in EXPORTED else "mindspore"
    size = command.evaluate.batch_size
    return load_engine(file, size, command.engine or default, command.device)


def graph_nms_note(file: ModelFile, settings: EvaluateSettings) -> str:
    """Say which figures the suppression in an exported file's graph makes differ from its
    checkpoint's.
    """
    floor, overlap, most = (
        file.graph_nms[name] for name in ("score_floor", "nms_iou", "max_detections")
    )
    same = (
        floor <= settings.score_floor
        and overlap == settings.nms_iou
        and most >= settings.max_detections
    )
    return (
        f"note: the graph keeps at most {most} detections above {floor:g}, suppressed at "
        f"{overlap:g}: {'published' if same else 'coco, published and voc'} figures are the file's "
        "own, not those of its checkpoint"
    )


def store_thresholds(file: ModelFile, thresholds: dict[str, Any]) -> None:
    """Put thresholds into the card of a checkpoint that knows none yet, for `threshold=auto`.

    Those that are there stay: they come from the split that training chose its best weights by, and
    a test split must not change them.
    """
    if file.thresholds or thresholds["all"]["threshold"] < 0:
        return
    card = read_card(file.path) if file.path.suffix in WEIGHTS else None
    if card is None:
        return
    path = file.path.with_suffix(".json")
    card.thresholds = thresholds
    try:
        card.write(path)
    except OSError as error:
        print(f"{path}: thresholds not stored ({error.strerror})")
        return
    print(f"{path}: thresholds stored, for predict.py threshold=auto")


def _facts(
    command: EvalCommand, file: ModelFile, split: ConvertedSplit, engine: Engine
) -> dict[str, Any]:
    """Return what `metrics.json` says besides figures."""
    settings = command.evaluate
    return {
        "checkpoint_sha256": file.sha256,
        "data_fingerprint": split.fingerprint,
        "checkpoint": str(file.path),
        "engine": engine.facts(),
        "trained_on_fingerprint": file.data_fingerprint,
        "data": str(Path(command.data).absolute()),
        "split": command.split,
        "protocol": {
            "score_floor": settings.score_floor,
            "nms_iou": settings.nms_iou,
            "max_detections": settings.max_detections,
        },
        **({"graph_nms": file.graph_nms} if file.graph_nms else {}),
    }
