"""Many tensors as one vector: laid end to end, and cut and put back, in a handful of kernels.

A card is kept waiting by every kernel that the host starts, so what touches all weights touches one
vector. What is computed on such vectors is in `update.py`, `reduce.py` and `statistics.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops
from numpy.typing import NDArray

GROUP = 32
"""Tensors that one split kernel cuts."""


class Layout(nn.Cell):
    """Where each tensor lies in the vector that holds them all, in their order.

    A loop over the tensors would be unrolled by the compiler and, with some hundred of them, exceed
    its call depth; a map over them is one node.

    Args:
        shapes: Shapes of the tensors, at least one.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__(auto_prefix=False)
        self.shapes = tuple(tuple(int(side) for side in shape) for shape in shapes)
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.each, self.each_group = (
            ops.HyperMap(),
            ops.Map(),
        )  # the second stays on the outermost tuple
        # In two rounds: MindSpore's split goes through its sizes in a loop, whose turns count as
        # calls within calls, and those of some hundred tensors are too many.
        self.groups = tuple(
            tuple(self.sizes[k : k + GROUP]) for k in range(0, len(self.sizes), GROUP)
        )
        self.group_sizes = tuple(sum(group) for group in self.groups)

    def join(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Lay tensors end to end: (sum of sizes,)."""
        return ops.concat(self.each(flatten, tensors))

    def cut(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Cut a vector into its tensors, each a vector still."""
        pieces = ()
        for group in self.cut_in_groups(flat):
            pieces = pieces + group
        return pieces

    def cut_in_groups(self, flat: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """Cut a vector into its tensors, `GROUP` of them in a tuple."""
        if len(self.groups) == 1:
            return (mint.split(flat, self.groups[0], 0),)
        return self.each_group(cut_group, self.groups, mint.split(flat, self.group_sizes, 0))

    def put(self, parameters: tuple[Parameter, ...], flat: Tensor) -> Any:
        """Copy the pieces of a vector into the parameters."""
        return self.each(put_piece, parameters, self.cut(flat))

    def arrays(self, names: Sequence[str], flat: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return copies of a vector's pieces by name, in their shapes."""
        ends = np.cumsum(self.sizes)[:-1]
        pieces = zip(names, np.split(flat, ends), self.shapes, strict=True)
        return {name: piece.reshape(shape).copy() for name, piece, shape in pieces}


def flatten(tensor: Tensor) -> Tensor:
    """Lay a tensor out as a vector."""
    return tensor.reshape((-1,))


def cut_group(sizes: tuple[int, ...], flat: Tensor) -> tuple[Tensor, ...]:
    """Cut a vector into vectors of these sizes."""
    return mint.split(flat, sizes, 0)


def put_piece(parameter: Parameter, piece: Tensor) -> Any:
    """Copy a vector into a parameter."""
    return ops.assign(parameter, piece.reshape(parameter.shape))


def joined(arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.float32]:
    """Lay arrays end to end in the order of their names, as float32."""
    return np.concatenate([np.asarray(arrays[name], np.float32).ravel() for name in names])
