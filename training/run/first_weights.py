"""First weights from a file: a detector's checkpoint or a backbone's, with a report of what fitted.

Which network they are of is decided here too. Files are read in `checkpoints/weight_files.py`,
names matched in `checkpoints/weights.py`; going on with a run is `checkpoints/resume.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.errors import CheckpointError
from data_tools.core.files import sha256_of_file
from data_tools.core.json_dataclass import build
from training.checkpoints.backbone_weights import BackboneReport, load_backbone
from training.checkpoints.checkpoint import read_card
from training.checkpoints.ledger import ledger
from training.checkpoints.signatures import signature
from training.checkpoints.store import CheckpointStore
from training.checkpoints.torchvision_detectors import our_names
from training.checkpoints.weight_files import Weights, is_torchvision, read_weights
from training.checkpoints.weights import LoadReport, load_weights
from training.inference.model_file import EXPORTED
from training.inference.open_model import open_model_file
from training.learning.assemble import RunComponents
from training.learning.settings import LossSettings
from training.nets.settings import ModelSettings, settings_from_dict, zoo_names
from training.nets.ssd import SSD
from training.settings import TrainSettings
from training.weights.entry import PREFIX, Entry, find_entry
from training.weights.fetch import fetch, local_path
from training.weights.origin import licence_of


def with_model_of_first_weights(settings: TrainSettings) -> TrainSettings:
    """Return the settings with what the first weights say about the network.

    With `init.model=checkpoint` the network is the one of `init.checkpoint`, if that is given, and
    so is the loss, unless another than the default is chosen: its heads were made for it. A
    backbone of the registry (`init.backbone=hub:NAME`) brings the normalisation and padding that
    its donor trained it with.

    Raises:
        CheckpointError: If the file is missing, of no network we know, or cannot be had.
        SettingError: If a `hub:` name is unknown, or means something else than is needed.
    """
    init = settings.init
    if init.model == "checkpoint" and init.checkpoint:
        path = init.checkpoint
        if path.endswith(EXPORTED):
            raise CheckpointError(
                f"checkpoint={path}: an exported file cannot be trained on. Give the checkpoint "
                "that it was exported from."
            )
        file = open_model_file(path)
        loss = settings.loss
        if loss == LossSettings():
            loss = _loss_of(file.model, file.path)
        return dataclasses.replace(settings, model=file.model, loss=loss)
    if init.checkpoint or not (init.backbone or "").startswith(PREFIX):
        return settings
    entry = find_entry(init.backbone or "", "backbone")
    begun = _network_of_run(settings)
    if begun is not None:
        return dataclasses.replace(settings, model=begun)
    try:
        own = signature(settings.model.name).classifier
        if entry.network != own:
            fitting = [
                f"model={n}" for n in zoo_names() if signature(n).classifier == entry.network
            ]
            raise CheckpointError(
                f"init.backbone={init.backbone} is a {entry.network}, the backbone of "
                f"model={settings.model.name} {f'a {own}' if own else 'of no classifier'}. "
                f"It fits {', '.join(fitting)}."
            )
        fetch(entry)
    except CheckpointError as error:
        if init.if_unavailable == "error":
            raise
        return _from_scratch(settings, str(error))
    return dataclasses.replace(
        settings, model=dataclasses.replace(settings.model, **_fitting(entry, settings.model))
    )


def _loss_of(model: ModelSettings, path: Path) -> LossSettings:
    """The loss that a checkpoint's network was trained with, by its card, else one that fits."""
    card = read_card(path)
    known = {field.name for field in dataclasses.fields(LossSettings)} - {"class_weights"}
    written = card.settings.get("loss", {}) if card is not None else {}
    values = {name: value for name, value in written.items() if name in known}
    if values:
        return build(LossSettings, values, "loss")
    overlap = model.assign == "tal" or model.box_bins > 0
    return LossSettings(
        kind="multibox" if model.scores == "softmax" else LossSettings.kind,
        box="giou" if overlap else LossSettings.box,
    )


def _from_scratch(settings: TrainSettings, why: str) -> TrainSettings:
    print(
        f"note: {why} The whole network starts from nothing, the backbone too "
        "(init.if_unavailable=scratch)."
    )
    return dataclasses.replace(settings, init=dataclasses.replace(settings.init, backbone=None))


