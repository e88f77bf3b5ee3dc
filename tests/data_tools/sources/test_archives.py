"""A set in archives is converted to the very set that its unpacked folders become; bad archives are
refused.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.command import run
from data_tools.convert.settings import ConvertSettings
from data_tools.core import archive, archives
from data_tools.core.errors import DataError
from data_tools.shards.manifest import open_split
from data_tools.sources.settings import DatasetSettings, SplitSettings
from tests.helpers.raw_sets import coco_settings, jpeg, tree_bytes, voc_xml, write_plain_coco

Pack = Callable[[Path, Path, str], None]


def pack_zip(folder: Path, target: Path, top: str, method: int = zipfile.ZIP_STORED) -> None:
    """Pack a folder's files below `top`, which may be empty."""
    with zipfile.ZipFile(target, "w", method) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, f"{top}{path.relative_to(folder).as_posix()}")


def pack_deflated(folder: Path, target: Path, top: str) -> None:
    pack_zip(folder, target, top, zipfile.ZIP_DEFLATED)


def pack_tar(folder: Path, target: Path, top: str) -> None:
    with tarfile.open(target, "w") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.add(path, f"{top}{path.relative_to(folder).as_posix()}")


def pack_tar_gz(folder: Path, target: Path, top: str) -> None:
    with tarfile.open(target, "w:gz") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.add(path, f"{top}{path.relative_to(folder).as_posix()}")


def same_but_for_names(ours: Path, theirs: Path) -> None:
    """Shards, truth and reports are the same bytes; the manifest names other files."""
    mine, other = tree_bytes(ours), tree_bytes(theirs)
    assert mine.keys() == other.keys()
    for name in mine:
        if not name.endswith("manifest.json"):
            assert mine[name] == other[name], name
    for split in ("train",):
        a, b = open_split(ours, split).manifest, open_split(theirs, split).manifest
        assert a.shards == b.shards and a.source["images"] == b.source["images"]


@pytest.mark.parametrize(
    "ending,pack,top,workers",
    [
        ("zip", pack_zip, "", 2),
        ("zip", pack_zip, "train2017/", 1),
        ("ZIP", pack_deflated, "./", 1),
        ("tar", pack_tar, "train2017/", 1),
        ("tar.gz", pack_tar_gz, "./", 2),
    ],
)
def test_images_in_an_archive(
    tmp_path: Path, ending: str, pack: Pack, top: str, workers: int
) -> None:
    write_plain_coco(tmp_path, 7)
    (tmp_path / "images/000003.jpg").write_bytes(b"broken")
    (tmp_path / "images/000005.jpg").unlink()
    run(coco_settings(tmp_path, tmp_path / "folder", shards=2))
    pack(tmp_path / "images", tmp_path / f"train2017.{ending}", top)
    splits = {"train": SplitSettings(annotations="train.json", images=f"train2017.{ending}")}
    before = tree_bytes(tmp_path)
    settings = coco_settings(
        tmp_path, tmp_path / "out", shards=2, workers=workers, dataset_splits=splits
    )
    run(settings)
    same_but_for_names(tmp_path / "out", tmp_path / "folder")
    after = tree_bytes(tmp_path)
    assert {n: after[n] for n in before} == before
    assert all(name in before or name.startswith("out/") for name in after)  # nothing is unpacked


def test_annotations_in_a_zip(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 7)
    run(coco_settings(tmp_path, tmp_path / "folder"))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train.json").rename(tmp_path / "annotations/instances_train2017.json")
    pack_deflated(tmp_path / "annotations", tmp_path / "trainval.zip", "annotations/")
    places = ("trainval.zip:annotations/", "trainval.zip/annotations/")
    for number, folder in enumerate(places):
        place = f"{folder}instances_train2017.json"
        splits = {"train": SplitSettings(annotations=place, images="images")}
        out = tmp_path / f"out{number}"
        run(coco_settings(tmp_path, out, dataset_splits=splits))
        same_but_for_names(out, tmp_path / "folder")
    splits = {
        "train": SplitSettings(annotations="trainval.zip:annotations/none.json", images="images")
    }
    with pytest.raises(DataError, match="expected a file"):
        run(coco_settings(tmp_path, tmp_path / "b", dataset_splits=splits))


