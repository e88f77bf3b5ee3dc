"""The Hub's entry points: `create_network(name)` makes a published model, `load(card)` loads its
weights too.

The networks are in `training/nets`, the reading of checkpoints in
`training/checkpoints/weight_files`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.nets.ssd import SSD

ROOT = Path(__file__).resolve().parent

ALIASES = {
    "ssd": "ssd300",
    "ssd_mobilenet_v2": "ssd300",
    "ssd300_mobilenet_v2": "ssd300",
    "ssd_mobilenetv2": "ssd300",
    "ssd_mobilenetv1": "ssd_mobilenet_v1",
    "ssd300_mobilenet_v1": "ssd_mobilenet_v1",
    "ssd_vgg": "ssd_vgg16",
    "ssd_mobilenetv1_fpn": "ssd_mobilenet_v1_fpn",
    "ssd_resnet50fpn": "ssd_resnet50_fpn",
    "ssd_resnet_50_fpn": "ssd_resnet50_fpn",
}
"""Other names by which cards and users call the models."""


def create_network(
    name: str,
    num_classes: int = 81,
    checkpoint: str | None = None,
    *,
    sha256: str | None = None,
    **settings: Any,
) -> SSD:
    """Make a detector, in inference mode.

    Args:
        name: A model name, as on a Hub card; case, `-` and `_` do not matter.
        num_classes: Classes including background; with a checkpoint, what it must have been trained
            for.
        checkpoint: A published or own checkpoint file (`.ckpt`, `.safetensors`, torchvision's
            `.pth`), or `hub:NAME`, fetched if need be. None = random weights.
        sha256: What the file must hash to; None = not checked.
        **settings: Fields of `ModelSettings`, for instance `norm="frozen"`.

    Returns:
        A Cell. Input (N, 3, H, W) float32 normalised RGB; output raw locations (N, A, 4) and class
        scores (N, A, num_classes), logits once `set_train(True)`. Its parameters bear the published
        names without the leading `network.`.

    Raises:
        ValueError: If the name is unknown, or the checkpoint is damaged, of another model or for
            another class count; the message says which model it is of.
    """
    nets = _ours("training.nets.build")
    settings_module = _ours("training.nets.settings")
    canonical = model_name(name)
    if checkpoint is not None:
        checkpoint = _ours("training.weights.fetch").local_path(checkpoint)
        files = _ours("training.checkpoints.weight_files")
        if files.is_torchvision(checkpoint):
            canonical = _ours("training.checkpoints.torchvision_detectors").SETTINGS.get(
                canonical, canonical
            )
    model = settings_module.model_settings(canonical, **settings)
    network: SSD = nets.build_network(model, num_classes)
    if checkpoint is not None:
        weights = files.read_weights(checkpoint, sha256=sha256)
        _ours("training.checkpoints.weights").load_weights(network, weights)
    return network


def load(name: str, *, num_classes: int | None = None, **settings: Any) -> Any:
    """Load a published network by the name of its Hub card, ready to detect.

    Where the package `mindspore_hub` is installed it does the loading, as its card says; elsewhere
    the file comes from the address on the card and is checked against the hash there.

    Args:
        name: A card's name, for instance `mindspore/ascend/1.1/ssd_v1.1`, or a name of the registry
            (`python -m training.weights list`).
        num_classes: Classes including background; None = what the weights are for.
        **settings: Fields of `ModelSettings`, for instance `norm="frozen"`; for `mindspore_hub`,
            whatever its `load` takes.

    Returns:
        The network with its weights, in inference mode; see `create_network`.

    Raises:
        ValueError: If the name is unknown, or the file cannot be had or is not what it should be.
    """
    if importlib.util.find_spec("mindspore_hub") is not None and "/" in name:
        extra = {} if num_classes is None else {"num_classes": num_classes}
        return importlib.import_module("mindspore_hub").load(name, **extra, **settings)
    entry = _ours("training.weights.entry").find_entry(name, "detector")
    return create_network(
        entry.network, num_classes or entry.classes, f"hub:{entry.name}", **settings
    )


def model_name(name: str) -> str:
    """Return the model's own name for whatever a card calls it.

    Raises:
        ValueError: If no model is meant; it lists them.
    """
    zoo = _ours("training.nets.settings").zoo_names()
    key = name.strip().lower().replace("-", "_")
    key = ALIASES.get(key, key)
    if key in zoo:
        return key
    by_letters = {n.replace("_", ""): n for n in (*zoo, *ALIASES)}
    key = by_letters.get(key.replace("_", ""), key)
    key = ALIASES.get(key, key)
    if key not in zoo:
        errors = _ours("data_tools.core.errors")
        raise errors.SettingError(f"name={name!r}: expected one of {', '.join(zoo)}.")
    return key


def _ours(module: str) -> Any:
    """Import a module of this checkout, wherever the caller works from."""
    if str(ROOT) not in sys.path:
        # The Hub's loader puts the checkout first already; other callers may not.
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(module)
