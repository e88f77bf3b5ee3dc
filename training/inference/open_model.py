"""Opens any detector file - checkpoint, ONNX, MindIR - and makes it ready to predict.

Exported files are run in `exported.py`; weights are read in `checkpoints/weights.py`, cards in
`checkpoints/checkpoint.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_tools.core.errors import CheckpointError
from data_tools.core.files import neighbours, sha256_of_file
from data_tools.core.sample import ClassInfo
from training.boxes.nms import warm_up
from training.checkpoints.checkpoint import read_card
from training.checkpoints.header_card import read_header_card
from training.checkpoints.safetensors_header import check_header
from training.checkpoints.torchvision_detectors import SETTINGS
from training.checkpoints.weight_files import read_weights
from training.checkpoints.weights import load_weights
from training.evaluation.predict_fn import PredictFn
from training.inference.coco_classes import coco_classes, coco_classes_by_id
from training.inference.exported import load_exported, read_metadata
from training.inference.file_metadata import parse_metadata
from training.inference.identity_cache import identity_of
from training.inference.model_file import EXPORTED, WEIGHTS, ModelFile
from training.inference.predictor import build_predictor
from training.nets.settings import ModelSettings, model_settings, settings_from_dict
from training.weights.entry import PREFIX
from training.weights.fetch import local_path


def open_model_file(path: str | Path, model_name: str | None = None) -> ModelFile:
    """Find out what a detector file is.

    Args:
        path: A checkpoint of ours (with its card next to it), published, or torchvision's, an
            exported file, or `hub:NAME`.
        model_name: A file of `conf/model`, for checkpoints without a card; None finds it.

    Raises:
        CheckpointError: If it is missing, damaged, or of no kind we know.
        SettingError: If there is no model of that name.
    """
    asked = model_settings(model_name) if model_name else None
    by_name = str(path).startswith(PREFIX)
    path = local_path(path)
    if path.is_dir():
        path = _best_of(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint={path}: no such file.{neighbours(path)}")
    if path.suffix not in WEIGHTS + EXPORTED:
        raise CheckpointError(
            f"checkpoint={path}: unknown kind of file; expected {', '.join(WEIGHTS + EXPORTED)}."
        )
    if path.suffix in EXPORTED:
        file = read_metadata(path)
    else:
        sha256 = sha256_of_file(path)
        known = _with_card(path, sha256)
        if known is None:
            return _without_card(path, sha256, asked, by_name)
        file = known
    if asked is not None:
        print(f"note: model={model_name} is not used: {path} says that it is {file.model.name}.")
    return file


def _best_of(folder: Path) -> Path:
    """Return the best checkpoint of a run's folder, or of its checkpoints' folder.

    Raises:
        CheckpointError: If it has none; the message lists what there is.
    """
    for directory in (folder / "checkpoints", folder):
        for ending in WEIGHTS:
            path = directory / f"best{ending}"
            if path.is_file():
                print(f"checkpoint={folder}: a folder; taking {path}")
                return path
    files = sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix in WEIGHTS + EXPORTED
    )
    hint = (
        f" It holds {', '.join(files[:5])}: name one of them."
        if files
        else " It holds no detector."
    )
    raise CheckpointError(
        f"checkpoint={folder}: a folder without checkpoints/best.ckpt (a run has one once it was "
        f"evaluated).{hint}"
    )


def _with_card(path: Path, sha256: str) -> ModelFile | None:
    """A checkpoint that says what it is, in a file next to it or in its header; else None."""
    card = read_card(path)
    if card is not None:
        recorded = card.files.get(path.name)
        if recorded is not None and recorded != sha256:
            raise CheckpointError(
                f"{path}: sha256 {sha256[:16]}..., its card says {recorded[:16]}...: the file was "
                "changed, cut short, or belongs to another card."
            )
        model = settings_from_dict(card.model)
        infos = card.class_infos
        return ModelFile(
            path, model, card.num_classes, infos, sha256, card.data_fingerprint,
            thresholds=card.known_thresholds,
        )  # fmt: skip
    if path.suffix == ".safetensors":
        header = check_header(path).get("__metadata__", {})
        if "model" in header:  # written by export.py
            return parse_metadata(path, header, sha256)
        known = read_header_card(path, header)
        if known is not None:
            return ModelFile(
                path, known.model, known.num_classes, known.classes, sha256, known.data_fingerprint
            )
    return None


def _without_card(path: Path, sha256: str, asked: ModelSettings | None, by_name: bool) -> ModelFile:
    """A checkpoint that says nothing: what its weights tell, and the network that was asked for."""
    identity, weights = identity_of(path, sha256)
    name, num_classes = identity.model, identity.num_classes
    classes: tuple[ClassInfo, ...] = ()
    if identity.torchvision:
        name = SETTINGS[name]
        if num_classes == len(coco_classes_by_id()) + 1:
            classes = coco_classes_by_id()
    model = asked or model_settings(name)
    if by_name and not classes and num_classes == len(coco_classes()) + 1:
        classes = coco_classes()  # the registry's detectors of this number of classes are COCO's
    if not classes:
        height, width = model.image_size
        print(
            f"note: {path} has no card ({path.with_suffix('.json').name}) next to it: it is taken "
            f"for {model.name} as published, {height} x {width}. If it was trained with other "
            "settings, copy its card as well."
        )
    return ModelFile(path, model, num_classes, classes, sha256, "", weights=weights)


def load_predictor(file: ModelFile, batch_size: int) -> PredictFn:
    """Make a detector file ready to run: a checkpoint in MindSpore, an exported file in its own
    runtime. Other engines are `engine.py`'s matter.

    Args:
        file: From `open_model_file`.
        batch_size: Images per call; what an exported file fixes wins.

    Raises:
        CheckpointError: If the weights do not fit the network.
    """
    if file.path.suffix in EXPORTED:
        return load_exported(file, batch_size)
    warm_up()

    return build_predictor(load_network(file), batch_size)


def load_network(file: ModelFile) -> Any:
    """Build the network of a checkpoint and load its weights; inference mode."""
    from training.nets.build import build_network

    network = build_network(file.model, file.num_classes)
    load_weights(network, file.weights or read_weights(file.path))
    file.weights.clear()
    return network.set_train(False)
