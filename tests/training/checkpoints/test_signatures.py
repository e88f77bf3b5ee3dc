"""The table of names and shapes is that of the networks."""

from __future__ import annotations

import json

import pytest

from training.checkpoints.classifier_names import ROWS
from training.checkpoints.signatures import (
    TABLE,
    backbone_shapes,
    built_backbone_shapes,
    built_signature,
    signature,
)
from training.nets.settings import zoo_names

AGAIN = "a network has changed: run python -m training.checkpoints.signatures"


@pytest.mark.parametrize("name", zoo_names())
def test_the_table_has_every_network_as_it_is(name: str) -> None:
    assert name in json.loads(TABLE.read_text())["networks"], AGAIN
    built = built_signature(name)
    assert signature(name) == built, AGAIN
    assert list(signature(name).shapes) == list(built.shapes), AGAIN


@pytest.mark.parametrize("classifier", ROWS)
def test_the_table_has_every_backbone_as_it_is(classifier: str) -> None:
    shapes = backbone_shapes(classifier)
    assert shapes == built_backbone_shapes(classifier), AGAIN
    assert {name.rpartition(".")[0] for name in shapes} == {row[0] for row in ROWS[classifier]()}