def _network_of_run(settings: TrainSettings) -> ModelSettings | None:
    """The network of the run that is resumed, with what its backbone brought; None for a new run.

    A run goes on without the file of its first weights, and as it began if that could not be had.
    """
    folder = Path(settings.output) / "checkpoints"
    if not settings.resume or not folder.is_dir():
        return None
    checkpoint = CheckpointStore(folder, settings.checkpoint.keep).newest(lambda _: None)
    if checkpoint is None:
        return None
    card = settings_from_dict(checkpoint.card.model)
    brought = {f: getattr(card, f) for f in ("padding", "rectifier", "mean", "std", "tail")}
    return dataclasses.replace(settings.model, **brought)


def _fitting(entry: Entry, model: ModelSettings) -> dict[str, Any]:
    """What of an entry's model settings concerns a network: only MobileNetV3 has tails."""
    unused = () if model.name == "ssdlite_mobilenet_v3" else ("tail",)
    return {key: value for key, value in entry.model.items() if key not in unused}


def load_initial_weights(
    components: RunComponents, notify: Callable[[str], None]
) -> dict[str, Any] | None:
    """Load what `init.checkpoint` or `init.backbone` names, and list what was loaded, skipped and
    missing.

    Args:
        components: The run; its network changes in place.
        notify: Prints a line on the main rank.

    Returns:
        The ledger of it, for `first_weights.parity.json` in the run's folder: which weight is
        whose, and what was changed; None if all weights are random.

    Raises:
        CheckpointError: If nothing fits, or not everything does with `init.head=strict`.
    """
    init = components.settings.init
    if not init.checkpoint and not init.backbone:
        return None

    network = components.state.network
    name = init.checkpoint or init.backbone or ""
    path = local_path(name, "detector" if init.checkpoint else "backbone")
    weights = read_weights(path, sha256=init.sha256)
    if init.checkpoint:
        report = load_weights(network, weights, head=init.head)
        lines = []
    else:
        report = load_backbone(network, weights)
        lines = [f"note: {note}" for note in report.notes]
        if name.startswith(PREFIX):
            taken = _fitting(find_entry(name), components.settings.model)
            lines.append(
                f"taken over from {name}: " + ", ".join(f"model.{k}={v}" for k, v in taken.items())
            )
    if init.checkpoint and init.model == "checkpoint":
        loss = components.settings.loss
        lines.append(f"loss: {loss.kind} of scores, {loss.box} of boxes")
    notify(f"first weights from {name}: {report}; {starts_from_nothing(report)}")
    for line in (*lines, *report.lines()):
        notify(line)
    restart_average(components)
    return _ledger(name, path, network, weights, report)


def _ledger(
    name: str, path: Path, network: SSD, weights: Weights, report: LoadReport
) -> dict[str, Any]:
    values = {p.name: p.asnumpy() for p in network.get_parameters()}
    inputs = "every weight, as loaded"
    if isinstance(report, BackboneReport):
        # Where libraries name a backbone alike, only the registry knows whose it is.
        library = find_entry(name).donor if name.startswith(PREFIX) else report.libraries
        sources = report.sources
        inputs += ": factors of batch norms make up for another eps"
    else:
        library = "torchvision" if is_torchvision(path) else "mindspore"
        theirs = our_names(network.model.name) if library == "torchvision" else {}
        sources = {own: theirs.get(own, own) for own in report.loaded}
    differences = [
        float(np.abs(values[own] - weights[own if own in weights else donor]).max(initial=0))
        for own, donor in sources.items()
    ]
    sha256 = sha256_of_file(path)
    return ledger(
        donor=name,
        donor_sha256=sha256,
        library=library,
        licence=licence_of(sha256),
        names=sources,
        left_out=report.reasons,
        inputs=inputs,
        differences={"weights": max(differences, default=0.0)},
    )


def starts_from_nothing(report: LoadReport) -> str:
    """Say in one line which parts of the network keep random weights.

    >>> starts_from_nothing(LoadReport(("backbone.a",), (), ("multi_box.x", "extras.0.y")))
    'starts from nothing: extras, multi_box (2 weights)'
    """
    parts = sorted({name.partition(".")[0] for name in report.missing})
    if not parts:
        return "starts from nothing: nothing, every weight is loaded"
    return f"starts from nothing: {', '.join(parts)} ({len(report.missing)} weights)"


def restart_average(components: RunComponents) -> None:
    """Let the moving average begin at the loaded weights."""
    average = components.state.average
    if average is not None:
        average.restart()
