"""What the image classifiers of torchvision, timm and mindcv call the layers of our backbones.

Tables only: a row a layer, made from the networks' own tables, which take no MindSpore. What is
done with them, and by which rules a layer's parameters are called, is in `donors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from training.nets.backbone_tables import (
    RESNET50_STAGES,
    V1_BLOCKS,
    V2_STAGES,
    V3_AFTER_TAP,
    V3_BEFORE_TAP,
    V3_TAP_BLOCK,
    VGG16_BLOCKS,
)

Row = tuple[str, str | None, str, str]
"""A layer's name in classifiers of MindSpore (`SSD.classifier_name`), torchvision, timm and mindcv.
"""


def mobilenet_v2_rows() -> Iterator[Row]:
    """MobileNetV2: stem, 17 blocks, last convolution."""
    yield from _pair("features.0.features", "features.0", ("conv_stem", "bn1"), "features", 0)
    number = 0
    for stage, (ratio, _, blocks, _) in enumerate(V2_STAGES):
        for i in range(blocks):
            number += 1
            wide = int(ratio > 1)
            ours, timm, mindcv = (
                f"features.{number}.conv",
                f"blocks.{stage}.{i}",
                f"features.{number + 2}.layers",
            )
            if wide:
                names = (f"{timm}.conv_pw", f"{timm}.bn1")
                yield from _pair(f"{ours}.0.features", f"{ours}.0", names, mindcv, 0)
            names = (f"{timm}.conv_dw", f"{timm}.bn{1 + wide}")
            yield from _pair(f"{ours}.{wide}.features", f"{ours}.{wide}", names, mindcv, 3 * wide)
            narrow = "conv_pwl" if wide else "conv_pw"
            for k, last in enumerate((narrow, f"bn{2 + wide}")):
                own = f"{ours}.{wide + 1 + k}"
                yield own, own, f"{timm}.{last}", f"{mindcv}.{3 * wide + 3 + k}"
    end = number + 1
    yield from _pair(
        f"features.{end}.features", f"features.{end}", ("conv_head", "bn2"), "features", end + 2
    )


def mobilenet_v3_rows() -> Iterator[Row]:
    """MobileNetV3-Large: stem, 15 blocks, last convolution."""
    yield from _pair("features_1.0", "features.0", ("conv_stem", "bn1"), "features", 0)
    layers = _layer_names(_V3_STAGES)
    before = 16
    rows = [*V3_BEFORE_TAP, *((V3_TAP_BLOCK,) * (1 + V3_AFTER_TAP))]
    for number, row in enumerate(rows, 1):
        stage, i = layers[number - 1]
        tap = len(V3_BEFORE_TAP) + 1
        wide = int(row[1] != before or number >= tap)
        excite = int(row[3])
        timm, theirs = f"blocks.{stage}.{i}", f"features.{number}.block"
        mindcv = f"features.{number + 2}.layers"
        ours = f"features_1.{number}.conv" if number < tap else f"features_2.{number - tap}.conv"
        shift = 1 if number == tap else 0  # its widening is a layer of its own here
        if wide:
            own = "expand" if number == tap else f"{ours}.0"
            names = (f"{timm}.conv_pw", f"{timm}.bn1")
            yield from _pair(own, f"{theirs}.0", names, mindcv, 0)
        names = (f"{timm}.conv_dw", f"{timm}.bn{1 + wide}")
        yield from _pair(f"{ours}.{wide - shift}", f"{theirs}.{wide}", names, mindcv, 3 * wide)
        if excite:
            own = f"{ours}.{wide - shift + 1}"
            for name, tv, other in (
                ("reduce", "fc1", "conv_reduce"),
                ("expand", "fc2", "conv_expand"),
            ):
                yield (
                    f"{own}.{name}",
                    f"{theirs}.{wide + 1}.{tv}",
                    f"{timm}.se.{other}",
                    f"{mindcv}.{3 * wide + 3}.{other}",
                )
        narrow = "conv_pwl" if wide else "conv_pw"
        for k, last in enumerate((narrow, f"bn{2 + wide}")):
            yield (
                f"{ours}.{wide - shift + 1 + excite + k}",
                f"{theirs}.{wide + 1 + excite}.{k}",
                f"{timm}.{last}",
                f"{mindcv}.{3 * wide + 3 + excite + k}",
            )
        before = row[2]
    end = len(rows) + 1
    names = (f"blocks.{len(_V3_STAGES)}.0.conv", f"blocks.{len(_V3_STAGES)}.0.bn1")
    own = f"features_2.{V3_AFTER_TAP + 1}"
    yield from _pair(own, f"features.{end}", names, "features", end + 2)


def mobilenet_v1_rows() -> Iterator[Row]:
    """MobileNetV1: stem and 13 blocks; torchvision has none."""
    yield from _pair("0", None, ("conv_stem", "bn1"), "features", 0)
    layers = _layer_names(_V1_STAGES)
    for number in range(len(V1_BLOCKS)):
        stage, i = layers[number]
        timm, mindcv = f"blocks.{stage}.{i}", f"features.{number + 3}"
        for k, name in enumerate(("conv_dw", "conv_pw")):
            names = (f"{timm}.{name}", f"{timm}.bn{k + 1}")
            yield from _pair(f"{2 * number + 1 + k}", None, names, mindcv, 3 * k)


def resnet50_rows() -> Iterator[Row]:
    """ResNet-50: all call it as torchvision does, but for the shortcut."""
    yield from ((name, name, name, name) for name in ("conv1", "bn1"))
    for stage, (blocks, _, _) in enumerate(RESNET50_STAGES, 1):
        for i in range(blocks):
            block = f"layer{stage}.{i}"
            for k in (1, 2, 3):
                yield from ((f"{block}.{name}{k}",) * 4 for name in ("conv", "bn"))
            if i == 0:
                for k in (0, 1):
                    torch = f"{block}.downsample.{k}"
                    mindcv = f"{block}.down_sample.{k}"
                    yield f"{block}.down_sample_layer.{k}", torch, torch, mindcv


def vgg16_rows() -> Iterator[Row]:
    """VGG-16 without batch norm: layers, activations and poolings are counted through."""
    at = 0
    for widths in VGG16_BLOCKS:
        for _ in widths:
            name = f"features.{at}"
            yield f"layers.{at}", name, name, name
            at += 2
        at += 1


ROWS = {
    "mobilenet_v1": mobilenet_v1_rows,
    "mobilenet_v2": mobilenet_v2_rows,
    "mobilenet_v3_large": mobilenet_v3_rows,
    "resnet50": resnet50_rows,
    "vgg16": vgg16_rows,
}

_V1_STAGES = (1, 2, 2, 6, 2)
_V3_STAGES = (1, 2, 3, 4, 2, 3)
"""Blocks of each stage as timm counts them."""


def _layer_names(stages: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(stage, i) for stage, blocks in enumerate(stages) for i in range(blocks)]


def _pair(
    ours: str, torchvision: str | None, timm: tuple[str, str], mindcv: str, at: int
) -> Iterator[Row]:
    """A convolution and its batch norm, numbered 0 and 1 here and by torchvision."""
    for k in (0, 1):
        theirs = None if torchvision is None else f"{torchvision}.{k}"
        yield f"{ours}.{k}", theirs, timm[k], f"{mindcv}.{at + k}"
