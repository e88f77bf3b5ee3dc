"""The kernels as functions that MindSpore's compiled graph calls by their address, on several
threads.

Importing it imports Numba, and `build_entry` compiles what is not kept on disk. How MindSpore finds
the addresses is `library.py`'s matter, what it passes is in `operators.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from data_tools.core.compiled import compiled, renew_together
from training.nets.fused import chain_kernels, norm_kernels, plane_kernels
from training.nets.fused.chain_kernels import chain_backward, chain_forward
from training.nets.fused.norm_kernels import norm_backward, norm_forward

NORM_FORWARD, NORM_BACKWARD, CHAIN_FORWARD, CHAIN_BACKWARD, HALF_FORWARD, HALF_BACKWARD = range(6)
"""What a call computes; `HALF` is a chain that begins with the convolution."""

THREADS, PART, KIND, NUMBERS = range(4)
"""Indices in a call's constants: threads, address of `run_part`, kind, then the kernel's
`numbers`.
"""

CONSTANTS = NUMBERS + 10
MOST_ARRAYS = 17

pthread_create = types.ExternalFunction(
    "pthread_create", types.int32(types.int64, types.int64, types.int64, types.int64)
)
pthread_join = types.ExternalFunction("pthread_join", types.int32(types.int64, types.int64))


def _pointer(element: Any) -> Any:
    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = _.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], kind)

        return types.CPointer(element)(types.int64), generate

    return pointer


integers_at = _pointer(types.int64)
doubles_at = _pointer(types.float64)
singles_at = _pointer(types.float32)


@intrinsic
def call_at(context: Any, address: Any, argument: Any) -> Any:
    """Call the function at an address with one number."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, [arguments[1]])

    return types.int64(types.int64, types.int64), generate


@compiled()
def row(address: int, count: int) -> NDArray[np.float32]:
    """(count,) floats at an address."""
    return carray(singles_at(address), (count,))


@compiled()
def rows(address: int, count: int) -> NDArray[np.float32]:
    """(2, count) floats at an address."""
    return carray(singles_at(address), (2, count))


