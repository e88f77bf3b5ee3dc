"""The loss on held-out images: that of training on whole images, the same for any batches, told and
logged.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.augment.settings import AugmentSettings
from data_tools.pipeline.pipeline import EvalPipeline, TrainPipeline
from data_tools.pipeline.settings import PipelineSettings
from data_tools.shards.manifest import ConvertedSplit, open_split
from tests.helpers.run_helpers import make_set
from training.boxes.build import build_encoder
from training.evaluation.evaluate import evaluate
from training.evaluation.settings import EvaluateSettings
from training.learning.losses import build_loss
from training.learning.settings import LossSettings
from training.nets.build import build_network
from training.nets.settings import model_settings
from training.process.world import World
from training.run.validation_loss import LossAndDetections
from training.watching.log import LogFile, read_log

MODEL = model_settings("ssd_tiny", image_size=[64, 64])
SIZE = (64, 64)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ConvertedSplit:
    return open_split(make_set(tmp_path_factory.mktemp("set") / "data", train=7, val=1), "train")


@pytest.fixture(scope="module")
def judge() -> LossAndDetections:
    network = build_network(MODEL, 7, seed=3).set_train(False)
    return LossAndDetections(network, build_loss(LossSettings()), build_encoder(MODEL))


def test_targets_are_those_of_training_without_augmentation(split: ConvertedSplit) -> None:
    encoder = build_encoder(MODEL)
    none = AugmentSettings(crop="none", flip_probability=0.0, colour_probability=0.0)
    training = TrainPipeline(split, PipelineSettings(), none, SIZE, encoder, seed=1, batch_size=7)
    want = training.batch_at(0)
    found = list(EvalPipeline(split, SIZE, 5, encode=encoder).batches())
    places = {int(k): place for place, k in enumerate(want.image_ids)}
    seen = 0
    for batch in found:
        assert batch.loc_targets is not None and batch.labels is not None
        for k, image_id in enumerate(batch.image_ids.tolist()):
            if image_id < 0:
                assert (batch.labels[k] == -1).all() and not batch.loc_targets[k].any()
                continue
            place = places[image_id]
            np.testing.assert_array_equal(batch.images[k], want.images[place])
            np.testing.assert_array_equal(batch.labels[k], want.labels[place])
            np.testing.assert_array_equal(batch.loc_targets[k], want.loc_targets[place])
            seen += 1
    assert seen == 7
    assert next(iter(EvalPipeline(split, SIZE, 5).batches())).labels is None


def slow_focal(loc: Any, logits: Any, targets: Any, labels: Any) -> tuple[float, float]:
    """The focal loss and smooth L1 of one image in float64, class by class as the papers write
    them.
    """
    kind = LossSettings()
    counted = labels >= 0
    right = np.zeros(logits.shape, bool)
    right[np.arange(len(labels)), np.maximum(labels, 0)] = True
    score = 1 / (1 + np.exp(-logits.astype(np.float64)))
    of_right = -kind.alpha * (1 - score) ** kind.gamma * np.log(score)
    of_wrong = -(1 - kind.alpha) * score**kind.gamma * np.log(1 - score)
    total = np.where(right, of_right, of_wrong)[counted].sum()
    off = np.abs(loc.astype(np.float64) - targets)[labels > 0]
    total += kind.loc_weight * np.where(off < 1, 0.5 * off**2, off - 0.5).sum()
    return float(total), float((labels > 0).sum())


@pytest.mark.slow
def test_it_is_the_slow_loss_and_detections_are_those_without_it(
    split: ConvertedSplit, judge: LossAndDetections
) -> None:
    import mindspore as ms

    from training.inference.predictor import build_predictor

    network = build_network(MODEL, 7, seed=3).set_train(False)
    normal = (np.array(MODEL.mean), np.array(MODEL.std))
    total = positives = 0.0
    for batch in EvalPipeline(split, SIZE, 4, encode=judge.encoder).batches():
        real = batch.image_ids >= 0
        pixels = (batch.images - normal[0].reshape(3, 1, 1)) / normal[1].reshape(3, 1, 1)
        loc, logits = network.raw(ms.Tensor(pixels.astype(np.float32)))
        assert batch.loc_targets is not None and batch.labels is not None
        parts = (loc.asnumpy(), logits.asnumpy(), batch.loc_targets, batch.labels)
        for k in np.flatnonzero(real):
            more = slow_focal(*(part[k] for part in parts))
            total, positives = total + more[0], positives + more[1]
    settings = EvaluateSettings(batch_size=4, score_floor=0.0)
    found = evaluate(None, split, SIZE, settings, judge=judge, show_progress=False)
    assert judge.take(World()) == pytest.approx(total / positives, rel=1e-5)
    plain = evaluate(build_predictor(network, 4), split, SIZE, settings, show_progress=False)
    for field in dataclasses.fields(plain.detections):
        a, b = getattr(found.detections, field.name), getattr(plain.detections, field.name)
        np.testing.assert_array_equal(a, b)
    assert found.metrics["coco"] == plain.metrics["coco"]


@pytest.mark.slow
def test_its_digits_do_not_depend_on_ranks(split: ConvertedSplit, judge: LossAndDetections) -> None:
    def loss_of(world: int) -> float:
        for rank in range(world):
            pipeline = EvalPipeline(split, SIZE, 4, rank=rank, world_size=world,
                                    encode=judge.encoder)  # fmt: skip
            for batch in pipeline.batches():
                judge(batch)
        return judge.take(World())

    assert loss_of(1) == loss_of(2) == loss_of(3)


def test_a_loss_that_is_not_finite_is_nan(judge: LossAndDetections) -> None:
    judge.sums = [(1, 2.0, 1.0), (2, float("inf"), 1.0)]
    assert np.isnan(judge.take(World()))
    assert judge.take(World()) == 0.0  # no images


def test_a_log_line_is_amended_in_place(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.jsonl")
    log.amend(1, {"val_loss": 1.0})  # no file yet
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    log.amend(2, {"val_loss": 1.0})  # not the last line
    log.amend(3, {"val_loss": 2.0})
    log.amend(3, {"val_loss": 3.0})
    assert read_log(log.path)[:2] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]
    assert read_log(log.path)[2] == {"step": 3, "loss": 0.5, "val_loss": 3.0}
    (tmp_path / "one.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    LogFile(tmp_path / "one.jsonl").amend(1, {"val_loss": None})
    assert read_log(tmp_path / "one.jsonl") == [{"step": 1, "loss": 2.0, "val_loss": None}]
