"""Small converted splits for tests of the pipeline, written without the converter."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.sample import ClassInfo, Sample
from data_tools.shards.manifest import ConvertedSplit, Manifest, open_split
from data_tools.shards.schema import row_from_sample
from data_tools.shards.writer import ShardWriter
from data_tools.sources.shapes import CATEGORY_IDS, CLASS_NAMES, shape_samples

RowChange = Callable[[int, dict[str, Any]], dict[str, Any]]


def write_split(
    root: Path,
    samples: Sequence[Sample],
    *,
    split: str = "train",
    shards: int = 2,
    change: RowChange | None = None,
) -> ConvertedSplit:
    """Write samples as a split, in order, in so many shards; `change` may damage rows on the
    way.
    """
    folder = root / split
    folder.mkdir(parents=True)
    labels = {category: label for label, category in enumerate(CATEGORY_IDS, 1)}
    infos = []
    for number, part in enumerate(np.array_split(np.arange(len(samples)), shards)):
        writer = ShardWriter(folder / f"{split}-{number:05d}.mindrecord")
        for index in part.tolist():
            sample = samples[index]
            numbers = np.array([labels[int(c)] for c in sample.category_ids], np.int32)
            row = row_from_sample(sample, sample.read_bytes(), numbers)
            writer.write([change(index, row) if change else row])
        infos.append(writer.close())
    classes = tuple(ClassInfo(i + 1, name, CATEGORY_IDS[i]) for i, name in enumerate(CLASS_NAMES))
    images = [{"id": s.image_id, "height": s.height, "width": s.width} for s in samples]
    (folder / "annotations.json").write_text(json.dumps({"images": images}))
    Manifest(split, classes, tuple(infos), {"images": len(samples)}).write(folder)
    return open_split(root, split)


def drawn_split(root: Path, count: int, *, side: int = 96, **options: Any) -> ConvertedSplit:
    """Write `count` drawn scenes of about `side` pixels."""
    scenes = list(shape_samples(1, "train", count, min_side=side, max_side=side + 40))
    return write_split(root, scenes, **options)
