"""Which anchors of regular grids a box may match: a few hundred of fifty thousand, none forgotten.

An accelerator for `codec.py`, which has the rule of matching and does without this for few anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_MARGIN = 1e-4
"""Slack on overlaps, far above what single precision rounds away: candidates may be too many, never
too few."""

_CELL_MARGIN = 1e-2  # slack on rows and columns, in cells


class AnchorGrid:
    """Anchors as families of one shape each, whose centres form a grid.

    Args:
        anchors_cyxhw_rel: (A, 4) float32 anchors: level by level, row by row, column by column, box
            by box.
        levels: Rows, columns and boxes per cell of each level.

    Raises:
        ValueError: If the anchors are no such grids.
    """

    def __init__(
        self, anchors_cyxhw_rel: npt.NDArray[np.float32], levels: Sequence[tuple[int, int, int]]
    ) -> None:
        families = []
        start = 0
        for rows, columns, kinds in levels:
            count = rows * columns * kinds
            cells = anchors_cyxhw_rel[start : start + count].astype(np.float64)
            cells = cells.reshape(rows, columns, kinds, 4)
            step_y = (cells[-1, 0, 0, 0] - cells[0, 0, 0, 0]) / max(rows - 1, 1) or 1.0
            step_x = (cells[0, -1, 0, 1] - cells[0, 0, 0, 1]) / max(columns - 1, 1) or 1.0
            grid = np.empty_like(cells)
            grid[:] = cells[0, 0]
            grid[..., 0] += step_y * np.arange(rows)[:, None, None]
            grid[..., 1] += step_x * np.arange(columns)[None, :, None]
            if not np.allclose(grid, cells, rtol=0, atol=1e-3 * min(step_y, step_x)):
                raise ValueError("the anchors of a level are not one grid of equal boxes")
            for kind in range(kinds):
                cy, cx, h, w = cells[0, 0, kind]
                families.append(
                    (
                        cy,
                        cx,
                        h,
                        w,
                        step_y,
                        step_x,
                        rows,
                        columns,
                        start + kind,
                        kinds * columns,
                        kinds,
                    )
                )
            start += count
        if start != len(anchors_cyxhw_rel):
            raise ValueError(f"the levels have {start} anchors, given are {len(anchors_cyxhw_rel)}")
        table = np.array(families, np.float64).T
        self.cy, self.cx, self.h, self.w, self.step_y, self.step_x = table[:6]
        self.rows, self.columns, self.first, self.row_stride, self.column_stride = table[6:].astype(
            np.int64
        )

    def nearest(self, boxes_yxyx_rel: npt.NDArray[np.floating]) -> Indices:
        """The anchor of each family whose centre is nearest to each box's: (N, 4) -> (N, families).

        Of a family, it has the greatest overlap.
        """
        boxes = boxes_yxyx_rel.astype(np.float64)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
        row = np.rint((middle[:, :1] - self.cy) / self.step_y)  # (N, families)
        column = np.rint((middle[:, 1:] - self.cx) / self.step_x)  # (N, families)
        row = np.minimum(np.maximum(row, 0), self.rows - 1).astype(np.int64)
        column = np.minimum(np.maximum(column, 0), self.columns - 1).astype(np.int64)
        return self.first + row * self.row_stride + column * self.column_stride

    def above(
        self, boxes_yxyx_rel: npt.NDArray[np.floating], least: npt.NDArray[np.floating]
    ) -> tuple[Indices, Indices]:
        """Find all anchors whose overlap (IoU) with a box is at least `least`, and some more.

        For overlap t the boxes must share q = t / (1 + t) of their summed area. So along one axis
        they must share q over the most that they can share along the other, which bounds the
        distance of their centres: a range of rows and one of columns in each family.

        Args:
            boxes_yxyx_rel: (N, 4), positive area.
            least: (N,) overlaps, above 0.

        Returns:
            Boxes (M,), rising, and anchors (M,).
        """
        boxes = boxes_yxyx_rel.astype(np.float64)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2  # (N, 2)
        height, width = (boxes[:, 2:] - boxes[:, :2]).T[:, :, None]  # (N, 1) each
        limit = least.astype(np.float64)[:, None] * (1 - _MARGIN)  # (N, 1)
        shared = limit / (1 + limit) * (height * width + self.h * self.w)  # (N, families)
        most_y, most_x = np.minimum(height, self.h), np.minimum(width, self.w)  # (N, families) each
        low_r, high_r = _range(  # (N, families) each, as low_c and high_c
            middle[:, :1], (height + self.h) / 2 - shared / most_x, self.cy, self.step_y, self.rows
        )
        low_c, high_c = _range(
            middle[:, 1:],
            (width + self.w) / 2 - shared / most_y,
            self.cx,
            self.step_x,
            self.columns,
        )
        # (N, families) bool
        possible = (most_y * most_x >= shared) & (low_r <= high_r) & (low_c <= high_c)
        box, family = np.nonzero(possible)  # (Q,) each: pairs that may match
        low_r, low_c = low_r[possible], low_c[possible]
        width_c = high_c[possible] - low_c + 1  # (Q,) columns of the range
        count = (high_r[possible] - low_r + 1) * width_c  # (Q,) cells of the range
        row_stride, column_stride = self.row_stride[family], self.column_stride[family]
        first = self.first[family] + low_r * row_stride + low_c * column_stride  # (Q,) anchors
        # One entry for each cell of each range: its number within the range gives row and column.
        pair = np.repeat(np.arange(len(box)), count)  # (M,) of the Q pairs, for each cell
        rank = np.arange(len(pair)) - (np.cumsum(count) - count)[pair]  # (M,)
        row, column = np.divmod(rank, width_c[pair])  # (M,) each, within the range
        return box[pair], first[pair] + row * row_stride[pair] + column * column_stride[pair]


def _range(
    middle: Doubles, reach: Doubles, start: Doubles, step: Doubles, cells: Indices
) -> tuple[Indices, Indices]:
    """First and last cell whose centre is within `reach` of `middle`, within the grid: (N,
    families).
    """
    low = np.ceil((middle - reach - start) / step - _CELL_MARGIN)
    high = np.floor((middle + reach - start) / step + _CELL_MARGIN)
    return np.maximum(low, 0).astype(np.int64), np.minimum(high, cells - 1).astype(np.int64)
