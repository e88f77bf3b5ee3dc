"""What oneDNN and our kernels say of themselves while a step runs: the trace, and its sum by
operator.

The step itself is built in `step.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter
from typing import Any

MARKED_VARIABLE = "SSD_STEP_VERBOSE"
"""Set, it makes `benchmarks.step` print a mark before and after one step, and do nothing else."""


def measure_operators(arguments: list[str]) -> tuple[list[tuple[Any, ...]], float]:
    """Trace a marked step of `benchmarks.step` in a process of its own.

    Args:
        arguments: The command line of `benchmarks.step`.

    Returns:
        The ten slowest operators (name, implementation, calls, ms), and the sum of all in ms.
    """
    command = [sys.executable, "-m", "benchmarks.step", *arguments]
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", MARKED_VARIABLE: "1"}
    traced = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return parse_trace(traced.stdout)


def parse_trace(text: str) -> tuple[list[tuple[Any, ...]], float]:
    """Sum a trace between the marks.

    A line reads `onednn_verbose,...,exec,cpu,KIND,IMPL,PROP,...,SHAPE,MS`.
    """
    times_of: dict[tuple[str, str], list[float]] = defaultdict(list)
    inside = False
    for line in text.splitlines():
        if line.startswith("MARK"):
            inside = line.endswith("begin")
            continue
        fields = line.split(",")
        if not inside or "exec" not in fields or not fields[0].endswith("_verbose"):
            continue
        at = fields.index("exec")
        kind, implementation, direction = fields[at + 2 : at + 5]
        shape, milliseconds = fields[-2], float(fields[-1])
        depthwise = re.match(r"mb\d+_g\d+ic", shape) or re.match(r"g(\d+)mb", shape)
        name = f"{'depthwise ' if depthwise else ''}{kind} {direction} {shape}"
        times_of[name, implementation].append(milliseconds)
    total = sum(sum(times) for times in times_of.values())
    slowest = sorted(times_of.items(), key=lambda item: -sum(item[1]))[:10]
    rows = [(name, impl, len(times), sum(times)) for (name, impl), times in slowest]
    return rows, total


def trace_our_kernels() -> None:
    """Let the depthwise kernels print lines like oneDNN's, for what is computed after this."""
    from training.nets.depthwise import DepthwiseKernels

    def traced(work: Callable[..., Any], direction: str) -> Callable[..., Any]:
        def run(self: DepthwiseKernels, x: Any, weight: Any, *others: Any) -> Any:
            begun = perf_counter()
            result = work(self, x, weight, *others)
            milliseconds = 1e3 * (perf_counter() - begun)
            n, channels, height, width = x.shape
            shape = (
                f"mb{n}_g{channels}ic{channels}oc{channels}_ih{height}iw{width}"
                f"kh{weight.shape[-1]}sh{others[-1]}"
            )
            line = ["ours_verbose", "exec", "cpu", "convolution", "numba", direction, shape]
            print(*line, f"{milliseconds:.4f}", sep=",", flush=True)
            return result

        return run

    kernels: Any = DepthwiseKernels
    kernels.forward = traced(DepthwiseKernels.forward, "forward_training")
    kernels.gradients = traced(DepthwiseKernels.gradients, "backward")
