"""What oneDNN says of its operators while a training step runs: the trace, and its sum by operator.

The step itself is built in `step.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from typing import Any

MARKED_VARIABLE = "SSD_STEP_VERBOSE"
"""Set, it makes `benchmarks.step` print a mark before and after one step, and do nothing else."""


def measure_operators(arguments: list[str]) -> tuple[list[tuple[Any, ...]], float]:
    """Trace a marked step of `benchmarks.step` in a process of its own.

    Args:
        arguments: The command line of `benchmarks.step`.

    Returns:
        The ten dearest operators (name, implementation, calls, ms), and the sum of all in ms.
    """
    command = [sys.executable, "-m", "benchmarks.step", *arguments]
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", MARKED_VARIABLE: "1"}
    traced = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return parse_trace(traced.stdout)


def parse_trace(text: str) -> tuple[list[tuple[Any, ...]], float]:
    """Sum a oneDNN trace between the marks.

    A line reads `onednn_verbose,...,exec,cpu,KIND,IMPL,PROP,...,SHAPE,MS`.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    inside = False
    for line in text.splitlines():
        if line.startswith("MARK"):
            inside = line.endswith("begin")
            continue
        fields = line.split(",")
        if not inside or "exec" not in fields or not fields[0].endswith("onednn_verbose"):
            continue
        at = fields.index("exec")
        kind, implementation, direction = fields[at + 2 : at + 5]
        shape, milliseconds = fields[-2], float(fields[-1])
        depthwise = re.match(r"mb\d+_g\d+ic", shape) or re.match(r"g(\d+)mb", shape)
        name = f"{'depthwise ' if depthwise else ''}{kind} {direction} {shape}"
        found[name, implementation].append(milliseconds)
    total = sum(sum(times) for times in found.values())
    dearest = sorted(found.items(), key=lambda item: -sum(item[1]))[:10]
    rows = [(name, impl, len(times), sum(times)) for (name, impl), times in dearest]
    return rows, total
