"""Prediction: every kind of input, bad pictures, the files it writes, `Detector` from Python."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import training.inference.predict
import training.inference.video_file
from data_tools.core.errors import DataError, SettingError
from data_tools.images.decode import PictureError, picture_size
from tests.helpers.eval_fixtures import CLASSES, PixelPredictor
from training.inference.detector import Choice, Detector
from training.inference.image_source import find_images, read_image
from training.inference.predict import image_ids, run
from training.inference.predict_output import PredictionFiles, picture_name
from training.inference.serve import detections
from training.inference.settings import PredictCommand


def sure_box(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find one triangle, its score the mean brightness, in the upper left quarter."""
    boxes = np.tile(np.array([[[0.0, 0.0, 0.5, 0.5]]], np.float32), (len(images), 1, 1))
    scores = np.zeros((len(images), 1, len(CLASSES) + 1), np.float32)
    scores[:, 0, 3] = images.mean(axis=(1, 2, 3)) / 255
    return boxes, scores


@pytest.fixture()
def detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    found = Detector(sure_box, (32, 32), CLASSES, batch_size=2)
    monkeypatch.setattr(training.inference.predict.Detector, "load", lambda *a, **k: found)
    return found


def picture(height: int = 40, width: int = 60, level: int = 230) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def command(images: Path | str, out: Path, **changes: Any) -> PredictCommand:
    return PredictCommand(checkpoint="x.ckpt", images=str(images), out=str(out), **changes)


def test_a_folder_of_many_kinds(tmp_path: Path, detector: Detector) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shown = Image.fromarray(picture())
    for name in ("a.jpg", "b.png", "c.bmp", "d.webp", "e.tiff", "f.gif"):
        shown.save(folder / name)
    shown.convert("L").save(folder / "g.png")
    shown.convert("CMYK").save(folder / "h.jpg")
    shown.convert("RGBA").save(folder / "i.png")
    shown.convert("P").save(folder / "j.png")
    cv2.imwrite(str(folder / "k.png"), picture().astype(np.uint16) * 256)
    (folder / "note.txt").write_text("no picture")
    (folder / "sub").mkdir()
    shown.save(folder / "sub" / "l.jpg")
    assert run(command(folder, out)) == 0
    rows = list(csv.DictReader((out / "detections.csv").open()))
    assert [row["file"][0] for row in rows] == list("abcdefghijk")
    assert {row["class"] for row in rows} == {"triangle"}
    assert (rows[0]["x"], rows[0]["width"], rows[0]["height"]) == ("0.00", "30.00", "20.00")
    results = json.loads((out / "detections.json").read_text())
    assert [r["image_id"] for r in results] == list(range(1, 12))
    assert results[0]["bbox"] == [0.0, 0.0, 30.0, 20.0] and results[0]["category_id"] == 3
    images = json.loads((out / "images.json").read_text())
    assert images[5] == {"id": 6, "file_name": "f.gif", "height": 40, "width": 60}
    drawn = cv2.imread(str(out / "f.gif.png"))
    assert drawn.shape == (40, 60, 3) and (drawn != 230).any()
    assert not (out / "skipped.json").exists()
    assert run(command(folder, tmp_path / "deep", recursive=True)) == 0
    assert (tmp_path / "deep" / "sub" / "l.jpg").is_file()


def test_bad_pictures_are_reported_and_the_rest_go_on(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(picture(300, 300)).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:400])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("hello")
    (folder / "nowhere.jpg").symlink_to(folder / "moved.jpg")
    assert run(command(folder, out)) == 0
    skipped = json.loads((out / "skipped.json").read_text())
    names = ["cut.jpg", "empty.png", "nowhere.jpg", "text.jpg"]
    assert [s["file_name"] for s in skipped] == names
    assert "empty" in skipped[1]["reason"]
    assert "cut.jpg" in capsys.readouterr().err
    assert json.loads((out / "images.json").read_text())[0]["file_name"] == "whole.jpg"
    (folder / "whole.jpg").unlink()
    alone = tmp_path / "none_usable"
    with pytest.raises(DataError, match=r"none of the 4 files.*skipped\.json"):
        run(command(folder, alone))
    assert [path.name for path in alone.iterdir()] == ["skipped.json"]


