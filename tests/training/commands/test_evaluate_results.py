"""`eval.py detections=FILE` and `compare=[A,B]` as functions: any results, refusals, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from data_tools.core.errors import DataError, SettingError, UserError
from tests.helpers.eval_fixtures import shapes_split
from training.command_line.configure import compose
from training.commands.evaluate import run
from training.evaluation.ground_truth import read_ground_truth
from training.evaluation.settings import EvalCommand

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]
IMAGES = [{"id": 7, "file_name": "a/x.jpg"}, {"id": 9, "file_name": "b/y.png"}]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 50, 50]},
        {"id": 2, "image_id": 9, "category_id": 8, "bbox": [10, 10, 40, 40]},
    ]
    path = tmp_path / "truth.json"
    path.write_text(
        json.dumps({"images": IMAGES, "annotations": annotations, "categories": CATEGORIES})
    )
    return path


def evaluate(truth: Path, content: Any, **changes: Any) -> dict[str, Any]:
    results = truth.parent / "results.json"
    results.write_text(content if isinstance(content, str) else json.dumps(content))
    out = truth.parent / "out"
    assert (
        run(EvalCommand(detections=str(results), data=str(truth), output=str(out), **changes)) == 0
    )
    metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return metrics


PLAIN = [
    {"image_id": 7, "category_id": 3, "bbox": [0, 0, 50, 45], "score": 0.9},
    {"image_id": 9, "category_id": 3, "bbox": [10, 10, 40, 40], "score": 0.6},
]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        {"annotations": PLAIN, "info": {}},
        {"predictions": PLAIN},
        [{**row, "image_id": float(row["image_id"]), "category_id": 3.0} for row in PLAIN],
        [{**row, "image_id": str(row["image_id"]), "category_id": "cat"} for row in PLAIN],
        [
            {"image_id": name, "category_name": "cat", "bbox": row["bbox"], "score": row["score"]}
            for name, row in zip(("x.jpg", "b/y"), PLAIN, strict=True)
        ],
    ],
    ids=["plain", "wrapper", "other wrapper", "floats", "texts", "names"],
)
def test_any_spelling_gives_the_same_figures(truth: Path, content: Any) -> None:
    metrics = evaluate(truth, content, crosscheck=True)
    assert metrics["coco"]["AP50"] == pytest.approx(0.5)
    assert metrics["errors"]["causes"]["class"]["count"] == 1
    assert metrics["confusion"]["matrix"] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert metrics["confusion"]["threshold"] == metrics["thresholds"]["all"]["threshold"] == 0.9
    assert metrics["calibration"]["expected_error"] >= 0
    assert metrics["data_fingerprint"] and "sizes" not in metrics


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "not JSON"),
        ({"a": 1}, "none can be the detections"),
        (3, "Expected COCO results"),
        ([5], "entry 0"),
        ([*PLAIN, {**PLAIN[0], "image_id": 8}], r"entry 2: image_id=8 is no image"),
        ([{**PLAIN[0], "image_id": 7.5}], "image_id=7.5"),
        ([{**PLAIN[0], "category_id": "cow"}], "'cow'.*3 'cat', 8 'dog'"),
        ([{**PLAIN[0], "category_id": True}], "True"),
        ([{**PLAIN[0], "bbox": [0, 0, 5]}], "expected four numbers"),
        ([{**PLAIN[0], "bbox": [0, 0, -5, 5]}], "width and a height of 0 or more"),
        ([{**PLAIN[0], "score": "high"}], "score='high'"),
        ('[{"image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5], "score": NaN}]', "finite"),
        ([{"image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5]}], "no score"),
    ],
)
def test_what_is_no_detection_is_named(truth: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(truth, content)
    assert not (truth.parent / "out" / "metrics.json").exists()


def test_own_sizes(truth: Path) -> None:
    settings = compose(
        "eval",
        "training.evaluation.settings:EvalCommand",
        ["detections=x", "data=y", "evaluate.sizes=[32,45,96]"],
    ).evaluate
    metrics = evaluate(truth, PLAIN, evaluate=settings)
    sizes = metrics["sizes"]
    assert list(sizes) == ["0-32", "32-45", "45-96", "96-"]
    assert [row["num_boxes"] for row in sizes.values()] == [0, 1, 1, 0]
    assert sizes["45-96"]["AP50"] == pytest.approx(1.0) and sizes["32-45"]["AP50"] == 0.0
    assert sizes["0-32"]["AP"] == -1
    with pytest.raises(SettingError, match="rising"):
        compose(
            "eval",
            "training.evaluation.settings:EvalCommand",
            ["detections=x", "data=y", "evaluate.sizes=[96,32]"],
        )


def test_a_truth_without_classes_is_refused(truth: Path) -> None:
    truth.write_text(json.dumps({"images": IMAGES, "annotations": [], "categories": []}))
    with pytest.raises(DataError, match="it lists no categories"):
        evaluate(truth, [])


@pytest.mark.parametrize("crowd", [0, 1])
def test_a_truth_with_nothing_to_find(truth: Path, crowd: int) -> None:
    box = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    content = {"images": IMAGES, "annotations": [box] * crowd, "categories": CATEGORIES}
    truth.write_text(json.dumps(content))
    metrics = evaluate(truth, PLAIN)
    assert metrics["coco"]["AP"] == -1 and metrics["errors"]["AP50"]["all"] == -1
    assert metrics["confusion"]["matrix"][2][0] == 2


def test_no_detections_at_all(truth: Path) -> None:
    metrics = evaluate(truth, [])
    assert metrics["coco"]["AP"] == 0.0
    assert metrics["thresholds"]["all"]["threshold"] == -1


def test_public_known_answer_and_its_ids_as_names(shared_dir: Path, tmp_path: Path) -> None:
    folder = shared_dir / "data" / "metrics" / "cocoapi_fake100"
    truth = folder / "instances_val2014_100.json"
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    names = {c["id"]: c["name"] for c in json.loads(truth.read_text())["categories"]}
    expected = list(json.loads((folder / "expected.json").read_text()).values())
    named = [
        {**row, "image_id": float(row["image_id"]), "category_id": names[row["category_id"]]}
        for row in results
    ]
    for k, content in enumerate((results, {"annotations": named})):
        path = tmp_path / f"{k}.json"
        path.write_text(json.dumps(content))
        out = tmp_path / f"out{k}"
        run(EvalCommand(detections=str(path), data=str(truth), output=str(out)))
        coco = json.loads((out / "metrics.json").read_text())["coco"]
        assert list(coco.values())[:12] == pytest.approx(expected, abs=1e-12)


def test_a_converted_set_gives_pictures_and_two_runs_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = shapes_split(tmp_path / "data", count=5)
    truth = json.loads(split.annotations_path.read_text())
    exact = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth["annotations"]
    ]
    runs = []
    for name, rows in (("a", exact[::2]), ("b", exact)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        runs.append(str(tmp_path / f"run_{name}"))
        run(
            EvalCommand(
                detections=str(tmp_path / f"{name}.json"),
                data=str(tmp_path / "data"),
                output=runs[-1],
            )
        )
    for name in ("predictions.png", "worst.png", "confusion.png", "thresholds.png"):
        assert cv2.imread(str(Path(runs[0]) / name)) is not None
    assert not (Path(runs[1]) / "worst.png").exists()  # it has no errors
    run(EvalCommand(compare=runs, output=str(tmp_path / "compared"), draws=50))
    compared = json.loads((tmp_path / "compared" / "compare.json").read_text())
    assert compared["AP"]["b"] == pytest.approx(1.0) and compared["AP"]["verdict"] == "B"
    assert compared["AP"]["low"] <= compared["AP"]["difference"] <= compared["AP"]["high"]
    assert "undecided" in capsys.readouterr().out or compared["AP50"]["verdict"] == "B"


@pytest.mark.parametrize(
    ("key", "value"),
    [("data_fingerprint", "other"), ("protocol", {"score_floor": 0.5})],
)
def test_runs_that_cannot_be_compared_are_refused(truth: Path, key: str, value: Any) -> None:
    evaluate(truth, PLAIN)
    out = truth.parent / "out"
    other = truth.parent / "other"
    out.rename(other)
    evaluate(truth, PLAIN)
    metrics = json.loads((other / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps({**metrics, key: value}))
    with pytest.raises(DataError, match="differ in"):
        run(EvalCommand(compare=[str(out), str(other)], output=str(truth.parent / "c")))


def test_other_data_under_the_same_name_is_refused(truth: Path) -> None:
    evaluate(truth, PLAIN)
    out = truth.parent / "out"
    truth.write_text(truth.read_text().replace("50, 50", "50, 51"))
    with pytest.raises(DataError, match="fingerprint"):
        run(EvalCommand(compare=[str(out), str(out)], output=str(truth.parent / "c")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "checkpoint: required"),
        ({"detections": "x", "checkpoint": "y", "data": "z"}, "only one of them"),
        ({"detections": "x"}, "data: required"),
        ({"compare": ["x"]}, "two folders"),
        ({"compare": ["x", "y"], "draws": 1}, "draws"),
    ],
)
def test_settings_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        EvalCommand(**arguments)


@pytest.mark.parametrize("own", [True, False], ids=["its own ids", "the set's"])
def test_a_wrapper_says_what_its_ids_mean(truth: Path, own: bool) -> None:
    rows = [{**row, "image_id": k, "category_id": 0} for k, row in enumerate(PLAIN)]
    lists = {
        "images": [{"id": k, "file_name": image["file_name"]} for k, image in enumerate(IMAGES)],
        "categories": [{"id": 0.0, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    content = (
        {"annotations": rows, **lists}
        if own
        else {"annotations": PLAIN, "images": [{"id": 7, "file_name": "?"}], "categories": [{}, 5]}
    )
    metrics = evaluate(truth, content)
    assert metrics["confusion"]["matrix"] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_images_by_a_field_of_their_file_name_and_a_mark_of_the_byte_order(truth: Path) -> None:
    named = [
        {"file_name": name, **{k: row[k] for k in ("category_id", "bbox", "score")}}
        for name, row in zip(("a/x.jpg", "y.png"), PLAIN, strict=True)
    ]
    truth.write_text("\ufeff" + truth.read_text())
    metrics = evaluate(truth, "\ufeff" + json.dumps(named))
    assert metrics["confusion"]["matrix"] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_flags_and_areas_of_a_truth_as_tables_export_them(truth: Path) -> None:
    content = json.loads(truth.read_text())
    content["annotations"][0].update(iscrowd="0", area=None, ignore=None)
    content["annotations"][1].update(iscrowd="1", area="nan")
    truth.write_text(json.dumps(content))
    read = read_ground_truth(truth)
    assert read.iscrowd.tolist() == [False, True] and not read.difficult.any()
    assert read.area.tolist() == [2500.0, 1600.0]
    content["annotations"][0]["iscrowd"] = "perhaps"
    truth.write_text(json.dumps(content))
    with pytest.raises(DataError, match="'perhaps'"):
        read_ground_truth(truth)


def test_scores_that_are_no_probabilities(truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = evaluate(truth, PLAIN)
    assert "no calibration" not in capsys.readouterr().out
    metrics = evaluate(truth, [{**row, "score": 10 * row["score"]} for row in PLAIN])
    assert "scores from 6 to 9: beyond 0..1" in capsys.readouterr().out
    assert metrics["coco"] == plain["coco"]
    assert metrics["calibration"]["expected_error"] == metrics["calibration"]["largest_error"] == -1
    assert not any(row["count"] for row in metrics["calibration"]["bins"])
