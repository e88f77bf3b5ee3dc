"""`build_network`: a detector by its name, with random first weights.

Networks themselves are in `zoo/`; weights from files are `training/checkpoints/`'s matter.
"""

from __future__ import annotations

import importlib

from data_tools.core.settings_fields import require
from training.nets.donor_style import apply_style
from training.nets.initialize import initialize
from training.nets.settings import ModelSettings
from training.nets.ssd import SSD


def build_network(model: ModelSettings, num_classes: int, *, seed: int = 0) -> SSD:
    """Make a detector with random first weights, in inference mode.

    Args:
        model: Which network, its image size, normalisation and default boxes.
        num_classes: Classes including background, C + 1.
        seed: The first weights are a pure function of (seed, parameter name).

    Returns:
        A Cell. Input (N, 3, H, W) float32 normalised RGB. Output: raw regression (N, A, 4) and
        class scores (N, A, num_classes), logits once `set_train(True)`. Parameters bear the
        published names without the leading `network.`.
    """
    require(
        type(num_classes) is int and num_classes >= 2,
        "num_classes",
        num_classes,
        "a count with the background, 2 or more",
    )

    module = importlib.import_module(f"training.nets.zoo.{model.name}")
    network: SSD = module.build(model, num_classes)
    apply_style(network, model)
    initialize(network, model, seed)
    return network.set_train(False)
