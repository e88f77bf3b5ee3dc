"""What MindSpore's Ascend backend made of a run's graphs, read from the files that it writes about
them.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

# `graph_build` is the graph as it is scheduled, after kernels were selected.
PASSES = "graph_build,execute_order"
NODE = re.compile(r"^ {2}%\d+\(")
TYPES = re.compile(r"^ {6}: \((?P<taken>.*)\) -> \((?P<given>.*)\)$")
WIDE = re.compile(r"Tensor\[(Float64|Complex128)\]")
DYNAMIC = re.compile(r"\((?:[\d, ]*, )?-[12](?:, [-\d, ]*)?\)")


@dataclass
class Graphs:
    """The graphs of one process.

    Attributes:
        kernels: Kernels that the host starts, by graph, in order.
        on_cpu: Kernels that fell back to the host.
        wide: Nodes that take or give a float64.
        dynamic: Nodes whose shapes are not known before they run.
        branches: Nodes of control flow.
    """

    kernels: dict[str, list[str]]
    on_cpu: list[str] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)
    dynamic: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Kernels of the largest graph: the step."""
        return max((len(names) for names in self.kernels.values()), default=0)

    def kinds(self) -> Counter[str]:
        """Kernels of the largest graph by kind; fused ones count as `fused`."""
        largest = max(self.kernels.values(), key=len, default=[])
        plain = (re.sub(r"-op\d+$", "", name.rsplit("/", 1)[-1]) for name in largest)
        return Counter("fused" if name.startswith("GraphKernel") else name for name in plain)

    def problems(self) -> list[str]:
        """Whatever a card should not be given, in words."""
        lists = (
            ("falls back to the CPU", self.on_cpu),
            ("computes in float64", self.wide),
            ("has a dynamic shape", self.dynamic),
            ("is control flow", self.branches),
        )
        return [f"{name} {what}" for what, names in lists for name in names]


def read_graphs(folder: Path) -> Graphs:
    """Read what one process wrote into MS_DEV_SAVE_GRAPHS_PATH.

    Raises:
        FileNotFoundError: If it compiled nothing for Ascend.
    """
    ranks = sorted(folder.glob("rank_*"))  # a rank of a larger job has a folder of its own
    folder = ranks[0] if ranks else folder
    kernels: dict[str, list[str]] = {}
    with (folder / "execute_order" / "execute_order.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            graph = row["node_info"].split(":", 1)[0].lstrip("@")
            names = kernels.setdefault(graph, [])
            names.append(row["node_name"])
    # A graph that runs again is listed again.
    graphs = Graphs({graph: list(dict.fromkeys(names)) for graph, names in kernels.items()})
    for path in sorted(folder.glob("graph_build_*.ir")):
        read_graph(path.read_text(errors="replace"), graphs)
    for path in sorted((folder / "actor_set").glob("0_actor_set*.ir")):
        graphs.on_cpu += actors_on_cpu(path.read_text(errors="replace"))
    return graphs


def read_graph(text: str, graphs: Graphs) -> None:
    """Look for what should not be in a graph's text."""
    name = ""
    for line in text.splitlines():
        if NODE.match(line):
            name = line.split(") = ", 1)[-1].split("(", 1)[0]
            if name in ("Switch", "ConditionSwitch", "ConditionGather", "Partial", "SwitchLayer"):
                graphs.branches.append(name)
            if 'primitive_target: "CPU"' in line:
                graphs.on_cpu.append(name)
        types = TYPES.match(line)
        if types and name:
            both = f"{types['taken']} {types['given']}"
            if WIDE.search(both):
                graphs.wide.append(name)
            if "xDefaultFormat" not in both and DYNAMIC.search(both):
                graphs.dynamic.append(name)


def actors_on_cpu(text: str) -> list[str]:
    """Names of kernel actors that run on the host, from an actor set's description."""
    found, name = [], ""
    for line in text.splitlines():
        if "actor_name:" in line and not line.lstrip().startswith(("to_", "from_")):
            name = line.split("actor_name:", 1)[1].split()[0]
        elif "device_context:CPU" in line and "Kernel" in name:
            found.append(name)
    return found
