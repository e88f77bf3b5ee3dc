"""A training pipeline over a small converted split, with few anchors and an image that is not
square.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from data_tools.augment.settings import AugmentSettings
from data_tools.pipeline.pipeline import TrainPipeline
from data_tools.pipeline.settings import PipelineSettings
from data_tools.shards.manifest import ConvertedSplit
from training.boxes.codec import BoxEncoder

SIZE = (64, 48)  # not square, so that an exchange of height and width shows


def small_encoder() -> BoxEncoder:
    centres = (np.arange(6) + 0.5) / 6
    grid = np.stack(np.meshgrid(centres, centres, [0.2, 0.5], indexing="ij"), -1).reshape(-1, 3)
    return BoxEncoder(grid[:, [0, 1, 2, 2]])


def build(
    split: ConvertedSplit, augment: AugmentSettings | None = None, **options: Any
) -> TrainPipeline:
    names = {field.name for field in dataclasses.fields(PipelineSettings)}
    settings = PipelineSettings(**{k: options.pop(k) for k in list(options) if k in names})
    options = {"seed": 5, "batch_size": 8, **options}
    return TrainPipeline(
        split, settings, augment or AugmentSettings(), SIZE, small_encoder(), **options
    )
