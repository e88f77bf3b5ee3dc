"""One hostile truth, written as the real tools write it, is read the same by every reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_tools.sources.raw_split import RawDataset
from tests.helpers.hostile_exporters import EMPTY, EXPORTS, TRUTH, Export, read_named, size_of


def same_as_the_truth(raw: RawDataset, export: Export) -> None:
    classes = {info.category_id: info.name for info in raw.classes.classes}
    names = {written: name for name, written in export.renamed.items()}
    found = {}
    for split in raw.splits:
        for sample in split.table:
            name = names[sample.file_name.rsplit("/", 1)[-1]]
            width, height = size_of(name)
            scale = [height, width] * 2 if split.table.relative else [1] * 4
            boxes = (sample.boxes_yxyx_px * scale)[:, [1, 0, 3, 2]].tolist()
            labels = [classes[int(c)] for c in sample.category_ids]
            assert name not in found, f"{name} is in two splits"
            found[name] = sorted(zip(labels, boxes, strict=True))
    wanted = {name: sorted((c, list(box)) for c, *box in TRUTH[name]) for name in export.renamed}
    if export.silent:
        del wanted[EMPTY]
    assert found.keys() == wanted.keys()
    for name, boxes in wanted.items():
        assert [c for c, _ in found[name]] == [c for c, _ in boxes], name
        got, expected = ([box for _, box in some] for some in (found[name], boxes))
        np.testing.assert_allclose(got, expected, atol=2e-3, err_msg=name)
    said = {defect.kind for split in raw.splits for defect in split.defects}
    # Roboflow's parent of all classes has no box.
    assert said - {"unused_class"} == ({"missing_annotation"} if export.silent else set())


@pytest.mark.parametrize("name", list(EXPORTS))
def test_every_reader_agrees_with_the_truth(tmp_path: Path, name: str) -> None:
    export = EXPORTS[name]
    export.write(tmp_path / "my set")
    origin = ["dataset.box_origin=0"] if name == "voc_from_0" else []
    same_as_the_truth(read_named(["dataset=auto", *origin], tmp_path / "my set"), export)
    same_as_the_truth(read_named(export.named, tmp_path / "my set"), export)
