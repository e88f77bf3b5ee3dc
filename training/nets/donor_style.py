"""Padding and activations as other libraries have them, put into a network that is built but not
yet compiled.

The layers themselves are written as the published models have them, with `same` padding
(`layers.py`). For kernels of odd side symmetric padding gives maps of the same size; with a stride
of 2 the kernels lie one pixel apart. Parameters stay what they are.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn, ops

from training.nets.settings import ModelSettings
from training.nets.ssd import SSD


def apply_style(network: SSD, model: ModelSettings) -> None:
    """Change padding and activations as `model.padding` and `model.rectifier` say.

    Args:
        network: Any network of ours, not compiled yet.
        model: Its settings.
    """
    if model.padding != "same":
        mindcv = model.padding == "mindcv"
        for _, cell in network.cells_and_names():
            if not isinstance(cell, nn.Conv2d) or not _pads_as_needed(cell):
                continue
            # mindcv's MobileNetV3 pads symmetrically in its first layer only.
            if not (mindcv and network.classifier == "mobilenet_v3_large" and cell.group > 1):
                _change_convolution(cell)
        if not mindcv:
            _change_pools(network)
    if model.rectifier == "relu":
        for name, cell in network.cells_and_names():
            if isinstance(cell, nn.ReLU6) and network.in_backbone(name):
                cell.relu6 = ops.ReLU()


def _change_convolution(cell: nn.Conv2d) -> None:
    around = cell.dilation[0] * (cell.kernel_size[0] // 2)
    cell.pad_mode, cell.padding = "pad", around
    cell.conv2d = ops.Conv2D(
        out_channel=cell.out_channels,
        kernel_size=cell.kernel_size,
        mode=1,
        pad_mode="pad",
        pad=around,
        stride=cell.stride,
        dilation=cell.dilation,
        group=cell.group,
    )


class SymmetricPool(nn.Cell):
    """A pooling of maps that are nowhere below 0, as after a ReLU, with zeros around them.

    MindSpore's own padded pooling is no operator of ONNX.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        around = (kernel // 2, kernel // 2)
        self.pad = ops.Pad(((0, 0), (0, 0), around, around))
        self.pool = nn.MaxPool2d(kernel, stride, pad_mode="valid")

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        return self.pool(self.pad(x))


def _change_pools(network: nn.Cell) -> None:
    """Exchange the strided poolings; with a stride of 1 `same` padding is symmetric."""
    for _, parent in list(network.cells_and_names()):
        for name, cell in list(parent.name_cells().items()):
            if isinstance(cell, nn.MaxPool2d) and _pads_as_needed(cell) and _side(cell.stride) > 1:
                setattr(parent, name, SymmetricPool(_side(cell.kernel_size), _side(cell.stride)))


def _pads_as_needed(cell: Any) -> bool:
    """True for a layer with `same` padding and a kernel of odd side above 1."""
    kernel = _side(cell.kernel_size)
    return cell.pad_mode.lower() == "same" and kernel > 1 and kernel % 2 == 1


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, (tuple, list)) else size)