@compiled()
def maps(address: int, shape: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, C, H, W) floats at an address."""
    return carray(singles_at(address), (shape[0], shape[1], shape[2], shape[3]))


@njit(inline="always")
def compute(task: NDArray[np.int64]) -> None:
    """Run a kernel over a stretch of channels.

    Args:
        task: Addresses of the arrays' addresses, of their shapes and of the constants, first
            channel, channel after the last.
    """
    at = carray(integers_at(task[0]), (MOST_ARRAYS,))
    shapes = carray(integers_at(task[1]), (MOST_ARRAYS,))
    constants = carray(doubles_at(task[2]), (CONSTANTS,))
    begin, end = task[3], task[4]
    kind, numbers = int(constants[KIND]), constants[NUMBERS:]
    shape = carray(integers_at(shapes[0]), (4,))
    x = maps(at[0], shape)
    images, c, height, width = x.shape
    flat = (images, c, height * width)
    if kind == NORM_FORWARD:
        norm_forward(
            x.reshape(flat), row(at[1], c), row(at[2], c), row(at[3], c), row(at[4], c),
            maps(at[5], shape).reshape(flat), rows(at[6], c), row(at[7], c), row(at[8], c), numbers,
            begin, end,
        )  # fmt: skip
    elif kind == NORM_BACKWARD:
        norm_backward(
            x.reshape(flat), maps(at[1], shape).reshape(flat), row(at[2], c), row(at[3], c),
            rows(at[4], c), maps(at[5], shape).reshape(flat), row(at[6], c), row(at[7], c), numbers,
            begin, end,
        )  # fmt: skip
    elif kind in (CHAIN_FORWARD, HALF_FORWARD):
        i = 5 if kind == CHAIN_FORWARD else 1
        first = c if kind == CHAIN_FORWARD else 0
        k = carray(integers_at(shapes[i]), (4,))[2]
        o = i + 5
        y = maps(at[o], carray(integers_at(shapes[o]), (4,)))
        j = o + 4 if kind == CHAIN_FORWARD else o + 1
        chain_forward(
            x, row(at[1], first), row(at[2], first), row(at[3], first), row(at[4], first),
            carray(singles_at(at[i]), (c, k, k)), row(at[i + 1], c), row(at[i + 2], c),
            row(at[i + 3], c), row(at[i + 4], c), y, rows(at[o + 1], first), row(at[o + 2], first),
            row(at[o + 3], first), rows(at[j], c), row(at[j + 1], c), row(at[j + 2], c), numbers,
            begin, end,
        )  # fmt: skip
    else:
        i = 4 if kind == CHAIN_BACKWARD else 2
        first = c if kind == CHAIN_BACKWARD else 0
        k = carray(integers_at(shapes[i]), (4,))[2]
        dy = maps(at[1], carray(integers_at(shapes[1]), (4,)))
        saved = i + 3
        saved2 = saved + 1 if kind == CHAIN_BACKWARD else saved
        o = saved2 + 1
        w = o + 3 if kind == CHAIN_BACKWARD else o + 1
        chain_backward(
            x, dy, row(at[2], first), row(at[3], first), carray(singles_at(at[i]), (c, k, k)),
            row(at[i + 1], c), row(at[i + 2], c), rows(at[saved], first), rows(at[saved2], c),
            maps(at[o], shape), row(at[o + 1], first), row(at[o + 2], first),
            carray(singles_at(at[w]), (c, k, k)), row(at[w + 1], c), row(at[w + 2], c), numbers,
            begin, end,
        )  # fmt: skip


@compiled()
def share_out(arrays: int, shapes: int, constants: int) -> int:
    """Compute a call on its threads, a stretch of channels on each; return the channels done."""
    numbers = carray(doubles_at(constants), (CONSTANTS,))
    threads, part = int(numbers[THREADS]), int(numbers[PART])
    first = carray(integers_at(shapes), (1,))[0]
    channels = carray(integers_at(first), (4,))[1]
    threads = max(1, min(threads, channels // 8))
    tasks = np.empty((threads, 5), np.int64)
    names = np.zeros(threads, np.int64)
    started = np.zeros(threads, np.bool_)
    for k in range(threads):
        tasks[k, 0], tasks[k, 1], tasks[k, 2] = arrays, shapes, constants
        tasks[k, 3], tasks[k, 4] = channels * k // threads, channels * (k + 1) // threads
    for k in range(1, threads):
        # 0: it started. Where no thread can be had, its stretch is computed here.
        failed = pthread_create(names[k:].ctypes.data, 0, part, tasks[k].ctypes.data)
        started[k] = failed == 0
    for k in range(threads):
        if not started[k]:
            call_at(part, tasks[k].ctypes.data)
    for k in range(1, threads):
        if started[k]:
            pthread_join(names[k], 0)
    # Named once more, or Numba would free the tasks while the threads still read them.
    return tasks[threads - 1, 4]


def build_entry(keep: bool) -> tuple[Any, Any]:
    """Compile, or load kept code; return what a graph calls and what a thread runs, to be held.

    Args:
        keep: Load and keep code on disk.
    """
    # Part of the key under which Numba keeps what follows: a constant of these functions.
    stamp = STAMP if keep else ""

    @cfunc(types.int64(types.int64), cache=keep)
    def run_part(task: int) -> int:
        compute(carray(integers_at(task), (5,)))
        return len(stamp)

    @cfunc(types.int32(*[types.int32] + [types.int64] * 6), cache=keep)
    def entry(
        count: int, arrays: int, ranks: int, shapes: int, dtypes: int, constants: int, extra: int
    ) -> int:
        done = share_out(arrays, shapes, constants)
        return 0 if done >= 0 or stamp else 1

    return entry, run_part


FUNCTIONS = (
    *norm_kernels.FUNCTIONS, *plane_kernels.FUNCTIONS, *chain_kernels.FUNCTIONS, row, rows, maps,
    share_out,
)  # fmt: skip
"""All that is compiled and kept on disk."""

STAMP = renew_together(FUNCTIONS)
"""Changes whenever a file of the kernels does."""
