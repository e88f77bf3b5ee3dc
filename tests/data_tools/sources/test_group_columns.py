"""`dataset.group=column:NAME`: groups from CSV, Open Images and COCO, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.core.errors import DataError, SettingError
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import coco_settings, image_entry, jpeg, write_coco

PATIENTS = {k: f"p{k % 5}" for k in range(1, 21)}


def splits(annotations: str) -> dict[str, SplitSettings]:
    return {
        name: SplitSettings(annotations=annotations, images="images", fraction=share)
        for name, share in (("train", 0.6), ("val", 0.4))
    }


def sides(raw: RawDataset) -> list[set[str]]:
    """The patients of each split; every image is in one of them."""
    numbers = [[int(Path(n).stem) for n in split.table.file_names] for split in raw.splits]
    assert sorted(k for part in numbers for k in part) == sorted(PATIENTS)
    return [{PATIENTS[k] for k in part} for part in numbers]


def coco(root: Path, group: str = "column:patient", **more: dict[int, object]) -> RawDataset:
    images = [image_entry(k, patient=more.get("values", {}).get(k, p)) for k, p in PATIENTS.items()]
    write_coco(root, images, [], pictures=False)
    return read_source(
        coco_settings(root, dataset_splits=splits("train.json"), dataset_group=group).dataset, {}
    )


def table(root: Path, kind: str, text: str, group: str) -> RawDataset:
    (root / "images").mkdir(exist_ok=True)
    for k in PATIENTS:
        (root / f"images/{k:06d}.jpg").write_bytes(jpeg(20, 30, k))
    (root / "boxes.csv").write_text(text)
    dataset = DatasetSettings(kind=kind, root=str(root), splits=splits("boxes.csv"), group=group)
    return read_source(dataset, {})


def test_fields_of_coco_images(tmp_path: Path) -> None:
    train, val = sides(coco(tmp_path))
    assert len(train) == 3 and len(val) == 2 and not train & val
    with pytest.raises(SettingError, match="no column 'ward'; it has file_name, .*patient"):
        coco(tmp_path, "column:ward")
    with pytest.raises(SettingError, match="no value of it for any of the 20 images"):
        coco(tmp_path, values=dict.fromkeys(PATIENTS))
    # Numbers are groups as texts are; an image without a value is a group of its own.
    numbers: dict[int, object] = dict.fromkeys(range(1, 6), 7) | dict.fromkeys(range(6, 21))
    parts = [
        {int(Path(n).stem) for n in split.table.file_names}
        for split in coco(tmp_path, values=numbers).splits
    ]
    assert sum(part >= set(range(1, 6)) for part in parts) == 1
    assert all(part & set(range(6, 21)) for part in parts)


def test_columns_of_csv_and_open_images(tmp_path: Path) -> None:
    lines = [f"{k:06d}.jpg,30,20,cat,1,1,9,9,{p}" for k, p in PATIENTS.items()]
    head = "filename,width,height,class,xmin,ymin,xmax,ymax,patient\n"
    text = head + "\n".join(lines)
    train, val = sides(table(tmp_path, "csv", text, "column:patient"))
    assert not train & val and train and val
    with pytest.raises(SettingError, match="no column 'Patient'"):
        table(tmp_path, "csv", text, "column:Patient")
    with pytest.raises(DataError, match="000003.jpg is 'p3' and 'p9'"):
        table(tmp_path, "csv", f"{text}\n000003.jpg,30,20,cat,1,1,9,9,p9", "column:patient")
    lines = [f"{k:06d},/m/1,0.1,0.5,0.1,0.5,{p}" for k, p in PATIENTS.items()]
    text = "ImageID,LabelName,XMin,XMax,YMin,YMax,Source\n" + "\n".join(lines)
    train, val = sides(table(tmp_path, "open_images", text, "column:Source"))
    assert not train & val and train and val


def test_other_layouts_have_no_columns(tmp_path: Path) -> None:
    dataset = coco_settings(tmp_path, dataset_splits=splits("x"), dataset_group="column:a").dataset
    from data_tools.sources.group_columns import column_keys

    with pytest.raises(SettingError, match="voc has no columns; coco, csv, open_images have"):
        column_keys(tmp_path, "voc", dataset.group, [])
