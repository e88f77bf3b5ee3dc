"""The summary: its numbers against counts made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from training.nets.settings import model_settings, zoo_names
from training.nets.summary import describe, measure, print_summary, receptive_fields


def test_parameters_and_multiplications_of_ssd_tiny() -> None:
    from training.nets.build import build_network
    from training.nets.zoo.ssd_tiny import STAGES, STEM

    model = model_settings("ssd_tiny")
    parts = measure(model, 7)
    network = build_network(model, 7)
    assert sum(p.parameters for p in parts) == sum(p.size for p in network.trainable_params())
    side, channels, macs = 160, 3, 0
    heads = 0
    for stage, layers in enumerate((STEM, *STAGES)):
        for width, kernel, stride in layers:
            side //= stride
            macs += side * side * kernel**2 * channels * width
            channels = width
        if stage:
            heads += side * side * 9 * channels * 4 * (4 + 7)
    assert sum(p.macs for p in parts) == macs + heads


def test_receptive_fields_of_ssd_tiny() -> None:
    from training.nets.zoo.ssd_tiny import STAGES, STEM

    size, jump, want = 1, 1, []
    for stage, layers in enumerate((STEM, *STAGES)):
        for _, kernel, stride in layers:
            size += (kernel - 1) * jump
            jump *= stride
        if stage:
            want.append(size)
    model = model_settings("ssd_tiny", image_size=[640, 640])
    assert receptive_fields(model) == want


def test_receptive_field_is_at_most_the_image() -> None:
    model = model_settings("ssd_tiny", image_size=[64, 64])
    assert receptive_fields(model)[-1] == 64


def test_shared_layers_count_once_as_parameters_and_each_time_as_work() -> None:
    model = model_settings("ssd_mobilenet_v1_fpn", image_size=[128, 128])
    parts = {p.name: p for p in measure(model, 5)}
    tower = parts["multi_box.addition_layer_loc"]
    assert tower.convolutions == 4
    assert tower.parameters == 4 * (256 * 256 * 9 + 256) + 4 * 5 * 2 * 256
    cells = 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2 + 1
    assert tower.macs == 4 * cells * 256 * 256 * 9


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo_names())
def test_every_network_can_be_described(name: str, repository: Path) -> None:
    model = model_settings(name)
    text = describe(model, 81)
    assert text.startswith(f"{name}: {model.image_size[0]}x{model.image_size[1]}")
    # The tables of the family give the numbers that a user sees here.
    found = re.search(r"(\d+) default boxes\n([\d,]+) parameters, ([\d.]+) GMACs", text)
    assert found is not None
    boxes, parameters, gmacs = found.groups()
    for page in ("README.md", "docs/models.md"):
        lines = (repository / page).read_text().splitlines()
        (row,) = [line for line in lines if line.startswith(f"| `{name}`") and "GMAC" not in line]
        assert f"| {int(boxes):,} | {parameters} | {gmacs} |" in row, page


def test_print_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_summary(model_settings("ssd_tiny"), 7) == 0
    out = capsys.readouterr().out
    assert "2100 default boxes" in out
    assert "20x20" in out
