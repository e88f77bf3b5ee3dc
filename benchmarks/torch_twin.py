"""SSD300 MobileNetV2 with its loss and optimizer in torch, for the side by side of `step.py`.

It is timed, not trained: same layers, shapes and arithmetic, random weights. It runs in a process
of its own, so that neither side has the other's threads and settings, and steps when told to. Used
only where torch happens to be installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks.usage import highest_mib

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (128, 0.25))
BOXES_PER_CELL = (3, 6, 6, 6, 6, 6)
NUM_CLASSES = 81
LAYOUTS = ("NCHW", "channels_last")


def build_twin() -> Any:
    """Build the network: (N, 3, 300, 300) to regression (N, 1917, 4) and logits (N, 1917, 81)."""
    import torch  # type: ignore[import-not-found,unused-ignore]
    from torch import Tensor, nn  # type: ignore[import-not-found,unused-ignore]

    def conv(before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(after, eps=1e-3),
            nn.ReLU6(inplace=True),
        )

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int, ratio: float, last: bool) -> None:
            super().__init__()
            hidden = round(before * ratio)
            widen = [] if ratio == 1 else [conv(before, hidden, 1)]
            self.body = nn.Sequential(
                *widen,
                conv(hidden, hidden, 3, stride, hidden),
                nn.Conv2d(hidden, after, 1, bias=False),
                nn.BatchNorm2d(after, eps=1e-3),
            )
            self.shortcut = stride == 1 and before == after
            self.last = nn.ReLU6() if last else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            out = self.body(x)
            return self.last(x + out if self.shortcut else out)

    def predictor(before: int, after: int) -> Any:
        return nn.Sequential(conv(before, before, 3, 1, before), nn.Conv2d(before, after, 1))

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[Any] = [conv(3, 32, 3, 2)]
            before = 32
            for ratio, width, blocks, first in STAGES:
                for i in range(blocks):
                    stride = first if i == 0 else 1
                    layers.append(Block(before, width, stride, ratio, False))
                    before = width
            layers.append(conv(before, 1280, 1))
            self.first, self.tap = nn.Sequential(*layers[:14]), conv(96, 576, 1)
            self.second = nn.Sequential(*layers[14:])
            widths = [576, 1280, *(width for width, _ in EXTRAS)]
            self.extras = nn.ModuleList(
                Block(a, b, 2, ratio, True) for a, (b, ratio) in zip(widths[1:], EXTRAS)
            )
            boxes = list(zip(widths, BOXES_PER_CELL))
            self.loc = nn.ModuleList(predictor(w, 4 * k) for w, k in boxes)
            self.cls = nn.ModuleList(predictor(w, NUM_CLASSES * k) for w, k in boxes)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.first(x)
            maps = [self.tap(x), self.second(x)]
            for block in self.extras:
                maps.append(block(maps[-1]))

            def rows(heads: Any, values: int) -> Tensor:
                outputs = [h(m).permute(0, 2, 3, 1) for h, m in zip(heads, maps)]
                return torch.cat([f.reshape(f.shape[0], -1, values) for f in outputs], 1)

            return rows(self.loc, 4), rows(self.cls, NUM_CLASSES)

    return Detector().train()


def build_step(batch: int, layout: str) -> Callable[[], object]:
    """Return a training step on a batch of its own, normalization and all.

    Args:
        batch: Images per step.
        layout: One of `LAYOUTS`.
    """
    import torch  # type: ignore[import-not-found,unused-ignore]

    torch.manual_seed(0)
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    pixels = torch.randint(0, 256, (batch, 3, 300, 300), dtype=torch.uint8)
    network = build_twin().to(memory_format=memory_format)
    anchors = network(torch.zeros(1, 3, 300, 300).expand(2, 3, 300, 300))[0].shape[1]
    labels = torch.where(torch.rand(batch, anchors) < 0.01, 3, 0)
    targets = torch.randn(batch, anchors, 4)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=1.5e-4)

    def step() -> float:
        images = ((pixels.float() - mean) / std).contiguous(memory_format=memory_format)
        loc, logits = network(images)
        loss = focal_loss(loc, logits, targets, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def focal_loss(loc: Any, logits: Any, targets: Any, labels: Any) -> Any:
    """Sigmoid focal loss and smooth L1 over the positives, divided by their number."""
    import torch  # type: ignore[import-not-found,unused-ignore]
    from torch.nn import functional  # type: ignore[import-not-found,unused-ignore]

    positive = labels > 0
    wrong = (torch.sigmoid(logits) ** 2 * functional.softplus(logits)).sum(-1)
    own = logits.gather(2, labels.unsqueeze(-1)).squeeze(-1)
    own_wrong = torch.sigmoid(own) ** 2 * functional.softplus(own)
    own_right = torch.sigmoid(-own) ** 2 * functional.softplus(-own)
    classes = (0.25 * (wrong - own_wrong) + 0.75 * own_right).sum()
    boxes = functional.smooth_l1_loss(loc[positive], targets[positive], reduction="sum")
    return (classes + boxes) / positive.sum().clamp(min=1)


class Twin:
    """A process that steps in one memory layout; started with one step done.

    Args:
        batch: Images per step.
        layout: One of `LAYOUTS`.
    """

    def __init__(self, batch: int, layout: str) -> None:
        # Held to AVX2 for MindSpore's sake, torch would be slower.
        environment = {**os.environ}
        environment.pop("ONEDNN_MAX_CPU_ISA", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.torch_twin", str(batch), layout],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self.step()

    def step(self) -> float:
        """Do a step and return the seconds it took."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        return float(self.process.stdout.readline())

    def memory_mib(self) -> float:
        """The most memory that it held at once so far."""
        return highest_mib(self.process.pid)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def is_here() -> bool:
    """True if torch is installed."""
    return importlib.util.find_spec("torch") is not None


def serve(batch: int, layout: str) -> None:
    """Do a step for every line of standard input; answer with its seconds."""
    step = build_step(batch, layout)
    for _ in sys.stdin:
        begun = perf_counter()
        step()
        print(perf_counter() - begun, flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