@pytest.mark.parametrize("pack,ending", [(pack_deflated, "zip"), (pack_tar, "tar")])
@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_folders_of_labels_in_an_archive(
    tmp_path: Path, kind: str, pack: Pack, ending: str
) -> None:
    raw = tmp_path / "raw"
    images, labels = raw / "all/images", raw / "all/labels"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for number in range(5):
        (images / f"{number}.jpg").write_bytes(jpeg(40, 60, number))
        if kind == "yolo":
            (labels / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.4\r\n1 0.3 0.3 0.1 0.1\r\n")
        else:
            objects = [("cat", (1.0, 2.0, 20.0, 30.0))]
            (labels / f"{number}.xml").write_text(voc_xml(objects, filename=f"{number}.jpg"))
    pack(raw, raw / f"set.{ending}", "")

    def convert(place: str, out: str) -> None:
        splits = {"train": SplitSettings(images=f"{place}/images", annotations=f"{place}/labels")}
        names = ["cat", "dog"] if kind == "yolo" else []
        dataset = DatasetSettings(kind=kind, root=str(raw), names=names, splits=splits)
        run(ConvertSettings(dataset=dataset, out=str(tmp_path / out)))

    convert("all", "folder")
    convert(f"set.{ending}:all", "out")
    same_but_for_names(tmp_path / "out", tmp_path / "folder")


def convert_zip(tmp_path: Path) -> None:
    splits = {"train": SplitSettings(annotations="train.json", images="images.zip")}
    run(coco_settings(tmp_path, tmp_path / "out", dataset_splits=splits))


def test_no_entry_leaves_its_archive(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 2)
    (tmp_path / "outside.jpg").write_bytes(jpeg(41, 62, 1))
    for name in ("../outside.jpg", "/etc/hosts", "C:/x.jpg", "..\\outside.jpg"):
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
            file.writestr(name, b"x")
            file.writestr("000001.jpg", jpeg(41, 62, 1))
        assert archives.names_in(tmp_path / "images.zip") == ["000001.jpg"]
        assert archives.size_of(tmp_path / "images.zip" / name.lstrip("/")) is None
    with tarfile.open(tmp_path / "links.tar", "w") as tar:
        for kind, name in (
            (tarfile.SYMTYPE, "a.jpg"),
            (tarfile.LNKTYPE, "b.jpg"),
            (tarfile.FIFOTYPE, "c"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/hosts"
            tar.addfile(link)
        inside = tarfile.TarInfo("d.jpg")
        inside.size = 3
        tar.addfile(inside, io.BytesIO(b"abc"))
    assert archives.names_in(tmp_path / "links.tar") == ["d.jpg"]
    assert archives.read_file(tmp_path / "links.tar/d.jpg") == b"abc"


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain_coco(tmp_path, 2)
    pack_deflated(tmp_path / "images", tmp_path / "images.zip", "")
    with zipfile.ZipFile(tmp_path / "images.zip", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.jpg", bytes(30_000_000))
    monkeypatch.setattr(archive, "FREE_BYTES", 1_000_000)
    with pytest.raises(DataError, match="an archive bomb"):
        convert_zip(tmp_path)


def test_an_entry_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 2)
    data = jpeg(41, 62, 1)
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("000001.jpg", bytes(5_000_000))
        file.writestr("000002.jpg", jpeg(42, 64, 2))
    content = bytearray((tmp_path / "images.zip").read_bytes())
    real, lie = (5_000_000).to_bytes(4, "little"), len(data).to_bytes(4, "little")
    assert content.count(real) == 2  # local header and directory
    (tmp_path / "images.zip").write_bytes(bytes(content).replace(real, lie))
    with pytest.raises(OSError, match="more than"):
        archives.read_file(tmp_path / "images.zip/000001.jpg")
    convert_zip(tmp_path)
    assert open_split(tmp_path / "out", "train").manifest.totals["images"] == 1
    assert b"more than" in (tmp_path / "out/train/report.json").read_bytes()


def in_one_go(content: bytes, size: int) -> bytes | str:
    """What the standard library makes of a deflated entry that should hold `size` bytes."""
    try:
        data = zlib.decompressobj(-15).decompress(content, size + 1)
    except zlib.error:
        return "damaged"
    if len(data) > size:
        return "more than"
    return data if len(data) == size else "damaged"


def test_entries_are_inflated_and_refused_as_by_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(8)
    contents = [b"", b"a", bytes(70_000), random.bytes(70_000), jpeg(80, 120, 1), b"ab" * 4000]
    files = []
    for content in contents:
        for level in (0, 1, 6, 9):
            packer = zlib.compressobj(level, zlib.DEFLATED, -15)
            files.append((packer.compress(content) + packer.flush(), content))
    for packed, content in list(files):
        files += [(packed[: len(packed) * 2 // 3], content), (packed, content[:-1])]
        files += [(packed, content + b"x"), (packed + b"rest", content)]
        spoilt = bytearray(packed)
        spoilt[int(random.integers(len(packed)))] ^= 1 << int(random.integers(8))
        files.append((bytes(spoilt), content))
    for most in (archive.LARGEST_AT_ONCE, 0):
        monkeypatch.setattr(archive, "LARGEST_AT_ONCE", most)
        for number, (packed, content) in enumerate(files):
            # An archive without a list, since the entry is given by hand.
            ending = b"PK\5\6" + bytes(18)
            (tmp_path / "a.zip").write_bytes(b"PK\3\4" + bytes(26) + packed + ending)
            opened = archive.Archive(str(tmp_path / "a.zip"))
            entry = archive.Entry(0, len(packed), len(content), zlib.crc32(content), True)
            wanted = in_one_go(packed, len(content))
            if isinstance(wanted, bytes) and wanted != content:
                wanted = "damaged"
            try:
                assert opened.read(entry) == wanted, number
            except OSError as error:
                assert isinstance(wanted, str) and wanted in str(error), (number, wanted, error)


def test_damaged_archives(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 3)
    pack_zip(tmp_path / "images", tmp_path / "images.zip", "")
    good = (tmp_path / "images.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"images.zip: cannot be read as an archive"):
        convert_zip(tmp_path)
    at = good.index((tmp_path / "images/000002.jpg").read_bytes()) + 300
    (tmp_path / "images.zip").write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    with pytest.raises(OSError, match="damaged"):
        archives.read_file(tmp_path / "images.zip/000002.jpg")
    convert_zip(tmp_path)
    assert b"checksum" in (tmp_path / "out/train/report.json").read_bytes()
    encrypted = bytearray(good)
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        start = encrypted.index(mark)
        encrypted[start + offset] |= 1
    (tmp_path / "images.zip").write_bytes(encrypted)
    with pytest.raises(DataError, match="encrypted"):
        convert_zip(tmp_path)
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("000001.jpg", b"x")
    with pytest.raises(DataError, match="method 14"):
        convert_zip(tmp_path)


def test_a_killed_conversion_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_tools.convert import task_pool

    write_plain_coco(tmp_path, 9)
    pack_deflated(tmp_path / "images", tmp_path / "images.zip", "images/")
    splits = {"train": SplitSettings(annotations="train.json", images="images.zip")}
    run(coco_settings(tmp_path, tmp_path / "whole", shards=3, dataset_splits=splits))
    settings = coco_settings(tmp_path, tmp_path / "out", shards=3, dataset_splits=splits)
    real, calls = task_pool.convert_shard, []

    def dies(task: Any, tick: Any) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(task)
        real(task, tick)

    with monkeypatch.context() as patch:
        patch.setattr(task_pool, "convert_shard", dies)
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    run(settings)
    assert tree_bytes(tmp_path / "out") == tree_bytes(tmp_path / "whole")


def test_a_tar_with_a_header_that_cannot_be_read_is_no_short_archive(tmp_path: Path) -> None:
    write_plain_coco(tmp_path, 4)
    pack_tar(tmp_path / "images", tmp_path / "images.tar", "")
    with tarfile.open(tmp_path / "images.tar") as file:
        at = file.getmembers()[2].offset
    content = bytearray((tmp_path / "images.tar").read_bytes())
    content[at : at + 10] = b"x" * 10
    (tmp_path / "images.tar").write_bytes(content)
    with pytest.raises(DataError, match=f"no header at byte {at}"):
        archives.names_in(tmp_path / "images.tar")


def test_damaged_and_swelling_tar_gz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain_coco(tmp_path, 40)
    pack_tar_gz(tmp_path / "images", tmp_path / "images.tgz", "")
    good = (tmp_path / "images.tgz").read_bytes()
    for bad in (good[: len(good) // 2], b"no gzip at all", good[:20] + b"\xff" * 99 + good[119:]):
        (tmp_path / "images.tgz").write_bytes(bad)
        with pytest.raises(DataError, match=r"images.tgz: cannot be read as an archive"):
            archives.names_in(tmp_path / "images.tgz")
    for name, claimed in (("zeros.jpg", 30_000_000), ("x" * 200, 1 << 40)):
        kind = tarfile.REGTYPE if claimed < 1 << 39 else tarfile.GNUTYPE_LONGNAME
        with tarfile.open(tmp_path / "images.tgz", "w:gz") as file:
            member = tarfile.TarInfo(name[:50])
            member.size, member.type = claimed, kind
            file.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
            file.fileobj.write(bytes(30_000_000))  # type: ignore[union-attr]
        monkeypatch.setattr(archive, "FREE_BYTES", 1_000_000)
        with pytest.raises(DataError, match="an archive bomb|MemoryError|a part of"):
            archives.names_in(tmp_path / "images.tgz")


@pytest.mark.parametrize("ending", ["tar.xz", "rar", "gz"])
def test_an_archive_that_is_not_read_says_what_to_do(tmp_path: Path, ending: str) -> None:
    write_plain_coco(tmp_path, 1)
    (tmp_path / f"images.{ending}").write_bytes(b"x")
    splits = {"train": SplitSettings(annotations="train.json", images=f"images.{ending}")}
    with pytest.raises(DataError, match=r"unpack it, or pack it as \.zip or \.tar"):
        run(coco_settings(tmp_path, tmp_path / "out", dataset_splits=splits))


def test_a_path_means_the_same_before_and_after_its_archive_is_known(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as file:
            file.writestr("a/b.jpg", name.encode())
    forms = (
        "a/b.jpg",
        "/a/b.jpg",
        "a//b.jpg",
        "./a/b.jpg",
        "a/./b.jpg",
        "a/b.jpg/",
        "a/../a/b.jpg",
    )
    known = {}
    for turn in range(2):
        for name in ("one", "two"):
            for form in forms:
                path = f"{tmp_path}/{name}.zip/{form}"
                answer = archives.split_path(path), archives.size_of(path)
                assert known.setdefault(path, answer) == answer, (turn, path)
            assert archives.read_file(tmp_path / f"{name}.zip/a/b.jpg") == name.encode()
    (tmp_path / "two.zip").unlink()
    assert archives.size_of(f"{tmp_path}/two.zip/a/b.jpg") is None
