"""Which checkpoints a run may go on from, and how a refusal reads."""

from __future__ import annotations

import dataclasses

import pytest

from data_tools.core.errors import CheckpointError
from data_tools.pipeline.settings import PipelineSettings
from training.checkpoints.checkpoint import Card
from training.checkpoints.resume import check_resumable, differences
from training.checkpoints.settings import CheckpointSettings
from training.learning.settings import OptimSettings
from training.settings import TrainSettings


def card_of(settings: TrainSettings, **changes: object) -> Card:
    card = Card(
        step=10,
        epoch=1,
        seed=settings.seed,
        model=dataclasses.asdict(settings.model),
        num_classes=7,
        classes=[{"label": 1, "name": "ring", "category_id": 1}],
        data_fingerprint="a" * 64,
        settings=dataclasses.asdict(settings),
        global_batch=32,
    )
    return dataclasses.replace(card, **changes)  # type: ignore[arg-type]


def test_the_same_run_may_go_on_with_other_paths_and_limits() -> None:
    then = TrainSettings(data="a", max_steps=10, workers=1)
    now = TrainSettings(data="b", max_steps=99, workers=2, resume=True, output="moved")
    assert differences(card_of(then), now, card_of(now)) == ([], [])


def test_differences_are_listed_and_refused_unless_accepted() -> None:
    then = TrainSettings(seed=1)
    now = TrainSettings(seed=2, optim=OptimSettings(lr=0.1))
    expected = card_of(now, data_fingerprint="b" * 64, global_batch=64)
    with pytest.raises(CheckpointError) as caught:
        check_resumable(card_of(then), now, expected, "step.ckpt")
    text = str(caught.value)
    for line in (
        "seed: 1 in the checkpoint, 2 in this run",
        "optim.lr: 0.05 in the checkpoint, 0.1 in this run",
        "data fingerprint: aaaaaaaaaaaaaaaa... in the checkpoint",
        "global batch: 32 in the checkpoint, 64 in this run",
        "checkpoint.accept_changes=true",
    ):
        assert line in text
    willing = dataclasses.replace(now, checkpoint=CheckpointSettings(accept_changes=True))
    assert len(check_resumable(card_of(then), willing, expected, "step.ckpt")) == 4


@pytest.mark.parametrize(
    ("norm", "refused"),
    [
        ("local", ["optim.accumulate: 1 in the checkpoint, 2 in this run"]),
        ("sync", ["optim.accumulate: 1 in the checkpoint, 2 in this run"]),
        ("frozen", []),
    ],
)
def test_other_parts_of_a_batch_matter_where_batch_norm_sees_them(
    norm: str, refused: list[str]
) -> None:
    model = dataclasses.replace(TrainSettings().model, norm=norm)
    then = TrainSettings(model=model)
    now = TrainSettings(model=model, optim=OptimSettings(accumulate=2))
    assert differences(card_of(then), now, card_of(now)) == ([], refused)


def test_another_model_is_refused_whatever_is_accepted() -> None:
    then = TrainSettings()
    now = TrainSettings(checkpoint=CheckpointSettings(accept_changes=True))
    other = dataclasses.replace(now.model, image_size=[320, 320])
    expected = card_of(now, model=dataclasses.asdict(other), num_classes=3)
    with pytest.raises(CheckpointError, match="of another model") as caught:
        check_resumable(card_of(then), now, expected, "step.ckpt")
    assert "model.image_size: [300, 300] in the checkpoint, [320, 320]" in str(caught.value)
    assert "num_classes: 7 in the checkpoint, 3 in this run" in str(caught.value)


def test_a_card_older_than_a_setting_had_its_default() -> None:
    card = card_of(TrainSettings())
    for section in ("augment", "pipeline", "loss", "optim"):
        old = card.settings[section]
        card.settings[section] = {key: old[key] for key in list(old)[:3]}
    now = TrainSettings()
    assert differences(card, now, card_of(now)) == ([], [])
    changed = TrainSettings(pipeline=PipelineSettings(sampler="class_balanced"))
    assert differences(card, changed, card_of(changed)) == (
        [], ["pipeline.sampler: uniform in the checkpoint, class_balanced in this run"],
    )  # fmt: skip
