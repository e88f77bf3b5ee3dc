"""ResNet-50 as a backbone, under the published names.

Heads and the feature pyramid are not here.
"""

from __future__ import annotations

from mindspore import Tensor, nn

from training.nets.backbone_tables import RESNET50_STAGES
from training.nets.norm import Norm

EXPANSION = 4
"""Channels out of a block over channels inside it."""


class Bottleneck(nn.Cell):
    """Narrow (1x1), filter (3x3, carries the stride), widen (1x1), add the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, stride: int) -> None:
        super().__init__()
        inside = out_channels // EXPANSION
        self.conv1 = nn.Conv2d(in_channels, inside, 1, pad_mode="same")
        self.bn1 = norm(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, pad_mode="same")
        self.bn2 = norm(inside)
        self.conv3 = nn.Conv2d(inside, out_channels, 1, pad_mode="same")
        self.bn3 = norm(out_channels)
        self.relu = nn.ReLU()
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.down_sample_layer = nn.SequentialCell(
                [
                    nn.Conv2d(in_channels, out_channels, 1, stride, pad_mode="same"),
                    norm(out_channels),
                ]
            )

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = self.down_sample_layer(x) if self.project else x
        return self.relu(out + shortcut)


class ResNet50(nn.Cell):
    """Returns the outputs of the last three stages: steps 8, 16 and 32."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, pad_mode="same")
        self.bn1 = norm(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, pad_mode="same")
        channels = 64
        stages = []
        for blocks, width, first_stride in RESNET50_STAGES:
            stage = []
            for i in range(blocks):
                stage.append(Bottleneck(channels, width, norm, first_stride if i == 0 else 1))
                channels = width
            stages.append(nn.SequentialCell(stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def construct(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> maps with 512, 1024 and 2048 channels."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        c3 = self.layer2(self.layer1(x))
        c4 = self.layer3(c3)
        return c3, c4, self.layer4(c4)
