"""What a batch of evaluation holds, and how the batch of a number is made: the part that workers
run.

Training batches are `batches.py`'s; nothing is varied or matched here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from data_tools.augment.boxes_in_view import ImageBoxes, Window, seen_through
from data_tools.augment.render import network_input
from data_tools.core.reusable_memory import Arrays, Layout
from data_tools.images.decode import decode_bgr
from data_tools.pipeline.encoder import Encoder, target_layout
from data_tools.shards.reader import RowReader


@dataclass(frozen=True)
class EvalBatch:
    """One device's batch of an evaluation, always of full size.

    Args:
        images: (N, 3, H, W) uint8 RGB, zeros where padded.
        image_ids: (N,) int64, -1 where padded.
        heights: (N,) int32, the stored image's rows, 0 where padded.
        widths: (N,) int32, the stored image's columns, 0 where padded.
        loc_targets: (N, A, 4) float32 as in training, if there is an encoder; else None. Zeros
            where padded.
        labels: (N, A) int32 as in training, if there is an encoder; else None. -1 where padded.
    """

    images: npt.NDArray[np.uint8]
    image_ids: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    loc_targets: npt.NDArray[np.float32] | None = None
    labels: npt.NDArray[np.int32] | None = None


@dataclass
class EvalBatchBuilder:
    """Makes the batches of an evaluation.

    Args:
        rows: The split.
        batches: (B, N) indices of the rows of each batch, -1 where it is padded.
        image_size: (H, W) of the network's input.
        encoder: Boxes to targets; None makes none.
    """

    rows: RowReader
    batches: npt.NDArray[np.int64]
    image_size: tuple[int, int]
    encoder: Encoder | None = None

    @property
    def layout(self) -> Layout:
        count = self.batches.shape[1]
        targets: Layout = {}
        if self.encoder is not None:
            targets = target_layout(count, self.encoder)
        return {
            **targets,
            "images": ((count, 3, *self.image_size), "uint8"),
            "image_ids": ((count,), "int64"),
            "heights": ((count,), "int32"),
            "widths": ((count,), "int32"),
        }

    def describe(self, number: int) -> str:
        return f"evaluation batch {number}, rows {self.batches[number].tolist()}"

    def fill(self, number: int, arrays: Arrays) -> None:
        for name, padding in (("images", 0), ("image_ids", -1), ("heights", 0), ("widths", 0)):
            cast(Any, arrays[name]).fill(padding)
        truths = []
        for slot, index in enumerate(self.batches[number].tolist()):
            if index < 0:
                continue
            row = self.rows[index]
            image = decode_bgr(row.image)
            if image is None:
                raise self.rows.damaged(index, "its bytes do not decode")
            arrays["images"][slot] = network_input(image, self.image_size)
            arrays["image_ids"][slot] = row.image_id
            height, width = arrays["heights"][slot], arrays["widths"][slot] = image.shape[:2]
            truth = ImageBoxes(row.boxes_yxyx_px, row.labels, row.iscrowd)
            truths.append((slot, truth, Window(0, 0, height, width)))
        if self.encoder is not None:
            self._encode(self.encoder, truths, arrays)

    def _encode(
        self, encoder: Encoder, truths: list[tuple[int, ImageBoxes, Window]], arrays: Arrays
    ) -> None:
        # As a training image that is shown whole.
        loc_targets, labels = cast(Any, arrays["loc_targets"]), cast(Any, arrays["labels"])
        loc_targets.fill(0)
        labels.fill(-1)
        if not truths:
            return
        slots, boxes, windows = zip(*truths, strict=True)
        seen, image_of = seen_through(boxes, windows, [False] * len(slots))
        image_of = np.asarray(slots, np.intp)[image_of]
        encoder.encode_batch(
            seen.boxes_yxyx, seen.labels, seen.iscrowd, image_of, loc_targets, labels
        )
        labels[cast(Any, arrays["image_ids"]) < 0] = -1
