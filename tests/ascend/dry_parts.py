"""What the host must start at least: parts of a training step, and the same by other kernels.

`step` is the step as it is trained. The others show where a bound lies; none of them trains:
`gradients` has no update, `half` besides no casts of weights and gradients (its weights are half
precision themselves), `aclnn` is the whole step with one kernel each for a convolution, its
gradients, a batch norm and its gradients, where ours has two and four.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import mindspore.mint.nn.functional as F
from mindspore import Tensor, nn
from mindspore.ops.auto_generate import BatchNormExt

PARTS = ("step", "gradients", "half", "aclnn")


def prepare(part: str, network: nn.Cell) -> None:
    """Change a network for a part, before anything is compiled."""
    if part == "half":
        for parameter in network.trainable_params():
            if parameter.ndim == 4:
                parameter.set_dtype(ms.float16)
    if part == "aclnn":
        # These classes are MindSpore's; the process ends with the measurement.
        nn.Conv2d.construct = convolution
        nn.BatchNorm2d.construct = norm


def gradients_alone(gradients: nn.Cell, scale: Callable[[], Any], jit_level: str) -> Any:
    """Compile loss and gradients without what follows; returns a function of a batch."""

    @ms.jit(jit_level=jit_level)
    def part(images: Tensor, loc_targets: Tensor, labels: Tensor) -> Any:
        sums, each = gradients(images, loc_targets, labels, scale())
        return (sums, *each)

    def run(images: Any, loc_targets: Any, labels: Any, rate: float) -> None:
        part(Tensor(images), Tensor(loc_targets), Tensor(labels))[0].asnumpy()

    return run


def convolution(self: Any, x: Tensor) -> Tensor:
    """nn.Conv2d by aclnn's kernels, which know no uneven padding."""
    stride, size = self.stride[0], self.kernel_size[0]
    weight = self.weight.astype(x.dtype)
    if self.pad_mode != "same":
        return F.conv2d(x, weight, self.bias, stride, self.padding[0], 1, self.group)
    side = x.shape[2]
    around = max((-(-side // stride) - 1) * stride + size - side, 0)
    if around % 2:
        before, after = around // 2, around - around // 2
        x = F.pad(x, (before, after, before, after))
        around = 0
    return F.conv2d(x, weight, self.bias, stride, around // 2, 1, self.group)


def norm(self: Any, x: Tensor) -> Tensor:
    """nn.BatchNorm2d in training, by aclnn's kernel."""
    statistics = self.moving_mean, self.moving_variance
    return BatchNormExt()(
        x, self.gamma, self.beta, *statistics, True, 1.0 - self.momentum, self.eps
    )[0]
