"""Drawn scenes with ground truth true to half a pixel: the data set that the project makes for
itself.

Scene k of a seed is a pure function of (seed, split, k). Other sources read files; this one draws.
Each scene has a textured background, overlapping shapes of all sizes with random colours (so that
only the form tells the class), now and then no object at all, and now and then a crowd of one
class.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.sample import Sample

CLASS_NAMES = ("circle", "square", "triangle", "star", "cross", "ring")

CATEGORY_IDS = (1, 2, 3, 5, 8, 13)
"""Source ids with gaps, as COCO's have, so that nobody mistakes them for labels."""

_EMPTY_SHARE = 0.06
_QUALITY = 92
_CROWD_SHARE = 0.06
_MIN_VISIBLE = 0.45

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Shape:
    """A shape in place: class index, polygons (outer, then holes) in pixels, colour."""

    kind: int
    polygons: tuple[Array, ...]
    colour: tuple[int, int, int]

    @property
    def box_yxyx_px(self) -> Array:
        low, high = self.polygons[0].min(axis=0), self.polygons[0].max(axis=0)
        return np.array([low[1], low[0], high[1], high[0]])


def scene_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the generator of scene `index`: counter-based, keyed by (seed, split and index)."""
    stream = (zlib.crc32(split.encode()) << 32) | index
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], np.uint64)))


def shape_samples(
    seed: int,
    split: str,
    count: int,
    *,
    min_side: int = 160,
    max_side: int = 320,
) -> Iterator[Sample]:
    """Yield `count` drawn scenes as samples with JPEG bytes, ids 1..count.

    Args:
        seed: Seed of the set.
        split: Name of the split; other splits get other scenes.
        count: Number of scenes.
        min_side: Smallest image side in pixels.
        max_side: Largest image side in pixels.

    Yields:
        Samples sorted by image id.
    """
    annotation_id = 1
    for index in range(count):
        image, shapes, visible_px, crowd = draw_scene(
            scene_rng(seed, split, index), min_side, max_side
        )
        ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert ok
        boxes = np.array([s.box_yxyx_px for s in shapes], np.float64).reshape(-1, 4)
        areas = np.array(visible_px, np.float64)
        kinds = [s.kind for s in shapes]
        if crowd is not None:
            kind, box, crowd_px = crowd
            boxes = np.concatenate([boxes, box[None]])
            areas = np.append(areas, crowd_px)
            kinds.append(kind)
        number = len(kinds)
        iscrowd = np.zeros(number, bool)
        if crowd is not None:
            iscrowd[-1] = True
        height, width = image.shape[:2]
        yield Sample(
            image_id=index + 1,
            file_name=f"{split}_{index + 1:06d}.jpg",
            path=None,
            height=height,
            width=width,
            boxes_yxyx_px=boxes,
            category_ids=np.array([CATEGORY_IDS[k] for k in kinds], np.int64),
            iscrowd=iscrowd,
            difficult=np.zeros(number, bool),
            areas_px=areas,
            annotation_ids=np.arange(annotation_id, annotation_id + number, dtype=np.int64),
            image=encoded.tobytes(),
        )
        annotation_id += number


def draw_scene(
    rng: np.random.Generator, min_side: int, max_side: int
) -> tuple[npt.NDArray[np.uint8], list[_Shape], list[int], tuple[int, Array, int] | None]:
    """Draw one scene.

    Args:
        rng: The scene's own generator.
        min_side: Smallest image side in pixels.
        max_side: Largest image side in pixels.

    Returns:
        The BGR image (H, W, 3) uint8; the shapes that can be recognised (at least 45 % visible);
        their visible pixels; and the crowd as (class index, yxyx box, pixels), or None.
    """
    height, width = (int(v) for v in rng.integers(min_side, max_side + 1, 2))
    image = _background(rng, height, width)
    if rng.random() < _EMPTY_SHARE:
        return image, [], [], None
    crowd = None
    owner = np.full((height, width), -1, np.int32)
    if rng.random() < _CROWD_SHARE:
        crowd = _draw_crowd(rng, image)
    side = min(height, width)
    shapes: list[_Shape] = []
    total_px: list[int] = []
    for _ in range(int(rng.integers(1, 8))):
        # Log-uniform sizes: as many small objects as large ones.
        size = side * float(np.exp(rng.uniform(np.log(0.11), np.log(0.65))))
        centre = rng.uniform([size / 2, size / 2], [width - size / 2, height - size / 2])
        shape = _free_box(rng, int(rng.integers(len(CLASS_NAMES))), centre, size)
        mask = np.zeros((height, width), np.uint8)
        _fill(mask, shape.polygons, 1)
        before = np.bincount(owner[owner >= 0], minlength=len(shapes))
        covered = np.bincount(owner[(owner >= 0) & (mask > 0)], minlength=len(shapes))
        if np.any(before - covered < _MIN_VISIBLE * np.array(total_px)):
            continue  # it would hide an earlier shape: leave it out
        if crowd is not None and _touches(shape.box_yxyx_px, crowd[1]):
            continue
        owner[mask > 0] = len(shapes)
        _fill(image, shape.polygons, shape.colour)
        shapes.append(shape)
        total_px.append(int(mask.sum()))
    visible = [int(v) for v in np.bincount(owner[owner >= 0], minlength=len(shapes))]
    noise = rng.normal(0, 5, image.shape)
    image[:] = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image, shapes, visible, crowd


def _touches(a: Array, b: Array) -> bool:
    return bool(np.all(np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])))


def _background(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A smooth random texture with a few faint lines: (H, W, 3) uint8, muted colours."""
    coarse = rng.uniform(100, 170, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.clip(image, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 5))):
        start, end = (tuple(int(v) for v in rng.integers(0, [width, height])) for _ in range(2))
        colour = tuple(int(v) for v in rng.integers(60, 200, 3))
        cv2.line(image, start, end, colour, 1, cv2.LINE_AA)
    return image


