"""Any detector file - checkpoint, ONNX, MindIR - to something that predicts, with its classes.

Exported files are run in `exported.py`; weights are read in `checkpoints/weights.py`, cards in
`checkpoints/checkpoint.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_tools.errors import CheckpointError, DataError
from data_tools.files import sha256_of_file
from data_tools.manifest import MANIFEST, open_split
from data_tools.sample import ClassInfo
from training.evaluation.evaluate import PredictFn
from training.inference.coco_classes import coco_classes
from training.nets.settings import ModelSettings, model_settings, settings_from_dict

EXPORTED = (".onnx", ".mindir")
WEIGHTS = (".ckpt", ".safetensors")


@dataclass(frozen=True)
class ModelFile:
    """What a detector file is, before anything is compiled.

    Args:
        path: The file.
        model: The network's settings.
        num_classes: Classes with background.
        classes: Names and ids by label; empty if nobody knows them.
        sha256: Hash of the file.
        data_fingerprint: Fingerprint of the data it was trained on; empty if unknown.
        graph_nms: `score_floor`, `nms_iou` and `max_detections` of an exported file that suppresses in its
            graph; empty for any other.
    """

    path: Path
    model: ModelSettings
    num_classes: int
    classes: tuple[ClassInfo, ...]
    sha256: str
    data_fingerprint: str
    graph_nms: dict[str, float] = field(default_factory=dict)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that the network takes."""
        return int(self.model.image_size[0]), int(self.model.image_size[1])

    def named_classes(self, class_names: str = "") -> tuple[ClassInfo, ...]:
        """Return the classes, from `class_names` where given, else the file's own, COCO's, or numbers.

        Args:
            class_names: A text file with a name a line in the order of the labels, or a converted
                data set; empty for none.

        Raises:
            CheckpointError: If the number of names is not the network's.
        """
        count = self.num_classes - 1
        if class_names:
            classes = read_class_names(Path(class_names))
            if len(classes) != count:
                raise CheckpointError(
                    f"class_names={class_names}: {len(classes)} classes; {self.path} has {count}. "
                    "Give one name a line for each, without the background."
                )
            return classes
        if self.classes:
            return self.classes
        if count == len(coco_classes()):
            return coco_classes()
        return tuple(ClassInfo(k, f"class {k}", k) for k in range(1, count + 1))


def read_class_names(path: Path) -> tuple[ClassInfo, ...]:
    """Read classes from a text file or from a converted data set (its folder or a split's).

    Raises:
        DataError: If there is neither.
    """
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return open_split(path.parent, path.name).classes
        splits = sorted(p.parent.name for p in path.glob(f"*/{MANIFEST}"))
        if splits:
            return open_split(path, splits[0]).classes
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"class_names={path}: neither a converted data set nor a text file ({error})."
        ) from error
    return tuple(ClassInfo(k, name, k) for k, name in enumerate(filter(None, names), 1))


def open_model_file(path: str | Path, model_name: str | None = None) -> ModelFile:
    """Find out what a detector file is.

    Args:
        path: A checkpoint of ours (with its card beside it) or published, or an exported file.
        model_name: A file of `conf/model`, for checkpoints without a card; None finds it.

    Raises:
        CheckpointError: If it is missing, damaged, or of no kind we know.
    """
    path = Path(path)
    if not path.is_file():
        hint = ""
        if path.is_dir():
            found = sorted(p.name for p in path.rglob("*") if p.suffix in WEIGHTS + EXPORTED)
            hint = f" It is a folder; it holds {found[:5]}." if found else " It is a folder."
        raise CheckpointError(f"checkpoint={path}: no such file.{hint}")
    if path.suffix in EXPORTED:
        from training.inference.exported import read_metadata

        return read_metadata(path)
    if path.suffix not in WEIGHTS:
        raise CheckpointError(
            f"checkpoint={path}: unknown kind of file; expected {', '.join(WEIGHTS + EXPORTED)}."
        )
    return _open_checkpoint(path, model_name)


def _open_checkpoint(path: Path, model_name: str | None) -> ModelFile:
    from training.checkpoints.checkpoint import read_card
    from training.checkpoints.identify import identify
    from training.checkpoints.weight_files import read_weights

    sha256 = sha256_of_file(path)
    card = read_card(path)
    if card is not None:
        recorded = card.files.get(path.name)
        if recorded is not None and recorded != sha256:
            raise CheckpointError(
                f"{path}: sha256 {sha256[:16]}..., its card says {recorded[:16]}...: the file was "
                "changed, cut short, or belongs to another card."
            )
        classes = card.class_infos
        model = settings_from_dict(card.model)
        return ModelFile(path, model, card.num_classes, classes, sha256, card.data_fingerprint)
    weights = read_weights(path)
    try:
        name, num_classes = identify(weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return ModelFile(path, model_settings(model_name or name), num_classes, (), sha256, "")


def load_predictor(file: ModelFile, batch_size: int) -> PredictFn:
    """Make a detector file ready to run.

    Args:
        file: From `open_model_file`.
        batch_size: Images per call; what an exported file fixes wins.

    Raises:
        CheckpointError: If the weights do not fit the network.
    """
    if file.path.suffix in EXPORTED:
        from training.inference.exported import load_exported

        return load_exported(file, batch_size)
    from training.inference.predictor import build_predictor

    return build_predictor(load_network(file), batch_size)


def load_network(file: ModelFile) -> Any:
    """Build the network of a checkpoint and load its weights; inference mode."""
    from training.checkpoints.weight_files import read_weights
    from training.checkpoints.weights import load_weights
    from training.nets import build_network

    network = build_network(file.model, file.num_classes)
    load_weights(network, read_weights(file.path))
    return network.set_train(False)
