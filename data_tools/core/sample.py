"""One labelled image on its way from a source to a shard, and the classes it refers to.

Sources build these, the converter checks and writes them; how a row is stored is
`shards/schema.py`'s matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_tools.core.archives import read_file


@dataclass(frozen=True)
class ClassInfo:
    """A class of a data set.

    Args:
        label: Contiguous label, 1..C; 0 is background.
        name: The class's name in the source.
        category_id: The source's own id.
    """

    label: int
    name: str
    category_id: int


@dataclass(frozen=True)
class Sample:
    """One image with its full ground truth, before any check against the image's bytes.

    Args:
        image_id: The image's id, unique within its split.
        file_name: Path relative to the split's image folder, with `/` between the parts.
        path: Where the encoded image lies; None where `image` is given.
        height: Declared height in pixels, 0 if the source declares none.
        width: Declared width in pixels, 0 if the source declares none.
        boxes_yxyx_px: (N, 4) float64, corners in pixels, as exact as the source has them.
        category_ids: (N,) int64, the source's own category ids.
        iscrowd: (N,) bool, a region full of objects rather than one object.
        difficult: (N,) bool, VOC's flag: ignored in evaluation.
        areas_px: (N,) float64, the source's own areas (a mask's, where it has masks).
        annotation_ids: (N,) int64, the source's own annotation ids, unique within the split.
        image: The encoded bytes, where the source makes them itself.
        relative: The boxes are in 0..1 of the image's height and width, which are not known yet.
    """

    image_id: int
    file_name: str
    path: Path | str | None
    height: int
    width: int
    boxes_yxyx_px: npt.NDArray[np.float64]
    category_ids: npt.NDArray[np.int64]
    iscrowd: npt.NDArray[np.bool_]
    difficult: npt.NDArray[np.bool_]
    areas_px: npt.NDArray[np.float64]
    annotation_ids: npt.NDArray[np.int64]
    image: bytes | None = field(default=None, repr=False)
    relative: bool = False

    def read_bytes(self) -> bytes:
        """Return the encoded image: the bytes given, or the file's.

        Raises:
            OSError: If the file cannot be read.
            DataError: If it lies in an archive that cannot be.
        """
        if self.image is not None:
            return self.image
        assert self.path is not None
        return read_file(self.path)
