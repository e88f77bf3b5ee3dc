"""What all benchmarks share: the machine in words, timing, the table, and the last line as JSON.

What is measured is each benchmark's own matter.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from data_tools.core.cores import core_count


@dataclass
class Result:
    """The outcome of a benchmark, as its last line says it.

    Args:
        name: The benchmark.
        ours: Our figure, in the unit that `extra` names; higher is better.
        reference: The figure to compare with, in the same unit.
        extra: Whatever else was measured; JSON values.
    """

    name: str
    ours: float
    reference: float
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours over reference; higher is better."""
        return self.ours / self.reference if self.reference else float("nan")

    def print(self) -> None:
        """Print the JSON line; nothing may be printed after it."""
        line = {
            "name": self.name,
            "ours": rounded(self.ours),
            "reference": rounded(self.reference),
            "ratio": rounded(self.ratio),
            **rounded(self.extra),
            "machine": machine(),
        }
        print(json.dumps(line), flush=True)


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser with the option that every benchmark has, `--quick`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="smaller and shorter, for a first look")
    return made


def at_least(smallest: int) -> Callable[[str], int]:
    """Return a type for the parser: whole numbers of `smallest` or more; it names any other."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and smallest <= int(text[:12]) < 10**9):
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number >= {smallest}")
        return int(text)

    return read


def seconds_of(work: Callable[[], object], repeats: int = 5, warmups: int = 1) -> list[float]:
    """Run `work` and return the seconds of each repeat, after the warm-ups."""
    for _ in range(warmups):
        work()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return times


def median(values: Sequence[float]) -> float:
    """Return the median, which a busy moment of the machine does not move."""
    return float(statistics.median(values))


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with aligned columns: the first to the left, the others to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [
        max(len(header), *(len(row[i]) for row in cells)) if cells else len(header)
        for i, header in enumerate(headers)
    ]
    print(f"\n{title}")
    for line in (list(headers), ["-" * width for width in widths], *cells):
        first, *rest = (
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip())


def machine() -> dict[str, Any]:
    """Say what a figure was measured on: cores that may be used, processor, Python."""
    return {
        "cores": core_count(),
        "processor": _processor(),
        "python": platform.python_version(),
    }


def rounded(value: Any) -> Any:
    """Round floats to four significant digits, in dicts and lists too, for printing."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
