"""Settings that cannot work are refused with their key, the value got and what is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from data_tools.augment.settings import AugmentSettings
from data_tools.core.errors import SettingError
from data_tools.pipeline.settings import PipelineSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": -1}, r"pipeline\.workers=-1: expected a number >= 0"),
        ({"worker_kind": "fibres"}, r"pipeline\.worker_kind='fibres': .*threads, processes"),
        ({"prefetch": -1}, r"pipeline\.prefetch=-1"),
        ({"last_batch": "keep"}, r"pipeline\.last_batch='keep': .*drop, wrap"),
        ({"crowd_ignore": 0.0}, r"pipeline\.crowd_ignore=0\.0: expected 0 < x <= 1"),
    ],
)
def test_pipeline_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        PipelineSettings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "center"}, r"augment\.crop='center': .*none, published, paper"),
        ({"crop_min_overlaps": [0.5, 2]}, r"augment\.crop_min_overlaps="),
        ({"crop_scale": [0.0, 1.0]}, r"augment\.crop_scale=.*0 < low <= high <= 1"),
        ({"crop_scale": [0.5]}, r"augment\.crop_scale=.*two numbers"),
        ({"crop_aspect": [2.0, 0.5]}, r"augment\.crop_aspect="),
        ({"crop_trials": 0}, r"augment\.crop_trials=0"),
        ({"crop_trials": 10**9}, r"augment\.crop_trials=1000000000: expected 1\.\.10000"),
        ({"crop_slack": -0.1}, r"augment\.crop_slack=-0\.1"),
        ({"expand_max": 0.5}, r"augment\.expand_max=0\.5"),
        ({"expand_fill": [1, 2]}, r"augment\.expand_fill=.*three numbers"),
        ({"flip_probability": 1.5}, r"augment\.flip_probability=1\.5"),
        ({"contrast": 1.5}, r"augment\.contrast=1\.5"),
        ({"hue_degrees": 181}, r"augment\.hue_degrees=181"),
    ],
)
def test_augment_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        AugmentSettings(**options)
