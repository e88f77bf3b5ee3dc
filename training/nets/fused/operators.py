"""The kernels as operators of MindSpore's graph, with their gradients.

Where in a network they stand is `cells.py`'s matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindspore import ops
from numpy.typing import NDArray

from data_tools.core.compiled import compile_now
from training.nets.fused.library import Library
from training.nets.layers import same_side

_held: list[Any] = []
"""What compiled graphs jump to; a graph may live as long as the process."""


@dataclass(frozen=True)
class NormKind:
    """What tells one norm's kernel from another's.

    Attributes:
        eps: Added to the variance.
        share: Share of a batch in the running averages.
        low: Least value that the activation lets pass.
        high: Largest.
    """

    eps: float
    share: float
    low: float = -math.inf
    high: float = math.inf

    def numbers(self) -> tuple[float, float, float, float]:
        """What the kernels read, in their order."""
        return self.eps, self.share, self.low, self.high


NOTHING = NormKind(0.0, 0.0)
"""A norm that is not there."""


@dataclass(frozen=True)
class ChainKind:
    """What tells one chain's kernel from another's.

    Attributes:
        before: The norm before the convolution, or None.
        after: The norm behind it.
        stride: 1 or 2.
        symmetric: Padding is as wide on all sides, instead of `same`.
    """

    before: NormKind | None
    after: NormKind
    stride: int
    symmetric: bool


Kind = NormKind | ChainKind


class Operators:
    """Primitives for kinds of norms and chains.

    Args:
        kinds: The kinds.
        threads: Threads to compute with; the results do not depend on it.

    Raises:
        ImportError: If Numba cannot be imported.
        OSError: If this system does not load libraries of jumps.
    """

    functions: tuple[Any, Any]

    def __init__(self, kinds: Iterable[Kind], threads: int) -> None:
        from training.nets.fused import calls

        self.calls, self.threads = calls, threads
        self.keeps = True
        compile_now(self.compile, calls.FUNCTIONS)
        self.kinds = list(dict.fromkeys(kinds))
        self.constants = [row for kind in self.kinds for row in self.constants_of(kind)]
        entry = self.functions[0].address
        names = [f"{way}{k}" for k in range(len(self.kinds)) for way in ("forward", "backward")]
        addresses = [(entry, row.ctypes.data) for row in self.constants]
        self.library = Library(dict(zip(names, addresses, strict=True)))
        _held.append(self)

    def compile(self) -> None:
        """Compile all, or load what is kept; a second time without the disk."""
        keep, self.keeps = self.keeps, False
        self.functions = self.calls.build_entry(keep)

    def constants_of(self, kind: Kind) -> list[NDArray[np.float64]]:
        """Return the constants of the forward and of the backward call."""
        calls = self.calls
        if isinstance(kind, NormKind):
            both = (calls.NORM_FORWARD, calls.NORM_BACKWARD)
            numbers = (*kind.numbers(), *NOTHING.numbers(), 1, 0)
        else:
            first = kind.before
            both = (calls.CHAIN_FORWARD, calls.CHAIN_BACKWARD)
            if first is None:
                both = (calls.HALF_FORWARD, calls.HALF_BACKWARD)
            numbers = (
                *(first or NOTHING).numbers(), *kind.after.numbers(), kind.stride, kind.symmetric,
            )  # fmt: skip
        part = self.functions[1].address
        return [np.array((self.threads, part, name, *numbers), np.float64) for name in both]

    def build(self, kind: Kind) -> Any:
        """Return the primitive of a kind.

        A norm takes (x, gamma, beta, running mean, running variance) and gives (y, (2, C) for the
        gradient, and both running values after the batch). A chain takes (x, those four of the norm
        before it if there is one, weight, the four of the norm behind it) and gives (y, and those
        three for each norm).
        """
        name = self.kinds.index(kind)
        forward, backward = (f"{self.library.path}:{way}{name}" for way in ("forward", "backward"))
        if isinstance(kind, NormKind):
            return _norm(forward, backward)
        build = _half if kind.before is None else _chain
        return build(forward, backward, kind.stride)


def _norm(forward: str, backward: str) -> Any:
    back = ops.Custom(
        backward, lambda x, dy, g, b, s: (x, g, b), lambda x, dy, g, b, s: (x, g, b), "aot"
    )

    def gradient(x: Any, g: Any, b: Any, m: Any, v: Any, out: Any, dout: Any) -> Any:
        dx, dg, db = back(x, dout[0], g, b, out[1])
        return dx, dg, db, ops.zeros_like(m), ops.zeros_like(v)

    return ops.Custom(
        forward,
        lambda x, g, b, m, v: (x, [2, x[1]], m, v),
        lambda x, g, b, m, v: (x, x, m, v),
        "aot",
        bprop=gradient,
    )


def _half(forward: str, backward: str, stride: int) -> Any:
    back = ops.Custom(
        backward,
        lambda x, dy, w, g, b, s: (x, w, g, b),
        lambda x, dy, w, g, b, s: (x, w, g, b),
        "aot",
    )

    def gradient(x: Any, w: Any, g: Any, b: Any, m: Any, v: Any, out: Any, dout: Any) -> Any:
        dx, dw, dg, db = back(x, dout[0], w, g, b, out[1])
        return dx, dw, dg, db, ops.zeros_like(m), ops.zeros_like(v)

    return ops.Custom(
        forward,
        lambda x, w, g, b, m, v: (_strided(x, stride), [2, x[1]], m, v),
        lambda x, w, g, b, m, v: (x, x, m, v),
        "aot",
        bprop=gradient,
    )


def _chain(forward: str, backward: str, stride: int) -> Any:
    back = ops.Custom(
        backward,
        lambda x, dy, g, b, w, g2, b2, s, s2: (x, g, b, w, g2, b2),
        lambda x, dy, g, b, w, g2, b2, s, s2: (x, g, b, w, g2, b2),
        "aot",
    )

    def gradient(
        x: Any, g: Any, b: Any, m: Any, v: Any, w: Any, g2: Any, b2: Any, m2: Any, v2: Any,
        out: Any, dout: Any,
    ) -> Any:  # fmt: skip
        dx, dg, db, dw, dg2, db2 = back(x, dout[0], g, b, w, g2, b2, out[1], out[4])
        zeros = ops.zeros_like(m), ops.zeros_like(v), ops.zeros_like(m2), ops.zeros_like(v2)
        return dx, dg, db, zeros[0], zeros[1], dw, dg2, db2, zeros[2], zeros[3]

    def shapes(
        x: Any, g: Any, b: Any, m: Any, v: Any, w: Any, g2: Any, b2: Any, m2: Any, v2: Any
    ) -> Any:
        return _strided(x, stride), [2, x[1]], m, v, [2, x[1]], m2, v2

    def types(
        x: Any, g: Any, b: Any, m: Any, v: Any, w: Any, g2: Any, b2: Any, m2: Any, v2: Any
    ) -> Any:
        return x, x, m, v, x, m2, v2

    return ops.Custom(forward, shapes, types, "aot", bprop=gradient)


def _strided(x: Any, stride: int) -> Any:
    return [x[0], x[1], same_side(x[2], stride), same_side(x[3], stride)]
