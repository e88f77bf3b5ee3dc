"""Which network a file without a card belongs to, kept so that it is asked of the weights once.

Asking reads every weight and builds networks, for which MindSpore is imported. The folder is that
of `graph_cache.py`; how weights are recognised is `checkpoints/identify.py`'s matter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from data_tools.core.errors import CheckpointError
from data_tools.core.files import write_atomic
from data_tools.core.json_dataclass import build, read_json
from training.checkpoints.identify import identify
from training.checkpoints.weight_files import Weights, is_torchvision, read_weights
from training.inference.graph_cache import code_hash, graphs_folder, package_version
from training.nets.settings import CONFIG_DIR, zoo_names

_CODE = ("nets", "checkpoints")


@dataclass(frozen=True)
class Identity:
    """What weights say of themselves.

    Args:
        model: Name of the network, as in `model=NAME`.
        num_classes: Classes with background.
        torchvision: Whether they bear torchvision's names.
    """

    model: str
    num_classes: int
    torchvision: bool


def identity_of(path: Path, sha256: str) -> tuple[Identity, Weights]:
    """Return which network a file of weights belongs to, from the cache or from its weights.

    Args:
        path: The file.
        sha256: Its hash.

    Returns:
        What it is, and its weights if they were read for it, else none.

    Raises:
        CheckpointError: If it cannot be read, or is of no network we know.
    """
    conf = [file.read_bytes() for file in sorted(CONFIG_DIR.glob("*.yaml"))]
    what = [sha256, path.suffix, code_hash(_CODE), package_version("mindspore")]
    key = hashlib.sha256(json.dumps(what).encode() + b"\0".join(conf)).hexdigest()[:40]
    kept = graphs_folder() / f"{key}.identity"
    with contextlib.suppress(OSError, ValueError):  # missing or damaged: asked again
        known = build(Identity, read_json(kept), "identity")
        if known.model in zoo_names():
            return known, {}
    weights = read_weights(path)
    try:
        name, num_classes = identify(weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    identity = Identity(name, num_classes, is_torchvision(path))
    with contextlib.suppress(OSError):  # a folder that cannot be written: asked again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, json.dumps(dataclasses.asdict(identity)) + "\n")
    return identity, weights
