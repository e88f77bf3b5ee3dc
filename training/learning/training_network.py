"""The network as it is trained: its precision and its kernels, and the same weights at other sizes.

What is trained of it, and how, is `assemble.py`'s matter.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import mindspore as ms
from mindspore import nn

from data_tools.core.cores import core_count
from training.nets.build import build_network
from training.nets.depthwise import speed_up_depthwise
from training.nets.fused.cells import pays, speed_up_norms
from training.nets.norm import SyncBatchNorm2d
from training.nets.settings import ModelSettings
from training.process.world import is_bound, local_ranks
from training.settings import TrainSettings


def cores_of_rank() -> int:
    """Return how many cores a rank may keep busy: ranks on one machine share those they are not
    bound to.
    """
    return max(1, core_count() // (1 if is_bound() else local_ranks()))


def build_trainable(settings: TrainSettings, num_classes: int) -> nn.Cell:
    """Build the network in training mode, in the precision and with the kernels of a run."""
    network = build_network(settings.model, num_classes, seed=settings.seed)
    network.set_train(True)
    runtime = settings.runtime
    if runtime.precision != "fp32":
        return lower_precision(network, runtime.precision, runtime.half_norms)
    if runtime.device == "CPU":
        threads = runtime.threads or cores_of_rank()
        if runtime.depthwise == "numba":
            speed_up_depthwise(network, threads)
        chains = runtime.depthwise == "numba"
        if runtime.norms == "fused" or (runtime.norms == "auto" and chains and pays(network)):
            speed_up_norms(network, threads, chains)
    return network


def lower_precision(network: nn.Cell, precision: str, half_norms: bool = False) -> nn.Cell:
    """Compute convolutions and matrix products in half precision; weights stay float32.

    Norms keep float32 parameters and statistics. With `half_norms` they take and give half
    precision, as convolutions do, instead of being cast to float32 and back: between a convolution,
    its norm, a ReLU and the next convolution that rounds the same numbers at the same places, and
    spares four kernels a norm. The norm over all devices computes its statistics by itself, and
    MindSpore's knows no bfloat16: these always take float32.

    Args:
        network: The detector; changed in place.
        precision: `fp16` or `bf16`.
        half_norms: See above.
    """
    dtype = {"fp16": ms.float16, "bf16": ms.bfloat16}[precision]
    for _, cell in network.cells_and_names():
        if isinstance(cell, (nn.Conv2d, nn.Conv2dTranspose, nn.Dense)):
            cell.to_float(dtype)
        elif isinstance(cell, SyncBatchNorm2d) or (
            isinstance(cell, nn.BatchNorm2d) and not (half_norms and precision == "fp16")
        ):
            cell.to_float(ms.float32)
    return network


def models_at_sizes(settings: TrainSettings) -> dict[tuple[int, int], ModelSettings]:
    """Return the model's settings at every size of `augment.sizes` that is not its own."""
    model = settings.model
    drawn = {(int(height), int(width)) for height, width in settings.augment.sizes}
    return {
        size: dataclasses.replace(model, image_size=list(size))
        for size in sorted(drawn - {model.height_width})
    }


def build_same(
    settings: TrainSettings, model: ModelSettings, num_classes: int, network: nn.Cell
) -> nn.Cell:
    """Build the network at another size, with the very weights of the one that there is.

    Args:
        settings: All settings.
        model: The model's settings at that size.
        num_classes: Classes with background.
        network: The one that there is; the other's parameters are its own, not copies.
    """
    other = build_trainable(dataclasses.replace(settings, model=model), num_classes)
    known = {parameter.name: parameter for parameter in network.get_parameters()}
    for _, cell in other.cells_and_names():
        own: dict[str, Any] = cell._params
        for key, parameter in own.items():
            if parameter is not None:
                own[key] = known[parameter.name]
    return other
