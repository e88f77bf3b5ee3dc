"""Batches are the same bits for any workers, ranks and starts; every image comes as often as it
should.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.augment.settings import MIXING, AugmentSettings
from data_tools.core.errors import DataError, SettingError
from data_tools.pipeline.batches import TrainBatch
from data_tools.pipeline.pipeline import EvalPipeline, TrainPipeline, verify_shards
from data_tools.pipeline.settings import PipelineSettings
from data_tools.pipeline.worker_buffers import STAGES
from data_tools.shards.manifest import ConvertedSplit, open_split
from data_tools.shards.reader import RowReader
from data_tools.sources.shapes import shape_samples
from tests.helpers.small_pipelines import SIZE, build, small_encoder
from tests.helpers.small_sets import drawn_split, write_split

COUNT = 41
PAPER = AugmentSettings(
    crop="paper", expand_probability=0.5, colour_probability=0.5, brightness_shift=32.0,
    brightness=0.0, contrast=0.5, saturation=0.5, hue_degrees=18.0,
)  # fmt: skip
MIXED = AugmentSettings(
    mosaic_probability=0.5, copy_paste_probability=0.5, affine_probability=0.5,
    mixup_probability=0.5,
    erase_probability=0.5,
)  # fmt: skip
SIZED = dataclasses.replace(MIXED, sizes=[[64, 48], [32, 32], [80, 96]])
PLAIN = AugmentSettings(crop="none", flip_probability=0.0, colour_probability=0.0)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ConvertedSplit:
    return drawn_split(tmp_path_factory.mktemp("set"), COUNT, shards=3)


def digest(batches: Iterable[TrainBatch]) -> str:
    total = hashlib.sha256()
    for batch in batches:
        for array in (batch.images, batch.loc_targets, batch.labels, batch.image_ids):
            total.update(np.ascontiguousarray(array))
    return total.hexdigest()


@pytest.mark.parametrize(
    "augment",
    [AugmentSettings(), PAPER, MIXED, SIZED],
    ids=["published", "paper", "mixed", "sized"],
)
def test_epochs_are_the_same_for_any_number_of_threads(
    split: ConvertedSplit, augment: AugmentSettings
) -> None:
    digests = set()
    for workers, prefetch in ((1, 0), (2, 2), (4, 1), (8, 3)):
        pipeline = build(split, augment, workers=workers, prefetch=prefetch)
        digests.add(digest(pipeline.batches(0, 3 * pipeline.steps_per_epoch)))
        pipeline.close()
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("augment", [AugmentSettings(), MIXED], ids=["published", "mixed"])
def test_epochs_are_the_same_in_processes(split: ConvertedSplit, augment: AugmentSettings) -> None:
    threads = build(split, augment, workers=2)
    stop = 3 * threads.steps_per_epoch
    want = digest(threads.batches(0, stop))
    threads.close()
    for workers, prefetch in ((1, 0), (2, 2), (4, 1), (8, 0)):
        pipeline = build(
            split, augment, workers=workers, prefetch=prefetch, worker_kind="processes"
        )
        try:
            assert digest(pipeline.batches(0, stop)) == want
            # A run that is left early does not spoil the next.
            next(pipeline.batches(0, stop)).images[:] = 0
            assert digest(pipeline.batches(0, stop)) == want
        finally:
            pipeline.close()


@pytest.mark.parametrize(
    "augment", [AugmentSettings(), MIXED, SIZED], ids=["published", "mixed", "sized"]
)
@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_batches_make_up_the_single_devices(
    split: ConvertedSplit, world: int, augment: AugmentSettings
) -> None:
    single = build(split, augment)
    ranks = [
        build(split, augment, batch_size=8 // world, rank=r, world_size=world) for r in range(world)
    ]
    stop = 2 * single.steps_per_epoch
    for whole, *parts in zip(
        single.batches(0, stop), *(p.batches(0, stop) for p in ranks), strict=True
    ):
        for name in ("images", "loc_targets", "labels", "image_ids"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name))
    for pipeline in (single, *ranks):
        pipeline.close()


@pytest.mark.parametrize(
    "augment", [AugmentSettings(), MIXED, SIZED], ids=["published", "mixed", "sized"]
)
def test_a_start_at_any_step_goes_on_as_if_nothing_happened(
    split: ConvertedSplit, augment: AugmentSettings
) -> None:
    pipeline = build(split, augment)
    stop = 2 * pipeline.steps_per_epoch + 3
    digests = [digest([batch]) for batch in pipeline.batches(0, stop)]
    for start in (0, 1, pipeline.steps_per_epoch, stop - 1):
        again = build(split, augment, workers=2)
        assert [digest([batch]) for batch in again.batches(start, stop)] == digests[start:]
        again.close()
    assert [digest([pipeline.batch_at(step)]) for step in (stop - 1, 0, 4)] == [
        digests[stop - 1], digests[0], digests[4],
    ]  # fmt: skip
    pipeline.close()


def test_nothing_before_the_start_is_read(split: ConvertedSplit, monkeypatch: Any) -> None:
    read: list[int] = []
    original = RowReader.read

    def spy(self: RowReader, index: int, *rest: Any) -> Any:
        read.append(index)
        return original(self, index, *rest)

    monkeypatch.setattr(RowReader, "read", spy)
    pipeline = build(split, workers=1)
    list(pipeline.batches(7, 9))
    pipeline.close()
    assert read == [*pipeline.order.rows(7).tolist(), *pipeline.order.rows(8).tolist()]


def test_closing_epochs_are_those_of_a_run_that_never_mixes(split: ConvertedSplit) -> None:
    closing = dataclasses.replace(MIXED, closing_epochs=1.5)
    mixed, plain = build(split, closing, epochs=4.0), build(split, AugmentSettings())
    steps = plain.steps_per_epoch
    for step in range(0, 4 * steps, 3):
        ends = step // steps >= 2.5  # the epoch in which mixing ends has it to its own end
        same = digest([mixed.batch_at(step)]) == digest([plain.batch_at(step)])
        assert same == ends
    never = build(split, dataclasses.replace(MIXED, **dict.fromkeys(MIXING, 1e-12)))
    assert digest([never.batch_at(1)]) == digest([plain.batch_at(1)])


def test_a_step_has_the_size_that_it_drew(split: ConvertedSplit) -> None:
    sized = build(split, dataclasses.replace(PLAIN, sizes=[[64, 48], [32, 32], [80, 96]]))
    seen = Counter()
    for step in range(60):
        seen[sized.size(step)] += 1
    assert set(seen) == {(64, 48), (32, 32), (80, 96)} and min(seen.values()) > 8
    plain = build(split, PLAIN)
    for step in range(8):
        batch, height, width = sized.batch_at(step), *sized.size(step)
        assert batch.images.shape == (8, 3, height, width)
        assert batch.images.flags.c_contiguous
        # The very images that a pipeline of that size alone makes.
        alone = TrainPipeline(
            split, PipelineSettings(), PLAIN, (height, width), small_encoder(), seed=5, batch_size=8
        )
        assert digest([batch]) == digest([alone.batch_at(step)])
        assert (digest([batch]) == digest([plain.batch_at(step)])) == ((height, width) == SIZE)


def test_closing_epochs_have_the_networks_own_size(split: ConvertedSplit) -> None:
    sizes = [[32, 32], [80, 96]]
    augment = dataclasses.replace(PLAIN, sizes=sizes, closing_epochs=1.0)
    sized = build(split, augment, epochs=3.0)
    steps = sized.steps_per_epoch
    assert {sized.size(step) for step in range(2 * steps)} == {(32, 32), (80, 96)}
    assert {sized.size(step) for step in range(2 * steps, 3 * steps)} == {SIZE}


def test_partners_are_drawn_as_often_as_the_sampler_shows_them(split: ConvertedSplit) -> None:
    order = build(split, sampler="class_balanced").order
    rows = order.at(0, (np.arange(COUNT) + 0.5) / COUNT)
    drawn = np.concatenate([order.rows(step) for step in range(order.steps_per_epoch)])
    np.testing.assert_array_equal(rows[: len(drawn)], drawn)


def test_a_damaged_partner_is_named(split: ConvertedSplit, monkeypatch: Any) -> None:
    pipeline = build(split, dataclasses.replace(MIXED, mosaic_probability=1.0), workers=1)
    original, main = RowReader.read, set(pipeline.order.rows(0).tolist())
    broken: list[int] = []

    def damaged(self: RowReader, index: int, *rest: Any) -> Any:
        row = original(self, index, *rest)
        if index in main:
            return row
        broken.append(row.image_id)
        return dataclasses.replace(row, image=np.zeros(9, np.uint8))

    monkeypatch.setattr(RowReader, "read", damaged)
    with pytest.raises(DataError) as caught:
        pipeline.batch_at(0)
    assert any(f"image {image_id} (row " in str(caught.value) for image_id in broken)


def test_an_epoch_holds_each_image_once(split: ConvertedSplit) -> None:
    pipeline = build(split)
    ids = [batch.image_ids for batch in pipeline.batches(0, pipeline.steps_per_epoch)]
    pipeline.close()
    flat = np.concatenate(ids).tolist()
    assert len(flat) == len(set(flat)) == COUNT // 8 * 8


def test_epochs_and_seeds_differ(split: ConvertedSplit) -> None:
    pipeline, other = build(split), build(split, seed=6)
    steps = pipeline.steps_per_epoch
    first, second = (digest(pipeline.batches(e * steps, (e + 1) * steps)) for e in range(2))
    assert len({first, second, digest(other.batches(0, steps))}) == 3
    pipeline.close()
    other.close()


def test_the_same_image_is_shown_differently_in_another_epoch(split: ConvertedSplit) -> None:
    pipeline = build(split, batch_size=COUNT, last_batch="wrap")
    one, two = pipeline.batch_at(0), pipeline.batch_at(1)
    shown = dict(zip(two.image_ids.tolist(), two.images, strict=True))
    differ = [
        not np.array_equal(image, shown[number])
        for number, image in zip(one.image_ids.tolist(), one.images, strict=True)
    ]
    assert np.mean(differ) > 0.95


def test_batches_have_the_shapes_and_kinds_promised(split: ConvertedSplit) -> None:
    batch = build(split).batch_at(3)
    anchors = small_encoder().num_anchors
    assert (batch.step, batch.images.shape, batch.images.dtype) == (3, (8, 3, *SIZE), np.uint8)
    assert (batch.loc_targets.shape, batch.loc_targets.dtype) == ((8, anchors, 4), np.float32)
    assert (batch.labels.shape, batch.labels.dtype) == ((8, anchors), np.int32)
    assert batch.image_ids.dtype == np.int64
    assert batch.stage_seconds.shape == (len(STAGES),) and (batch.stage_seconds > 0).all()
    assert (batch.labels > 0).any() and not batch.loc_targets[batch.labels <= 0].any()


def test_arrays_handed_out_are_the_callers(split: ConvertedSplit) -> None:
    pipeline = build(split, workers=2)
    kept = list(pipeline.batches(0, 6))
    before = digest(kept)
    list(pipeline.batches(6, 12))
    assert digest(kept) == before
    pipeline.close()
    pipeline.close()


def test_without_augmentation_images_are_resized_as_for_evaluation(split: ConvertedSplit) -> None:
    train = build(split, PLAIN, batch_size=COUNT).batch_at(0)
    shown = dict(zip(train.image_ids.tolist(), train.images, strict=True))
    for batch in EvalPipeline(split, SIZE, 8).batches():
        for number, image in zip(batch.image_ids.tolist(), batch.images, strict=True):
            if number >= 0:
                np.testing.assert_array_equal(image, shown[number])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_every_image_once(split: ConvertedSplit, world: int) -> None:
    ids, counts = [], set()
    for rank in range(world):
        pipeline = EvalPipeline(split, SIZE, 4, rank=rank, world_size=world)
        batches = list(pipeline.batches())
        counts.add(len(batches))
        assert pipeline.num_batches == len(batches)
        for batch in batches:
            assert batch.images.shape == (4, 3, *SIZE)
            padded = batch.image_ids < 0
            assert not batch.images[padded].any() and not batch.heights[padded].any()
            assert (batch.heights[~padded] >= 90).all() and (batch.widths[~padded] >= 90).all()
            ids += batch.image_ids[~padded].tolist()
    assert len(counts) == 1
    assert len(ids) == len(set(ids)) == COUNT


def test_too_small_a_split_says_what_to_do(split: ConvertedSplit) -> None:
    with pytest.raises(SettingError, match=r"batch_size=64 .*only 41.*last_batch=wrap"):
        build(split, batch_size=64)
    pipeline = build(split, batch_size=64, last_batch="wrap")
    assert len(set(pipeline.batch_at(0).image_ids.tolist())) == COUNT


def scenes(count: int) -> list[Any]:
    return list(shape_samples(2, "train", count, min_side=64, max_side=80))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda row: {**row, "image": row["image"][: len(row["image"]) // 3]}, "do not decode"),
        (lambda row: {**row, "image": b"no image"}, "8 bytes do not decode"),
        (lambda row: {**row, "height": row["height"] + 1}, "decodes to .* its row says"),
        (lambda row: {**row, "num_boxes": 40}, "do not hold 40 boxes"),
    ],
)
def test_a_bad_row_names_shard_and_image(
    tmp_path: Path, damage: Any, message: str, workers: int
) -> None:
    made = scenes(9)
    split = write_split(
        tmp_path, made, shards=3, change=lambda i, row: damage(row) if i == 4 else row
    )
    pipeline = build(split, batch_size=3, workers=workers)
    with pytest.raises(DataError, match=message) as caught:
        list(pipeline.batches(0, pipeline.steps_per_epoch))
    pipeline.close()
    assert f"train-00001.mindrecord: image {made[4].image_id} (row 4" in str(caught.value)
    assert "verify=" in str(caught.value)


def test_a_bad_row_in_evaluation_names_shard_and_image(tmp_path: Path) -> None:
    change = lambda i, row: {**row, "image": b"x"} if i == 2 else row  # noqa: E731
    split = write_split(tmp_path, scenes(3), shards=1, change=change)
    with pytest.raises(DataError, match=r"00000\.mindrecord: image \d+ .*do not decode"):
        list(EvalPipeline(split, SIZE, 2).batches())


def test_a_shard_cut_short_while_training_names_it(tmp_path: Path) -> None:
    split = drawn_split(tmp_path, 8, shards=1)
    path = split.shard_paths[0]
    path.write_bytes(path.read_bytes()[: (1 << 20) + 20_000])
    pipeline = build(split, batch_size=8)
    with pytest.raises(DataError, match=r"train-00000.*image \d+ .*ends within the row"):
        pipeline.batch_at(0)


def test_a_missing_shard_names_it(tmp_path: Path) -> None:
    split = drawn_split(tmp_path, 8, shards=2)
    split.shard_paths[1].unlink()
    with pytest.raises(
        DataError, match=r"train-00001\.mindrecord.*cannot be opened.*images \d+ to"
    ):
        build(split, batch_size=8).batch_at(0)
    with pytest.raises(DataError, match=r"train-00001\.mindrecord.*missing"):
        open_split(tmp_path, "train")


def test_a_shard_swapped_for_another_is_found(tmp_path: Path) -> None:
    split = drawn_split(tmp_path / "a", 8, shards=2)
    other = write_split(tmp_path / "b", scenes(30)[20:24], shards=1)
    for suffix in ("", ".db"):
        target = split.folder / f"train-00000.mindrecord{suffix}"
        target.write_bytes((other.folder / f"train-00000.mindrecord{suffix}").read_bytes())
    with pytest.raises(DataError, match=r"train-00000.*swapped for another"):
        build(split, batch_size=8).batch_at(0)
    with pytest.raises(DataError, match=r"train-00000.*sha256 is not the manifest's"):
        build(split, batch_size=8, verify=True)


def test_two_shards_exchanged_are_found(tmp_path: Path) -> None:
    split = drawn_split(tmp_path, 8, shards=2)
    one, two = split.shard_paths
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    with pytest.raises(DataError, match="train-0000"):
        build(split, batch_size=8).batch_at(0)


def test_verify_accepts_a_whole_set(split: ConvertedSplit) -> None:
    verify_shards(split)
    build(split, verify=True).close()


def test_images_without_boxes_are_negatives(tmp_path: Path) -> None:
    def nothing(index: int, row: dict[str, Any]) -> dict[str, Any]:
        names = ("boxes", "labels", "iscrowd", "difficult")
        return {**row, "num_boxes": 0, **{name: row[name][:1] for name in names}}

    split = write_split(tmp_path, scenes(4), shards=1, change=nothing)
    batch = build(split, batch_size=4).batch_at(0)
    assert not batch.labels.any() and not batch.loc_targets.any() and batch.images.any()
    paper = build(split, PAPER, batch_size=4).batch_at(0)
    assert not paper.labels.any() and paper.images.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("augment", [AugmentSettings(), PAPER, PLAIN])
def test_boxes_that_are_not_finite_never_reach_the_loss(
    tmp_path: Path, augment: AugmentSettings, value: float
) -> None:
    def spoil(index: int, row: dict[str, Any]) -> dict[str, Any]:
        boxes = row["boxes"].copy()
        boxes[0, index % 4] = value
        return {**row, "boxes": boxes}

    made = [s for s in scenes(20) if len(s.boxes_yxyx_px) > 1][:8]
    pipeline = build(write_split(tmp_path, made, shards=1, change=spoil), augment, batch_size=8)
    for step in range(3):
        batch = pipeline.batch_at(step)
        assert np.isfinite(batch.loc_targets).all() and (batch.labels > 0).any()


def test_published_tools_shards_are_read(tmp_path: Path) -> None:
    from mindspore.mindrecord import FileWriter

    made = [s for s in scenes(12) if len(s.boxes_yxyx_px)][:4]
    folder = tmp_path / "train"
    folder.mkdir()
    path = folder / "ssd.mindrecord0"
    writer = FileWriter(str(path), shard_num=1)
    writer.add_schema(
        {
            "img_id": {"type": "int32", "shape": [1]},
            "image": {"type": "bytes"},
            "annotation": {"type": "int32", "shape": [-1, 5]},
        },
        "ssd_json",
    )
    for sample in made:
        boxes = np.round(sample.boxes_yxyx_px).astype(np.int32)
        annotation = np.concatenate([boxes, np.ones((len(boxes), 1), np.int32)], axis=1)
        writer.write_raw_data(
            [
                {
                    "img_id": np.array([sample.image_id], np.int32),
                    "image": sample.read_bytes(),
                    "annotation": annotation,
                }
            ]
        )
    writer.commit()
    split = published_split(folder, path, made)
    row = RowReader(split)[1]
    assert row.image_id == made[1].image_id
    np.testing.assert_array_equal(row.boxes_yxyx_px, np.round(made[1].boxes_yxyx_px))
    batch = build(split, batch_size=4).batch_at(0)
    assert sorted(batch.image_ids.tolist()) == sorted(s.image_id for s in made)
    assert (batch.labels == 1).any()


def published_split(folder: Path, path: Path, made: list[Any]) -> ConvertedSplit:
    from data_tools.core.sample import ClassInfo
    from data_tools.shards.manifest import Manifest, ShardInfo
    from data_tools.shards.schema import PUBLISHED_FORMAT

    ids = [sample.image_id for sample in made]
    info = ShardInfo(path.name, len(made), path.stat().st_size, "", "", min(ids), max(ids))
    Manifest(
        "train", (ClassInfo(1, "a", 1),), (info,), {"images": len(made)}, format=PUBLISHED_FORMAT
    ).write(folder)
    return open_split(folder.parent, "train")
