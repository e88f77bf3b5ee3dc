"""What a network is made of: parameters, multiplications, boxes, and how far each level sees.

Everything is measured on the built network, so it holds for networks added later too.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import Tensor, nn, ops

from data_tools.core.errors import SettingError
from training.nets.anchors import levels
from training.nets.build import build_network
from training.nets.settings import ModelSettings

if TYPE_CHECKING:
    from training.nets.ssd import SSD


@dataclass(frozen=True)
class Part:
    """One row of the table of layers.

    Attributes:
        name: The first two parts of the parameter names.
        convolutions: Convolution layers in it.
        parameters: Trainable numbers in it.
        macs: Multiplications with an addition for one image; a shared layer counts as often as it
            runs.
    """

    name: str
    convolutions: int
    parameters: int
    macs: int


def print_summary(model: ModelSettings, num_classes: int = 81) -> int:
    """Print `describe`; returns the exit code 0."""
    print(describe(model, num_classes))
    return 0


def describe(model: ModelSettings, num_classes: int) -> str:
    """Say in a page of text what a network is made of.

    Args:
        model: The network's settings.
        num_classes: Classes including background.

    Returns:
        Three parts: totals, a table of layers, a table of levels.
    """
    parts = measure(model, num_classes)
    height, width = model.image_size
    total_parameters = sum(p.parameters for p in parts)
    total_macs = sum(p.macs for p in parts)
    boxes = sum(level.num_boxes for level in levels(model))
    lines = [
        f"{model.name}: {height}x{width} pixels, {num_classes} classes (background included), "
        f"{boxes} default boxes",
        f"{total_parameters:,} parameters, {total_macs / 1e9:.3f} GMACs an image, "
        f"{sum(p.convolutions for p in parts)} convolutions",
        "",
        f"{'layers':<40}{'convolutions':>13}{'parameters':>14}{'MMACs':>11}",
    ]
    for p in parts:
        lines.append(f"{p.name:<40}{p.convolutions:>13}{p.parameters:>14,}{p.macs / 1e6:>11.1f}")
    lines += ["", *_level_table(model)]
    return "\n".join(lines)


def measure(model: ModelSettings, num_classes: int) -> list[Part]:
    """Count parameters, and multiplications while one image runs through.

    Args:
        model: The network's settings.
        num_classes: Classes including background.

    Returns:
        A row for each first two parts of the layers' names, in the order of the network.
    """
    network = build_network(model, num_classes)
    convolutions: dict[str, int] = {}
    parameters: dict[str, int] = {}
    macs: dict[str, int] = {}
    for parameter in network.trainable_params():
        row = _row(parameter.name.rpartition(".")[0])
        parameters[row] = parameters.get(row, 0) + parameter.size
    seen: set[int] = set()
    for name, cell in network.cells_and_names():
        if not isinstance(cell, nn.Conv2d) or id(cell) in seen:
            continue
        seen.add(id(cell))
        row = _row(name)
        convolutions[row] = convolutions.get(row, 0) + 1
        per_output = int(np.prod(cell.weight.shape[1:]))

        def count(_: nn.Cell, __: object, y: Tensor, row: str = row, n: int = per_output) -> None:
            macs[row] = macs.get(row, 0) + int(np.prod(y.shape)) * n

        cell.register_forward_hook(count)
    network(ms.Tensor(np.zeros((1, 3, *model.image_size), np.float32)))
    return [
        Part(row, convolutions.get(row, 0), parameters[row], macs.get(row, 0)) for row in parameters
    ]


def receptive_fields(model: ModelSettings) -> list[int]:
    """How many image rows can influence the middle cell of each level, at most the image's height.

    Every convolution is set to pass on the sum of its middle column, so that the gradient of a cell
    is positive on exactly the rows it can see: the network itself is asked, whatever its paths.

    Args:
        model: The network's settings.

    Returns:
        Pixels, a level each.
    """
    network = _see_through(_narrow(model))
    count = len(levels(model))
    height, width = network.model.image_size

    def middle_cells(x: Tensor) -> Tensor:
        total = ops.zeros((), ms.float32)
        maps = network.features(x)
        for i in range(count):
            rows, columns = maps[i].shape[2:]
            total = total + maps[i][i, :, rows // 2, columns // 2].mean()
        return total

    # Tiny, so that no activation saturates; an image for each level.
    x = Tensor(np.full((count, 3, height, width), 1e-25, np.float32))
    gradient = ms.grad(middle_cells)(x).asnumpy()
    return [int((np.abs(g).sum((0, 2)) > 0).sum()) for g in gradient]


def _narrow(model: ModelSettings) -> ModelSettings:
    """The same network for a narrow image: rows are all we look at."""
    anchors = dataclasses.replace(model.anchors, steps=[])
    height = model.image_size[0]
    for width in (64, 128, 288):
        narrow = dataclasses.replace(
            model, image_size=[height, width], anchors=anchors, init="he", norm="frozen"
        )
        try:
            levels(narrow)
            return narrow
        except SettingError:
            continue
    return dataclasses.replace(model, anchors=anchors, init="he", norm="frozen")


def _see_through(model: ModelSettings) -> SSD:
    """A network whose every path passes something on, however long."""
    network = build_network(model, 2)
    # Gates computed from the whole image would hide how far the filters see: they stay constant.
    gates = [c for _, c in network.cells_and_names() if getattr(c, "sees_everything", False)]
    constant = {id(c) for gate in gates for _, c in gate.cells_and_names()}
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.MaxPool2d):
            # The largest of equal values would be one of them; the mean sees all.
            cell.max_pool = ops.AvgPool(cell.kernel_size, cell.stride, cell.pad_mode)
        elif isinstance(cell, nn.Conv2d):
            weight = np.zeros(cell.weight.shape, np.float32)
            if id(cell) not in constant:
                weight[..., weight.shape[-1] // 2] = 1 / weight.shape[1]
            cell.weight.set_data(Tensor(weight))
    return network


def _level_table(model: ModelSettings) -> list[str]:
    lines = [
        f"{'level':<7}{'cells':>9}{'step':>8}{'a cell':>8}{'boxes':>8}"
        f"{'smallest box':>16}{'largest box':>16}{'sees':>8}{'sees / box':>12}"
    ]
    height, width = model.image_size
    for i, (level, seen) in enumerate(zip(levels(model), receptive_fields(model), strict=True)):
        sizes = level.sizes_hw_rel * (height, width)
        small, large = sizes[sizes.prod(1).argmin()], sizes[sizes.prod(1).argmax()]
        bound = ">=" if seen >= height else ""
        longest = min(sizes[:, 0].max(), height)
        lines.append(
            f"{i:<7}{f'{level.height}x{level.width}':>9}{level.step_y:>8.1f}"
            f"{len(level.sizes_hw_rel):>8}{level.num_boxes:>8}"
            f"{_box(small):>16}{_box(large):>16}{bound + str(seen):>8}{seen / longest:>12.2f}"
        )
    lines.append(
        "step, boxes (height x width) and sees in pixels; sees: image rows that can influence a "
        "cell (>=: the whole image), over its tallest box; below 1 it cannot see all of that box."
    )
    return lines


def _box(size: npt.NDArray[np.float64]) -> str:
    return f"{size[0]:.0f}x{size[1]:.0f}"


def _row(name: str) -> str:
    """The first two parts of a layer's name."""
    return ".".join(name.split(".")[:2])
