"""Images that a thread inflates ahead: the same as read one by one, few at a time, errors too, and
the thread ends with its reader.
"""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_tools.command import run
from data_tools.core import read_ahead
from data_tools.core.errors import DataError
from data_tools.core.read_ahead import with_images
from data_tools.core.sample import Sample
from data_tools.sources.settings import SplitSettings
from tests.helpers.raw_sets import coco_settings, tree_bytes, write_plain_coco

NONE = np.zeros(0)


def sample(number: int, path: Path) -> Sample:
    none, flags = NONE.astype(np.int64), NONE.astype(np.bool_)
    boxes = NONE.reshape(0, 4)
    return Sample(number, path.name, path, 0, 0, boxes, none, flags, flags, NONE, none)


def pack(path: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in contents.items():
            file.writestr(name, data)


def readers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("read-ahead")]


def damage(path: Path, data: bytes) -> None:
    """Turn a bit of an entry whose content begins with `data`, which must not be compressible."""
    content = bytearray(path.read_bytes())
    content[content.index(data[100:140]) + 20] ^= 1
    path.write_bytes(content)


def test_images_come_in_order_and_those_that_cannot_be_read_without(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    contents = {f"{k}.jpg": random.bytes(5000 + k) for k in range(60)}
    contents["zeros.bmp"] = bytes(100_000)
    path = tmp_path / "a.zip"
    pack(path, contents)
    damage(path, contents["7.jpg"])
    names = [*contents, "none.jpg"]
    samples = [sample(k, path / name) for k, name in enumerate(names)]
    ahead = list(with_images(samples, path))
    assert [s.image_id for s in ahead] == list(range(62))
    for s, name in zip(ahead, names, strict=True):
        assert s.image == (None if name in ("7.jpg", "none.jpg") else contents[name])
    with pytest.raises(OSError, match="damaged in the archive"):
        ahead[7].read_bytes()
    with pytest.raises(FileNotFoundError):
        ahead[61].read_bytes()
    assert not readers()


@pytest.mark.parametrize("most_bytes,most", [(1 << 30, 16), (9000, 4), (1, 1)])
def test_few_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int, most: int
) -> None:
    monkeypatch.setattr(read_ahead, "_AHEAD_BYTES", most_bytes)
    path = tmp_path / "a.zip"
    pack(path, {f"{k}.jpg": bytes([k]) * 3000 for k in range(50)})
    taken, most_waiting = 0, 0
    for number, one in enumerate(with_images(samples_of(path, counts := [0]), path)):
        taken = number + 1
        most_waiting = max(most_waiting, counts[0] - taken)
        assert one.image == bytes([number]) * 3000
    assert taken == 50 and most - 1 <= most_waiting <= most


def test_pictures_that_do_not_shrink_are_left_to_who_needs_them(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    path = tmp_path / "a.zip"
    pack(path, {"0.jpg": random.bytes(9000), "0.txt": b"1 0.5 0.5 0.1 0.1\n" * 20})
    (one,) = with_images([sample(0, path / "0.jpg")], path)
    assert one.image is None and not readers()
    pack(path, {"0.jpg": random.bytes(9000), "0.bmp": bytes(2000)})
    (one,) = with_images([sample(0, path / "0.jpg")], path)
    assert one.image is not None


def samples_of(path: Path, counts: list[int]):  # type: ignore[no-untyped-def]
    for number in range(50):
        counts[0] += 1
        yield sample(number, path / f"{number}.jpg")


def test_a_set_is_the_same_with_and_without_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_coco(tmp_path, 40)
    images = {p.name: p.read_bytes() for p in sorted((tmp_path / "images").iterdir())}
    images["zeros.bmp"] = bytes(10_000_000)
    images["000004.jpg"] = b"broken"
    random = np.random.default_rng(1).bytes(4000)
    images["000009.jpg"] = random
    pack(tmp_path / "images.zip", images)
    damage(tmp_path / "images.zip", random)
    splits = {"train": SplitSettings(annotations="train.json", images="images.zip")}
    run(coco_settings(tmp_path, tmp_path / "ahead", shards=2, dataset_splits=splits))
    with monkeypatch.context() as patch:
        patch.setattr(read_ahead, "swells", lambda _: False)
        run(coco_settings(tmp_path, tmp_path / "plain", shards=2, dataset_splits=splits))
    assert tree_bytes(tmp_path / "ahead") == tree_bytes(tmp_path / "plain")
    assert b"it is damaged in the archive" in (tmp_path / "ahead/train/report.json").read_bytes()


def test_an_error_ends_the_thread_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain_coco(tmp_path, 40)
    images = {p.name: p.read_bytes() for p in sorted((tmp_path / "images").iterdir())}
    pack(tmp_path / "images.zip", images | {"zeros.bmp": bytes(10_000_000)})
    splits = {"train": SplitSettings(annotations="train.json", images="images.zip")}
    from data_tools.convert import shard_task

    def fails(row: object, hashes: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_task, "_hash", fails)
    with pytest.raises(DataError, match="No space left on device") as raised:
        run(coco_settings(tmp_path, tmp_path / "out", shards=2, dataset_splits=splits))
    assert not readers(), "while the error is still held"
    del raised