def test_pictures_of_an_earlier_run_have_a_line(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.png", "2.png", "3.png"):
        cv2.imwrite(str(tmp_path / name), picture())
    out = tmp_path / "out"
    for pattern, changes, said in (
        ("[12].png", {}, ""),
        ("[12].png", {}, ""),
        (
            "[13].png",
            {},
            "holds pictures that are not of this run but of an earlier one: 1, such as 2.png",
        ),
        ("[13].png", {"pictures": False}, "of an earlier one: 3, such as 1.png"),
    ):
        assert run(command(tmp_path / pattern, out, **changes)) == 0
        printed = capsys.readouterr().out
        assert said in printed and ("not of this run" in printed) == bool(said)
    assert {p.name for p in out.glob("*.png")} == {"1.png", "2.png", "3.png"}


def test_exif_orientation_is_applied(tmp_path: Path, detector: Detector) -> None:
    turned = Image.fromarray(picture(40, 60))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "t.jpg", exif=exif)
    assert read_image(tmp_path / "t.jpg").shape == (60, 40, 3)
    found = detector.predict(tmp_path / "t.jpg")
    assert (found.height, found.width) == (60, 40)


def test_threshold_top_k_and_classes(tmp_path: Path, detector: Detector) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(level=128))
    score = float(np.float32(128 / 255))
    assert len(detector.predict(tmp_path / "a.png", threshold=0.5)) == 1
    assert len(detector.predict(tmp_path / "a.png", threshold=0.51)) == 0
    found = detector.predict(tmp_path / "a.png", threshold=score)  # the threshold itself counts
    assert found.scores[0] == np.float32(score)
    assert len(detector.predict(tmp_path / "a.png", classes=["star"])) == 0
    assert len(detector.predict(tmp_path / "a.png", classes=["star", "triangle"])) == 1
    with pytest.raises(SettingError, match="'dog' is not among the detector's: circle"):
        detector.predict(tmp_path / "a.png", classes=["dog"])
    many = Detector(PixelPredictor(len(CLASSES) + 1), (32, 32), CLASSES)
    assert len(many.predict(picture(), threshold=0.1, top_k=3)) == 3


