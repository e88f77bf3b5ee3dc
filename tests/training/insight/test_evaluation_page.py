"""`report.html` of an evaluation: what stands in it, how large it gets, and (slow) that a browser
shows it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.browser import Browser
from tests.helpers.eval_fixtures import shapes_split
from tests.helpers.pages import data_of
from training.commands.evaluate import run
from training.evaluation.settings import EvalCommand


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluate the truth of five drawn images, but for one box of another class and one faint."""
    folder = tmp_path_factory.mktemp("page")
    split = shapes_split(folder / "data", count=5)
    truth = json.loads(split.annotations_path.read_text())
    rows: list[dict[str, Any]] = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]
    other = next(c["id"] for c in truth["categories"] if c["id"] != rows[0]["category_id"])
    rows[0]["category_id"] = other
    rows = [*rows[:-1], {**rows[-1], "score": 0.02}]  # so the best threshold is low
    (folder / "d.json").write_text(json.dumps(rows))
    command = EvalCommand(
        detections=str(folder / "d.json"), data=str(folder / "data"), output=str(folder / "run")
    )
    assert run(command) == 0
    return folder / "run" / "report.html"


def test_the_page_shows_every_image_the_worst_first(report: Path) -> None:
    data = data_of(report.read_text())
    assert len(data["pictures"]) == 5 and all(p["jpeg"] for p in data["pictures"])
    assert data["pictures"][0]["note"] != "0 missed, 0 wrong"
    assert data["pictures"][-1]["note"] == "0 missed, 0 wrong"
    tags = [data["tags"][b[2]] for p in data["pictures"] for b in p["boxes"] if b[0] == 2]
    assert tags == ["class"]
    truth = [data["tags"][b[2]] for p in data["pictures"] for b in p["boxes"] if b[0] == 0]
    assert truth.count("missed") == 1
    scores = [b[-1] for p in data["pictures"] for b in p["boxes"] if b[0] == 1]
    assert len(scores) == truth.count("found") and set(scores) == {0.9, 0.02}
    causes = {row[0]: row for row in data["tables"][0]["rows"]}
    assert causes["class"][5] == 1 and causes["class"][1] > 0


def test_without_pictures_boxes_have_a_blank_ground(report: Path, tmp_path: Path) -> None:
    folder = report.parent.parent
    truth = folder / "data" / "val" / "annotations.json"
    command = EvalCommand(
        detections=str(folder / "d.json"), data=str(truth), output=str(tmp_path), report=2
    )
    run(command)
    data = data_of((tmp_path / "report.html").read_text())
    assert len(data["pictures"]) == 2 and not any(p["jpeg"] for p in data["pictures"])
    assert all(p["w"] > 50 and p["h"] > 50 for p in data["pictures"])
    run(
        EvalCommand(
            detections=str(folder / "d.json"), data=str(truth), output=str(tmp_path), report=0
        )
    )
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_a_real_browser_finds_the_wrong_class(browser: Browser, report: Path) -> None:
    browser.call("POST", "/url", url=report.as_uri())
    browser.wait_for("return document.body.dataset.ready === 'yes'")
    assert browser.run("return document.querySelectorAll('.card img').length") == 5
    browser.run(
        "const e = document.getElementById('tag'); e.value = data.tags.indexOf('class');"
        "e.dispatchEvent(new Event('input'));"
    )
    assert browser.run("return document.querySelectorAll('.card').length") == 1
    assert browser.run("return document.querySelector('.card rect').dataset.tag") == "class"
    decoded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
    browser.wait_for(decoded)
