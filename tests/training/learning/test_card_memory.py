"""A step that does not fit into a card is refused before it is compiled, with what would fit."""

from __future__ import annotations

import dataclasses

import pytest

from data_tools.augment.settings import AugmentSettings
from data_tools.core.errors import SettingError
from training.learning.card_memory import PEAK_GB, check_memory, memory_needed
from training.learning.settings import OptimSettings
from training.nets.settings import model_settings, zoo_names
from training.process.ascend_host import CardUse
from training.process.settings import RuntimeSettings
from training.settings import TrainSettings

CARD = CardUse(3, "910B4", "OK", 100, 32768)
FAST = RuntimeSettings(device="Ascend", precision="fp16", half_norms=True)


def settings_of(network: str, batch: int, **changes: object) -> TrainSettings:
    settings = TrainSettings(model=model_settings(network), batch_size=batch, runtime=FAST)
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def test_every_network_of_the_zoo_is_measured_but_the_demo_s() -> None:
    assert set(PEAK_GB) == set(zoo_names()) - {"ssd_tiny"}
    assert memory_needed(settings_of("ssd_tiny", 32)) is None


def test_recipes_in_half_precision_fit_into_32_gb() -> None:
    for model, (batch, gigabytes) in PEAK_GB.items():
        settings = settings_of(model, batch)
        assert memory_needed(settings) == pytest.approx(gigabytes)
        check_memory(settings, 3, [CARD])


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(
        SettingError, match=r"batch_size=64: .* 39 GB .* card 3 has 32 GB"
    ) as caught:
        check_memory(settings_of("ssd_resnet50_fpn", 64), 3, [CARD])
    told = str(caught.value)
    assert "optim.accumulate=2" in told
    assert "batch_size=46" in told
    accumulated = settings_of("ssd_resnet50_fpn", 64, optim=OptimSettings(accumulate=2))
    check_memory(accumulated, 3, [CARD])
    check_memory(settings_of("ssd_resnet50_fpn", 46), 3, [CARD])
    exact = settings_of("ssd_resnet50_fpn", 32, runtime=RuntimeSettings(device="Ascend"))
    with pytest.raises(SettingError, match=r"runtime\.precision=fp16"):
        check_memory(exact, 3, [CARD])


def test_larger_images_take_more_whether_always_or_in_some_steps() -> None:
    usual = memory_needed(settings_of("ssd_light", 32))
    assert usual is not None
    large = model_settings("ssd_light", image_size=[640, 320])
    assert memory_needed(settings_of("ssd_light", 32, model=large)) == pytest.approx(2 * usual)
    drawn = AugmentSettings(sizes=[[160, 160], [960, 320]])
    assert memory_needed(settings_of("ssd_light", 32, augment=drawn)) == pytest.approx(3 * usual)
    huge = model_settings("ssd_light", image_size=[1280, 1280])
    with pytest.raises(SettingError, match=r"about 51 GB .* batch_size=17"):
        check_memory(settings_of("ssd_light", 32, model=huge), 3, [CARD])


def test_a_card_that_npu_smi_does_not_know_is_not_judged() -> None:
    check_memory(settings_of("ssd_resnet50_fpn", 512), 0, [CARD])
    check_memory(settings_of("ssd_resnet50_fpn", 512), 3, [])
