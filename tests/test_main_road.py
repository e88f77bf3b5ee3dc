"""The whole road as a user walks it: the root commands, one after the other, on small data."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.warm import run_warm

pytestmark = pytest.mark.slow

SMALL = ["dataset.splits.train.count=48", "dataset.splits.val.count=12"]


def run(repository: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_warm(*arguments, cwd=repository, timeout=800)
    assert done.returncode == expect, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def road(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert and train once; the tests look at what came out."""
    root = tmp_path_factory.mktemp("road")
    run(repository, "convert.py", "dataset=shapes", f"out={root}/data", *SMALL)
    run(
        repository,
        "train.py",
        "+experiment=demo",
        f"data={root}/data",
        f"output={root}/run",
        "max_steps=6",
        "checkpoint.every_steps=3",
        "log.every_steps=1",
    )
    return root


def test_the_converted_set_is_whole(repository: Path, road: Path) -> None:
    for split, count in (("train", 48), ("val", 12)):
        folder = road / "data" / split
        manifest = json.loads((folder / "manifest.json").read_text())
        assert sum(shard["rows"] for shard in manifest["shards"]) == count
        for shard in manifest["shards"]:
            assert sha256(folder / shard["file"]) == shard["sha256"]
        truth = json.loads((folder / "annotations.json").read_text())
        assert len(truth["images"]) == count
        assert (folder / "report.json").is_file()
    run(repository, "convert.py", f"verify={road}/data")


def test_the_run_folder_tells_everything(road: Path) -> None:
    output = road / "run"
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert {"step", "epoch", "loss", "lr", "images_per_s", "data_wait"} <= set(line)
        assert np.isfinite(line["loss"])
    summary = json.loads((output / "summary.json").read_text())
    assert summary["steps"] == 6
    assert summary["final_loss"] == pytest.approx(lines[-1]["loss"])
    assert {"metrics", "wall_seconds"} <= set(summary)
    assert (output / "settings.yaml").is_file()
    assert (output / "curves.png").is_file()
    card = json.loads((output / "checkpoints" / "step-00000006.json").read_text())
    manifest = json.loads((road / "data" / "train" / "manifest.json").read_text())
    assert card["data_fingerprint"] == manifest["fingerprint"]
    for name, digest in card["files"].items():
        assert sha256(output / "checkpoints" / name) == digest


def test_evaluation_counts_every_image_and_agrees_with_training(
    repository: Path, road: Path
) -> None:
    checkpoint = road / "run" / "checkpoints" / "step-00000006.ckpt"
    run(
        repository,
        "eval.py",
        f"checkpoint={checkpoint}",
        f"data={road}/data",
        f"output={road}/eval",
    )
    metrics = json.loads((road / "eval" / "metrics.json").read_text())
    assert metrics["coco"]["num_images"] == 12
    assert metrics["checkpoint_sha256"] == sha256(checkpoint)
    val = json.loads((road / "data" / "val" / "manifest.json").read_text())
    assert metrics["data_fingerprint"] == val["fingerprint"]
    assert len(metrics["per_class"]) == 6
    summary = json.loads((road / "run" / "summary.json").read_text())
    for protocol in ("coco", "published"):
        assert summary["metrics"][protocol] == metrics[protocol], "not the same digits"
    detections = json.loads((road / "eval" / "detections.json").read_text())
    assert {d["category_id"] for d in detections} <= {1, 2, 3, 5, 8, 13}
    assert cv2.imread(str(road / "eval" / "predictions.png")) is not None


def test_predict_draws_every_picture_and_reports_the_broken_one(
    repository: Path, road: Path
) -> None:
    pictures = road / "pictures"
    pictures.mkdir()
    for k in range(3):
        picture = np.full((90 + 40 * k, 120, 3), 90 + k, np.uint8)
        cv2.circle(picture, (60, 45), 25, (0, 0, 255), -1)
        cv2.imwrite(str(pictures / f"p {k}.jpg"), picture)
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    done = run(
        repository,
        "predict.py",
        f"checkpoint={road}/run/checkpoints/step-00000006.ckpt",
        f"images={pictures}",
        f"out={road}/predicted",
    )
    assert "broken.jpg" in done.stdout + done.stderr
    assert len(list((road / "predicted").rglob("p *.*g"))) == 3
    json.loads((road / "predicted" / "detections.json").read_text())
    assert (road / "predicted" / "detections.csv").is_file()


def test_the_same_command_goes_on_where_it_stopped(repository: Path, road: Path) -> None:
    run(
        repository,
        "train.py",
        "+experiment=demo",
        f"data={road}/data",
        f"output={road}/run",
        "max_steps=7",
        "checkpoint.every_steps=3",
        "log.every_steps=1",
        "evaluate_at_end=false",
        "resume=true",
    )
    lines = [json.loads(x) for x in (road / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 8))


def test_a_genuine_piece_of_coco_goes_through(
    repository: Path, shared_dir: Path, tmp_path: Path
) -> None:
    run(
        repository,
        "convert.py",
        "dataset=coco2017",
        f"dataset.root={shared_dir}/data/tiny_coco",
        f"out={tmp_path}/coco",
    )
    run(
        repository,
        "train.py",
        "+experiment=coco",
        f"data={tmp_path}/coco",
        f"output={tmp_path}/run",
        "max_steps=2",
        "batch_size=2",
        "evaluate_at_end=false",  # `eval.py` does it
    )
    run(
        repository,
        "eval.py",
        f"checkpoint={tmp_path}/run/checkpoints/step-00000002.ckpt",
        f"data={tmp_path}/coco",
        f"output={tmp_path}/eval",
    )
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert metrics["coco"]["num_images"] == 50
    assert metrics["published"]["num_images"] < 50
    run(
        repository,
        "predict.py",
        f"checkpoint={tmp_path}/run/checkpoints/step-00000002.ckpt",
        f"images={shared_dir}/data/tiny_coco/val2017/000000006818.jpg",
        f"out={tmp_path}/out",
    )
    assert len(list((tmp_path / "out").rglob("*6818*.*g"))) == 1
