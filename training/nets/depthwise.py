"""A faster depthwise convolution for training on CPU, put into a network that is already built.

MindSpore's own takes about half of a training step of the MobileNets on CPU. Layers, parameters and
results stay what they are, up to rounding; inference and export keep MindSpore's operator. The
loops themselves are in `depthwise_kernels.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from mindspore import nn, ops
from numpy.typing import NDArray

from data_tools.core.compiled import compile_now
from data_tools.core.errors import SettingError
from training.nets.layers import same_side

Array = NDArray[np.float32]
Kernel = Callable[..., None]


class DepthwiseKernels:
    """The kernels on whole batches, their planes shared out among threads.

    Args:
        threads: Threads to compute with; the results do not depend on it.

    Raises:
        SettingError: If Numba cannot be imported.
    """

    def __init__(self, threads: int) -> None:
        try:
            from training.nets import depthwise_kernels
        except ImportError as error:
            raise SettingError(
                f"runtime.depthwise=numba: Numba cannot be used here ({error}). "
                "Install it (pip install numba), or set runtime.depthwise=mindspore."
            ) from error
        self.kernels = depthwise_kernels
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="depthwise")
        self.results = BufferPool()
        # Now: an error from within MindSpore's graph would end the run in its first step.
        compile_now(self.try_out, depthwise_kernels.FUNCTIONS)

    def try_out(self) -> None:
        """Call every kernel once, with the types that a network gives them."""
        x, weight = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.float32)
        self.gradients(x, weight, self.forward(x, weight, 1), 1)

    def forward(self, x: Array, weight: Array, stride: int, symmetric: bool = False) -> Array:
        """Filter (N, C, H, W) by (C, 1, K, K), padded: -> (N, C, ceil(H / stride), ...)."""
        n, channels, height, width = x.shape
        out = self.results.empty((n, channels, same_side(height, stride), same_side(width, stride)))
        numbers = (stride, *paddings(x.shape, weight.shape[-1], stride, symmetric))
        arrays = (planes(x), weight[:, 0], planes(out))
        self.share(self.kernels.forward, arrays, numbers, n * channels)
        return out

    def gradients(
        self, x: Array, weight: Array, dout: Array, stride: int, symmetric: bool = False
    ) -> tuple[Array, Array]:
        """Return the gradients by the input and by the weights, in their shapes."""
        dx, dweight = self.results.empty(x.shape), np.empty_like(weight)
        numbers = (stride, *paddings(x.shape, weight.shape[-1], stride, symmetric))
        arrays = (planes(dout), weight[:, 0], planes(dx))
        self.share(self.kernels.input_gradient, arrays, numbers, x.shape[0] * x.shape[1])
        arrays = (planes(x), planes(dout), dweight[:, 0])
        self.share(self.kernels.weight_gradient, arrays, numbers, x.shape[1])
        return dx, dweight

    def share(
        self, kernel: Kernel, arrays: Sequence[Array], numbers: Sequence[int], count: int
    ) -> None:
        """Run a kernel over 0 .. count - 1, a stretch on each thread."""
        cuts = [count * k // self.threads for k in range(self.threads + 1)]
        parts = [
            self.pool.submit(kernel, *arrays, *numbers, begin, end)
            for begin, end in pairwise(cuts)
            if begin < end
        ]
        for part in parts:
            part.result()


class BufferPool:
    """Memory for results, used again as soon as nobody holds the result that was there.

    MindSpore copies a result and lets go of it. Fresh memory for each would be zeroed by the kernel
    of the system first, which takes longer than the convolution.
    """

    def __init__(self) -> None:
        self.blocks: list[tuple[Array, Callable[[], object]]] = []

    def empty(self, shape: Sequence[int]) -> Array:
        """Return an uninitialised float32 array."""
        size = int(np.prod(shape))
        free = [block for block, result in self.blocks if result() is None]
        fits = [block for block in free if len(block) >= size]
        # What is too small is of no more use: the sizes of a step come again in the next.
        dropped = fits[:1] or free
        self.blocks = [held for held in self.blocks if not any(held[0] is d for d in dropped)]
        block = fits[0] if fits else np.empty(size, np.float32)
        result = block[:size].reshape(shape)
        self.blocks.append((block, weakref.ref(result)))
        return result


def planes(batch: Array) -> Array:
    """(N, C, H, W) as (N * C, H, W), without a copy."""
    return batch.reshape(-1, *batch.shape[2:])


def paddings(
    shape: Sequence[int], kernel: int, stride: int, symmetric: bool = False
) -> tuple[int, int]:
    """Return the zeros above and to the left of (..., H, W) with `same` padding, or with symmetric.

    >>> paddings((300, 300), 3, 2), paddings((75, 75), 3, 1), paddings((300, 300), 3, 2, True)
    ((0, 0), (1, 1), (1, 1))
    """
    if symmetric:
        return kernel // 2, kernel // 2

    def before(side: int) -> int:
        return max((same_side(side, stride) - 1) * stride + kernel - side, 0) // 2

    return before(shape[-2]), before(shape[-1])


def build_operator(kernels: DepthwiseKernels, stride: int, symmetric: bool = False) -> Any:
    """Return a primitive (x, weight) -> y, with its gradients, for a stride and a way of
    padding.
    """

    def filtered(x: Any, weight: Any) -> Any:
        return [x[0], x[1], same_side(x[2], stride), same_side(x[3], stride)]

    def forward(x: Array, weight: Array) -> Array:
        return kernels.forward(x, weight, stride, symmetric)

    def gradients(x: Array, weight: Array, dout: Array) -> tuple[Array, Array]:
        return kernels.gradients(x, weight, dout, stride, symmetric)

    # Both at once: MindSpore copies what it hands to Python, and keeps the copy's memory.
    both = ops.Custom(gradients, lambda x, w, _: (x, w), lambda x, w, _: (x, w), "pyfunc")

    def backward(x: Any, weight: Any, out: Any, dout: Any) -> Any:
        return both(x, weight, dout)

    return ops.Custom(forward, filtered, lambda x, _: x, "pyfunc", bprop=backward)


def speed_up_depthwise(network: nn.Cell, threads: int) -> int:
    """Let the depthwise convolutions of a network be computed by our kernels.

    Only for float32 on CPU; the network's graph must not be compiled yet.

    Args:
        network: Any network.
        threads: Threads to compute with.

    Returns:
        Number of layers changed.

    Raises:
        SettingError: If Numba cannot be imported.
    """
    cells = [cell for _, cell in network.cells_and_names() if is_depthwise(cell)]
    if cells:
        kernels = DepthwiseKernels(threads)
        operators = {
            kind: build_operator(kernels, *kind) for kind in {stride_and_padding(c) for c in cells}
        }
        for cell in cells:
            cell.conv2d = operators[stride_and_padding(cell)]
    return len(cells)


def is_depthwise(cell: Any) -> bool:
    """True for a convolution that filters every channel alone, in a way that the kernels know."""
    return (
        isinstance(cell, nn.Conv2d)
        and cell.group == cell.in_channels == cell.out_channels > 1
        and cell.kernel_size[0] == cell.kernel_size[1]
        and (cell.pad_mode == "same" or _pads_symmetrically(cell))
        and cell.stride in ((1, 1), (2, 2))
        and cell.dilation == (1, 1)
    )


def _pads_symmetrically(cell: nn.Conv2d) -> bool:
    """True for `pad` padding that gives maps of the size that `same` padding gives."""
    kernel = cell.kernel_size[0]
    return cell.pad_mode == "pad" and kernel % 2 == 1 and cell.padding == kernel // 2


def stride_and_padding(cell: nn.Conv2d) -> tuple[int, bool]:
    return cell.stride[0], cell.pad_mode == "pad"
