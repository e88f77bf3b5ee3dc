"""`convert.py preview=DIR`: a contact sheet of rows read back from the shards, with boxes and
names.

Drawing itself is in `images/draw.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_tools.convert.settings import ConvertSettings
from data_tools.converted.file_names import file_names
from data_tools.converted.verify import split_folders
from data_tools.core.errors import DataError
from data_tools.core.where_to_look import where_to_look
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import Image, draw_boxes, save_png
from data_tools.images.sheet import contact_sheet, layout, scaled_to_cell, usual_aspect
from data_tools.shards.manifest import ConvertedSplit, open_split
from data_tools.shards.reader import Row, RowReader


def run_preview(settings: ConvertSettings) -> int:
    """Draw rows of a converted set to a PNG file.

    Args:
        settings: Settings of the command: `preview`, `split`, `rows`, `picture`.

    Returns:
        0.

    Raises:
        DataError: If there is no such set or split, or an image does not decode.
    """
    root = Path(settings.preview)
    names = [folder.name for folder in split_folders(root)]
    if settings.split and settings.split not in names:
        raise DataError(
            f"{root}: no split {settings.split!r}; it has {names}. Choose one with split=NAME."
        )
    name = settings.split or names[0]
    folder = root if root.name == name and (root / "manifest.json").is_file() else root / name
    split = open_split(folder.parent, folder.name)
    picture = Path(settings.picture or f"outputs/preview/{root.resolve().name}-{name}.png")
    count = min(settings.rows, split.num_images)
    sheet = draw_rows(
        split, np.linspace(0, split.num_images - 1, count).round().astype(int).tolist()
    )
    save_png(picture, sheet)
    print(f"{picture}: {count} of {split.num_images} images of {folder}")
    print(where_to_look(pictures=[picture]))
    return 0


def draw_rows(split: ConvertedSplit, rows: list[int]) -> Image:
    """Draw some rows of a split, each with its boxes, class names and the name of its file.

    Args:
        split: The split.
        rows: Row numbers.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        DataError: If an image does not decode.
    """
    reader = RowReader(split)
    names = {entry.label: entry.name for entry in split.classes}
    shown, images = [reader[index] for index in rows], []
    for index, row in zip(rows, shown, strict=True):
        image = decode_bgr(row.image)
        if image is None:
            raise reader.damaged(index, "its picture does not decode")
        images.append(image)
    cells = layout(len(images), usual_aspect(images))
    files = file_names(split, [row.image_id for row in shown])
    tiles, captions = [], []
    for row, image in zip(shown, images, strict=True):
        tiles.append(scaled_to_cell(image, cells, _drawing(row, names, cells.tile_width)))
        crowds = f", {int(row.iscrowd.sum())} crowd" if row.iscrowd.any() else ""
        captions.append(f"{files[row.image_id]}: {len(row.labels)} boxes{crowds}")
    title = f"{split.folder.name}: {len(rows)} of {split.num_images} images, read from the shards"
    return contact_sheet(tiles, captions, cells=cells, title=title)


def _drawing(row: Row, names: dict[int, str], width: int) -> Callable[[Image, float], Image]:
    captions = [names.get(int(label), f"? {label}") for label in row.labels]

    def draw(image: Image, scale: float) -> Image:
        boxes = row.boxes_yxyx_px * scale
        return draw_boxes(image, boxes, row.labels, captions, dashed=row.iscrowd, list_width=width)

    return draw