def two_names(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find one object that may be a square (label 2) or a circle (label 1)."""
    boxes = np.tile(
        np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45]], np.float32), (len(images), 1, 1)
    )
    scores = np.zeros((len(images), 2, len(CLASSES) + 1), np.float32)
    scores[:, 0, 1], scores[:, 0, 2], scores[:, 1, 1] = 0.7, 0.9, 0.8
    return boxes, scores


def test_one_object_has_one_name() -> None:
    detector = Detector(two_names, (32, 32), CLASSES)
    assert detector.predict(picture()).labels.tolist() == [2]
    assert detector.predict(picture(), one_name_iou=0.95).labels.tolist() == [2, 1]
    assert detector.predict(picture(), one_name_iou=None).labels.tolist() == [2, 1]
    # What is a square is not called a circle because only circles are asked for.
    assert len(detector.predict(picture(), classes=[CLASSES[0].name])) == 0
    only = detector.predict(picture(), classes=[CLASSES[0].name], one_name_iou=None)
    assert only.labels.tolist() == [1]


def test_one_name_is_a_setting_of_the_command_and_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector(two_names, (32, 32), CLASSES)
    monkeypatch.setattr(training.inference.predict.Detector, "load", lambda *a, **k: detector)
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    for changes, expected in (({}, 1), ({"one_name": False}, 2), ({"one_name_iou": 0.95}, 2)):
        out = tmp_path / f"out{expected}{len(changes)}{'one_name' in changes}"
        run(command(tmp_path / "a.png", out, pictures=False, **changes))
        assert len(json.loads((out / "detections.json").read_text())) == expected
    shown = (tmp_path / "a.png").read_bytes()
    for choice, labels in ((Choice(), [2]), (Choice(one_name_iou=None), [2, 1])):
        assert [d["label"] for d in detections(detector, choice, shown)["detections"]] == labels
    with pytest.raises(SettingError, match="one_name_iou=0"):
        command(tmp_path, tmp_path, one_name_iou=0.0)


def test_arrays_bytes_and_paths_give_the_same(tmp_path: Path) -> None:
    detector = Detector(PixelPredictor(len(CLASSES) + 1), (32, 32), CLASSES)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    by_path = detector.predict(tmp_path / "a.png")
    by_bytes = detector.predict((tmp_path / "a.png").read_bytes())
    by_array = detector.predict(image)
    assert np.array_equal(by_path.boxes_yxyx_px, by_bytes.boxes_yxyx_px)
    assert np.array_equal(by_path.scores, by_array.scores) and len(by_path) > 3
    assert by_path.names[0] == CLASSES[by_path.labels[0] - 1].name
    assert (np.diff(by_path.scores) <= 0).all()
    assert by_path.draw(picture(50, 70)).shape == (50, 70, 3)
    with pytest.raises(SettingError, match=r"expected uint8 \(H, W, 3\) RGB"):
        detector.predict(image.astype(np.float32))


@pytest.mark.parametrize("ending", ["webp", "png", "tif"])
def test_orientation_counts_in_other_formats_too(tmp_path: Path, ending: str) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"t.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    Image.fromarray(np.rot90(upright).copy()).save(path, exif=exif, **options)
    assert np.array_equal(read_image(path)[:, :, ::-1], upright)


def write_video(path: Path, code: str = "MJPG", frames: int = 7) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
    for _ in range(frames):
        writer.write(picture(48, 64))
    writer.release()


def test_a_video(tmp_path: Path, detector: Detector) -> None:
    path = tmp_path / "clip.avi"
    write_video(path)
    assert run(command(path, tmp_path / "out", video_step=3)) == 0
    images = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [i["file_name"] for i in images] == [f"clip.avi#frame={k}" for k in (0, 3, 6)]
    capture = cv2.VideoCapture(str(tmp_path / "out" / "clip.avi.mp4"))
    assert capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    capture.release()
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of the 1 files"):
        run(command(tmp_path / "bad.mp4", tmp_path / "none"))


def test_a_video_that_is_not_whole_does_not_get_its_name(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "clip.avi")
    monkeypatch.setattr(training.inference.video_file, "_frames_in", lambda path: 6)
    with pytest.raises(DataError, match=r"clip\.avi\.mp4: not written whole\. Free some space"):
        run(command(tmp_path / "clip.avi", tmp_path / "out"))
    assert not list(tmp_path.glob("out/*"))


def test_a_video_without_a_frame_is_reported(
    tmp_path: Path,
    detector: Detector,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_video(tmp_path / "clip.avi")
    monkeypatch.setattr(training.inference.predict, "video_frames", lambda *_: iter(()))
    with pytest.raises(DataError, match="none of the 1 files"):
        run(command(tmp_path / "clip.avi", tmp_path / "out"))
    skipped = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert "no frame of it decodes" in skipped[0]["reason"]
    assert "clip.avi: no frame" in capsys.readouterr().err


def test_patterns_and_missing_inputs(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name in ("1.jpg", "2.jpg", "3.png", "x/4.jpg"):
        cv2.imwrite(str(tmp_path / name), picture())
    assert [p.name for p in find_images(f"{tmp_path}/*.jpg").images] == ["1.jpg", "2.jpg"]
    deep = find_images(f"{tmp_path}/**/*.jpg")
    assert [deep.name(p) for p in deep.images] == ["1.jpg", "2.jpg", "x/4.jpg"]
    assert len(find_images(str(tmp_path), recursive=True).images) == 4
    with pytest.raises(DataError, match="no such file"):
        find_images(f"{tmp_path}/nothing*")
    (tmp_path / "y").mkdir()
    with pytest.raises(DataError, match=r"no picture or video \(0 other files\)"):
        find_images(str(tmp_path / "y"))
    with pytest.raises(SettingError, match="images: required"):
        run(PredictCommand(checkpoint="x"))


def test_pictures_never_replace_the_images(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.jpg"), picture())
    before = (tmp_path / "1.jpg").read_bytes()
    with pytest.raises(SettingError, match="would replace one of the images"):
        run(command(tmp_path, tmp_path))
    assert (tmp_path / "1.jpg").read_bytes() == before


def test_a_video_never_replaces_its_source(tmp_path: Path, detector: Detector) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, "mp4v")
    before = path.read_bytes()
    with pytest.raises(SettingError, match="would replace one of the images"):
        run(command(path, tmp_path))
    assert path.read_bytes() == before
    assert run(command(path, tmp_path, pictures=False)) == 0
    assert path.read_bytes() == before


def test_two_files_never_share_a_picture(tmp_path: Path, detector: Detector) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, code in (("clip.mp4", "mp4v"), ("clip.avi", "MJPG")):
        write_video(folder / name, code, frames=2)
    assert run(command(folder, out)) == 0
    assert {p.name for p in out.glob("*.mp4")} == {"clip.mp4", "clip.avi.mp4"}
    Image.fromarray(picture()).save(folder / "a.gif")
    Image.fromarray(picture()).save(folder / "a.gif.png")
    with pytest.raises(SettingError, match=r"a\.gif and .*a\.gif\.png would both be called"):
        run(command(folder, out))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, detector: Detector) -> None:
    cv2.imwrite(str(tmp_path / "1.jpg"), picture())
    (tmp_path / "taken").write_text("")
    with pytest.raises(SettingError, match=r"out=.*taken: the folder cannot be made \(a file"):
        run(command(tmp_path / "1.jpg", tmp_path / "taken"))
    with pytest.raises(SettingError, match="out=.*below: the folder cannot be made"):
        run(command(tmp_path / "1.jpg", tmp_path / "taken" / "below"))


def test_image_ids_are_cocos_where_names_are_numbers() -> None:
    assert image_ids(["000000000139.jpg", "000000000285.jpg"]) == [139, 285]
    assert image_ids(["1.jpg", "1.png"]) == [1, 2]
    assert image_ids(["a.jpg", "7.jpg"]) == [1, 2]
    assert picture_name("x/a.JPG") == "x/a.JPG"
    assert picture_name("x/a.tif") == "x/a.tif.png"


def test_an_error_leaves_no_files_that_look_complete(tmp_path: Path, detector: Detector) -> None:
    found = detector.predict_batch([picture()], Choice())[0]
    with pytest.raises(RuntimeError), PredictionFiles(tmp_path) as files:
        files.add(1, "a.jpg", found)
        raise RuntimeError("the network broke")
    assert list(tmp_path.iterdir()) == []
    with PredictionFiles(tmp_path):
        pass  # not one image
    assert list(tmp_path.iterdir()) == []


def test_picture_size_reads_the_header_only() -> None:
    ok, data = cv2.imencode(".png", picture(40, 60))
    assert ok and picture_size(data.tobytes()[:60]) == (40, 60)
    with pytest.raises(PictureError, match="no picture"):
        picture_size(b"nothing")


def test_pictures_stay_below_out(tmp_path: Path) -> None:
    from training.inference.image_source import find_images
    from training.inference.predict_output import refuse_collisions

    for name in "bc":
        (tmp_path / "a" / name).mkdir(parents=True)
    (tmp_path / "x.jpg").write_bytes(b"")
    found = find_images(f"{tmp_path}/a/*/../../*.jpg")
    assert [path.name for path in found.images] == ["x.jpg", "x.jpg"]
    with pytest.raises(SettingError, match="outside of out"):
        refuse_collisions(found, tmp_path / "out")
