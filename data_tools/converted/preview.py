"""`convert.py preview=DIR`: a contact sheet of rows read back from the shards, with boxes and names.

Drawing itself is in `images/draw.py`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from data_tools.convert.settings import ConvertSettings
from data_tools.converted.verify import split_folders
from data_tools.core.errors import DataError
from data_tools.images.decode import decode_bgr
from data_tools.images.draw import Image, contact_sheet, draw_boxes, save_png
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
    return 0


def draw_rows(split: ConvertedSplit, rows: list[int]) -> Image:
    """Draw some rows of a split, each with its boxes, class names and id.

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
    tiles, captions = [], []
    for index in rows:
        row = reader[index]
        tiles.append(_draw_row(row, names, reader, index))
        crowds = f", {int(row.iscrowd.sum())} crowd" if row.iscrowd.any() else ""
        captions.append(f"image {row.image_id}: {len(row.labels)} boxes{crowds}")
    title = f"{split.folder.name}: {len(rows)} of {split.num_images} images, read from the shards"
    return contact_sheet(tiles, captions, title=title)


def _draw_row(row: Row, names: dict[int, str], reader: RowReader, index: int) -> Image:
    image = decode_bgr(row.image)
    if image is None:
        raise reader.damaged(index, "its picture does not decode")
    scale = max(1.0, 300 / max(image.shape[:2]))  # small pictures would drown in their captions
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    captions = [names.get(int(label), f"? {label}") for label in row.labels]
    boxes = row.boxes_yxyx_px * scale
    return draw_boxes(np.asarray(image, np.uint8), boxes, row.labels, captions, dashed=row.iscrowd)
