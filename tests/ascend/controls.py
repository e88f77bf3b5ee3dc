"""Graphs that a card should not be given, one each: the dry run's checks must find them.

python -m tests.ascend.controls NAME
"""

from __future__ import annotations

import sys
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def host_sine(x: Any) -> Any:
    """A Python function: no card can run it."""
    return np.sin(x)


CUSTOM = ops.Custom(host_sine, lambda x: x, lambda x: x, func_type="pyfunc")
CONVOLUTION = nn.Conv2d(3, 4, 3)


@ms.jit
def none(x: Tensor) -> Tensor:
    """Nothing wrong with it."""
    return ops.relu(CONVOLUTION(x)) * 2.0


@ms.jit
def float64_convolution(x: Tensor) -> Tensor:
    """There is no kernel for it."""
    weight = ops.cast(CONVOLUTION.weight, ms.float64)
    return ops.conv2d(ops.cast(x, ms.float64), weight)


@ms.jit
def float64_product(x: Tensor) -> Tensor:
    """There is a kernel, a slow one."""
    return ops.cast(ops.cast(x, ms.float64) * ops.cast(x, ms.float64), ms.float32)


@ms.jit
def python_function(x: Tensor) -> Tensor:
    """It lands on the host."""
    return CUSTOM(x * 2.0) + 1.0


@ms.jit
def dynamic_shape(x: Tensor) -> Tensor:
    """How many elements there are is known afterwards."""
    return ops.nonzero(x)


@ms.jit
def branch(x: Tensor) -> Tensor:
    """Which side runs depends on a number of the device."""
    if x.sum() > 0:
        return x * 2.0
    return x - 1.0


@ms.jit
def many_kernels(x: Tensor) -> Tensor:
    """More than any budget for so little."""
    for _ in range(60):
        x = ops.relu(x) + x
    return x


def main() -> None:
    """Compile and run the control that is named."""
    ms.set_device("Ascend", 0)
    globals()[sys.argv[1]](Tensor(np.ones((2, 3, 8, 8), np.float32))).asnumpy()


if __name__ == "__main__":
    main()