def _draw_crowd(rng: np.random.Generator, image: npt.NDArray[np.uint8]) -> tuple[int, Array, int]:
    """Draw a patch of many tiny shapes of one class; returns (class index, yxyx box, pixels)."""
    height, width = image.shape[:2]
    kind = int(rng.integers(len(CLASS_NAMES)))
    patch = np.array([width, height]) * rng.uniform(0.25, 0.45, 2)
    corner = rng.uniform([0, 0], [width - patch[0], height - patch[1]])
    mask = np.zeros((height, width), np.uint8)
    size = min(height, width) * 0.06
    for _ in range(18):
        centre = corner + rng.uniform(size / 2, patch - size / 2)
        shape = _free_box(rng, kind, centre, size)
        _fill(image, shape.polygons, shape.colour)
        _fill(mask, shape.polygons, 1)
    box = np.array([corner[1], corner[0], corner[1] + patch[1], corner[0] + patch[0]])
    return kind, box, int(mask.sum())


def _free_box(rng: np.random.Generator, kind: int, centre: Array, size: float) -> _Shape:
    """Put a shape of a class at `centre` (x, y) so that it fits a square of `size` pixels."""
    angle = rng.uniform(-0.25, 0.25)
    stretch = np.array([1.0, rng.uniform(0.7, 1.0)])[:: 1 if rng.random() < 0.5 else -1]
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    polygons = [points @ rotation.T * stretch for points in _outline(kind)]
    extent = max(float(np.ptp(polygons[0][:, 0])), float(np.ptp(polygons[0][:, 1])))
    middle = (polygons[0].min(axis=0) + polygons[0].max(axis=0)) / 2
    placed = tuple((points - middle) * (size / extent) + centre for points in polygons)
    # Strong colours on a muted ground, light or dark, any hue: colour does not tell the class.
    hue, light = rng.uniform(0, 180), rng.choice([60, 255])
    pixel = np.array([[[hue, rng.uniform(120, 255), light]]], np.uint8)
    blue, green, red = (int(v) for v in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])
    return _Shape(kind, placed, (blue, green, red))


def _outline(kind: int) -> list[Array]:
    """The outline of a class around the origin, about one unit wide: outer polygon, then holes."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    name = CLASS_NAMES[kind]
    if name == "circle":
        return [circle]
    if name == "ring":
        return [circle, circle * 0.55]
    if name == "square":
        return [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)]
    if name == "triangle":
        return [np.array([[0, -1], [1, 0.9], [-1, 0.9]], np.float64)]
    if name == "star":
        spikes = np.linspace(0, 2 * np.pi, 10, endpoint=False) - np.pi / 2
        radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
        return [np.stack([np.cos(spikes), np.sin(spikes)], axis=1) * radius[:, None]]
    arm = 0.33
    quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]], np.float64)
    quarter_turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    corners = [quarter]
    for _ in range(3):
        corners.append(corners[-1] @ quarter_turn.T)
    return [np.concatenate(corners)]


def _fill(
    image: npt.NDArray[np.uint8],
    polygons: tuple[Array, ...],
    colour: int | tuple[int, int, int],
) -> None:
    """Fill polygons with their holes; hard edges, so that every pixel belongs to one shape."""
    # OpenCV's pixel centres are at whole numbers, ours at halves.
    points = [np.round(p - 0.5).astype(np.int32) for p in polygons]
    cv2.fillPoly(image, points, colour)
