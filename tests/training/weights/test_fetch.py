"""Weights by name from a server on this machine: fetched, resumed, checked, refused, and cached
once.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data_tools.core.errors import CheckpointError, SettingError
from tests.golden.donor_filling import fill
from tests.helpers.donors import flat
from tests.helpers.file_server import FileServer, file_server
from tests.helpers.torch_files import torch_file
from training.checkpoints.signatures import signature
from training.checkpoints.torchvision_detectors import SETTINGS
from training.checkpoints.weight_files import read_weights
from training.weights.__main__ import kind_of
from training.weights.cache import Cache, default_cache
from training.weights.entry import Entry, find_entry, read_entry, registry
from training.weights.fetch import address_of, fetch, local_path

ADDRESS = "https://weights.example/models/tiny-1.safetensors"


def tiny(classes: int = 4, **changes: np.ndarray) -> bytes:
    """The weights of a small network of ours, as a safetensors file."""
    from safetensors.numpy import save

    shapes = signature("ssd_tiny").shapes
    per_class = 1 if classes == 2 else classes / 2
    values = {
        name: fill(name, (int(s[0] * per_class), *s[1:]) if ".cls_layers." in name else s)
        for name, s in shapes.items()
    }
    return save({"network." + n: v for n, v in {**values, **changes}.items()})


def entry_for(content: bytes | None, **values: object) -> Entry:
    facts = {
        "kind": "detector", "donor": "mindspore", "network": "ssd_tiny", "classes": 4,
        "address": ADDRESS,
        "licence": "unknown", "protocol": "none", "source": "this test", "name": "tiny",
        "sha256": None if content is None else hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    return Entry(**{**facts, **values})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def content() -> bytes:
    return tiny()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[FileServer]:
    with file_server() as running:
        running.content = content
        monkeypatch.setenv("SSD_WEIGHTS_MIRROR", running.address)
        for name in ("SSD_WEIGHTS_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


FETCHED = ["tiny/tiny-1.safetensors", "tiny/tiny-1.safetensors.parity.json"]


def left(cache: Cache) -> list[str]:
    """What lies in the cache besides its lock."""
    return sorted(
        str(p.relative_to(cache.folder))
        for p in cache.folder.rglob("*")
        if p.is_file() and p.name != "lock"
    )


def test_fetched_once_then_cached(server: FileServer, cache: Cache, content: bytes) -> None:
    entry = entry_for(content)
    path = fetch(entry, cache)
    assert path.read_bytes() == content
    assert server.requests == [("/models/tiny-1.safetensors", None)]
    server.mode = "404"
    assert fetch(entry, cache) == path
    assert len(server.requests) == 1
    assert left(cache) == FETCHED


def test_a_cached_file_is_checked_before_every_use(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    path = fetch(entry_for(content), cache)
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(CheckpointError, match="changed or damaged since"):
        fetch(entry_for(content), cache)


def test_an_unknown_hash_is_pinned_with_a_warning(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    said: list[str] = []
    fetch(entry_for(None), cache, notify=said.append)
    assert any(line.startswith("warning: no source states the sha256") for line in said)
    assert cache.expected(entry_for(None)) == hashlib.sha256(content).hexdigest()
    fetch(entry_for(None), cache).unlink()
    server.content = tiny(**{"stem.0.0.weight": np.ones((32, 3, 7, 7), np.float32)})
    with pytest.raises(CheckpointError, match="damaged, or another file"):
        fetch(entry_for(None), cache, notify=said.append)
    assert left(cache) == ["pinned.json"]


def nan() -> bytes:
    weight = np.full((32, 3, 7, 7), np.nan, np.float32)
    return tiny(**{"stem.0.0.weight": weight})


def twice() -> bytes:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' * 2
    header = header[:-1] + b"}"
    return len(header).to_bytes(8, "little") + header.replace(b"},{", b"},") + bytes(4)


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 40
BAD: dict[str, tuple[Callable[[], bytes], dict[str, object], str]] = {
    "a web page": (lambda: PAGE, {}, "page of text"),
    "a web page with a known hash": (lambda: PAGE, {"sha256": "ab" * 32}, "page of text"),
    "another network": (tiny, {"network": "ssd300"},
                        "weights of ssd_tiny with 4 classes, expected ssd300"),
    "other classes": (lambda: tiny(6), {}, "6 classes"),
    "half a file": (lambda: tiny()[: 100_000], {}, "no safetensors file, or damaged"),
    "half a file of known size": (lambda: tiny()[: 100_000], {"size": 900_000},
                                  "100000 bytes, 900000 are expected"),
    "a wrong hash": (tiny, {"sha256": "ab" * 32}, "sha256 .* expected abab"),
    "wrong first digits": (tiny, {"sha256_starts": "abababab"}, "expected one with abababab"),
    "not a number": (nan, {}, "stem.0.0.weight' is not finite"),
    "a header of gigabytes": (lambda: (5 << 30).to_bytes(8, "little") + tiny()[8:], {},
                              "header should have"),
    "nothing": (lambda: b"", {}, "empty"),
    "names twice": (lambda: twice(), {}, "name a stands in it twice"),
    "a pickle": (
        lambda: b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        {"address": "https://weights.example/a.pth"},
        "not torch's|posix.system",
    ),
    "another backbone": (
        lambda: torch_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}),
        {"kind": "backbone", "network": "vgg16", "address": "https://weights.example/a.pth"},
        "no weights of vgg16",
    ),
    "a deeper backbone": (
        lambda: torch_file(flat("mobilenet_v2.torchvision") | {"features.18.3.weight": np.ones(3)}),
        {"kind": "backbone", "network": "mobilenet_v2", "donor": "torchvision",
         "address": "https://weights.example/a.pth"},
        "features.18.3.weight is of no layer of mobilenet_v2",
    ),
    "another library": (
        lambda: torch_file(flat("mobilenet_v2.timm")),
        {"kind": "backbone", "network": "mobilenet_v2", "donor": "mindcv",
         "address": "https://weights.example/a.pth"},
        "they are named as timm does",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_and_nothing_is_left(
    name: str, server: FileServer, cache: Cache
) -> None:
    make, values, words = BAD[name]
    server.content = make()
    with pytest.raises(CheckpointError, match=words):
        fetch(entry_for(None, **values), cache, notify=lambda _: None)
    assert left(cache) == []


def test_what_is_behind_a_backbone_may_be_nan(server: FileServer, cache: Cache) -> None:
    # torchvision's vgg16_features-amdegroot: "classifier module are filled with nans".
    weights = flat("mobilenet_v2.torchvision")
    weights["classifier.1.weight"] *= np.nan
    entry = entry_for(
        None,
        kind="backbone",
        network="mobilenet_v2",
        donor="torchvision",
        address="https://weights.example/a.pth",
    )
    server.content = torch_file(weights)
    path = fetch(entry, cache, notify=lambda _: None)
    assert "backbone mobilenet_v2" in kind_of(read_weights(path))[0]
    weights["features.18.1.weight"] *= np.nan
    path.unlink()
    server.content = torch_file(weights)
    (cache.folder / "pinned.json").unlink()
    with pytest.raises(CheckpointError, match="features.18.1.weight' is not finite"):
        fetch(entry, cache, notify=lambda _: None)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("404", "the server says 404 .* may have moved"),
        ("403", "the server says 403 .* asks for rights"),
        ("503", "could not be fetched: .* the server says 503 .* put it at"),
        ("redirect http://[bad", "leads to no proper address"),
        ("redirect ", "is redirected to nowhere"),
    ],
)
def test_an_answer_without_a_file(
    mode: str, words: str, server: FileServer, cache: Cache, content: bytes
) -> None:
    server.mode = mode
    with pytest.raises(CheckpointError, match=words):
        fetch(entry_for(content), cache)
    assert left(cache) == []


@pytest.mark.parametrize("code", ["503", "429"])
def test_what_came_stays_while_a_server_has_trouble(
    code: str, server: FileServer, cache: Cache, content: bytes
) -> None:
    server.cut = len(content) // 2
    with pytest.raises(CheckpointError):
        fetch(entry_for(content), cache)
    server.cut, server.mode = 0, code
    with pytest.raises(CheckpointError, match=f"says {code}.*the same command goes on from there"):
        fetch(entry_for(content), cache)
    server.mode = ""
    fetch(entry_for(content), cache)
    assert server.requests[-1][1] == f"bytes={len(content) // 2}-"


def test_a_proxy_that_does_not_answer_is_named(
    server: FileServer, cache: Cache, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(CheckpointError, match="by the proxy 127.0.0.1:9") as refusal:
        fetch(entry_for(content), cache)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "target", ["https://127.0.0.1:9/x", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
def test_a_redirect_to_another_scheme_is_not_followed(
    target: str, server: FileServer, cache: Cache, content: bytes
) -> None:
    server.mode = f"redirect {target}"
    with pytest.raises(CheckpointError, match="another scheme"):
        fetch(entry_for(content), cache)
    assert left(cache) == []


def test_a_redirect_within_the_scheme_is_followed(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    with file_server() as other:
        other.content = content
        server.mode = f"redirect {other.address}/elsewhere"
        assert fetch(entry_for(content), cache).read_bytes() == content


def test_slow_is_not_wrong_and_silence_is(server: FileServer, cache: Cache, content: bytes) -> None:
    server.mode = "silent"
    with pytest.raises(CheckpointError, match="silent.*fetch https://weights.example.*put it at"):
        fetch(entry_for(content), cache, timeout_s=0.2)
    assert left(cache) == []
    server.mode = "slow"
    assert fetch(entry_for(content), cache, timeout_s=2).read_bytes() == content


def test_a_broken_transfer_goes_on_where_it_ended(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    half = len(content) // 2
    server.cut = half
    with pytest.raises(CheckpointError, match="the same command goes on from there"):
        fetch(entry_for(content), cache)
    assert cache.part(entry_for(content)).stat().st_size == half
    assert not cache.path(entry_for(content)).exists()
    server.cut, before = 0, len(server.requests)
    assert fetch(entry_for(content), cache).read_bytes() == content
    assert [asked for _, asked in server.requests[before:]] == [f"bytes={half}-"]
    assert left(cache) == FETCHED


def test_one_break_is_healed_at_once(server: FileServer, cache: Cache, content: bytes) -> None:
    server.cut, server.heals = len(content) // 3, True
    assert fetch(entry_for(content), cache).read_bytes() == content
    assert server.requests[1][1] == f"bytes={len(content) // 3}-"


def test_a_server_may_give_it_piece_by_piece(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    server.at_most = len(content) // 3 + 1
    assert fetch(entry_for(content), cache).read_bytes() == content
    assert len(server.requests) == 3


def test_words_of_a_server_do_not_command_the_terminal(
    server: FileServer, cache: Cache, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.responses", {404: ("\x1b[31m", "")})
    server.mode = "404"
    with pytest.raises(CheckpointError, match="says 404") as refusal:
        fetch(entry_for(content), cache)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("name", ["tiny", "lock", "tiny/tiny-1.safetensors.part"])
def test_what_is_in_the_way_in_the_cache_is_named(
    name: str, server: FileServer, cache: Cache, content: bytes
) -> None:
    blocked = cache.folder / name
    blocked.parent.mkdir(parents=True)
    if name == "tiny":
        blocked.write_text("a file where a folder should be")
    else:
        blocked.mkdir()
    with pytest.raises(SettingError, match=f"{name}.*remove what is in the way"):
        fetch(entry_for(content), cache)


def test_a_damaged_note_of_the_version_is_no_version(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    part = cache.part(entry_for(content))
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:1000])
    part.with_name(part.name + ".etag").write_bytes(b"\xff\n\r\nX: y")
    fetch(entry_for(content), cache)
    assert server.requests == [("/models/tiny-1.safetensors", None)]


def test_two_versions_are_never_joined(server: FileServer, cache: Cache, content: bytes) -> None:
    server.cut = len(content) // 2
    with pytest.raises(CheckpointError):
        fetch(entry_for(content), cache)
    server.cut, server.etag = 0, '"two"'
    assert fetch(entry_for(content), cache).read_bytes() == content


def test_a_part_of_an_unknown_version_is_not_gone_on_with(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    server.cut, server.etag = len(content) // 2, ""
    with pytest.raises(CheckpointError):
        fetch(entry_for(content), cache)
    server.cut, before = 0, len(server.requests)
    assert fetch(entry_for(content), cache).read_bytes() == content
    assert server.requests[before:] == [("/models/tiny-1.safetensors", None)]


def test_a_server_without_ranges_starts_again(
    server: FileServer, cache: Cache, content: bytes
) -> None:
    server.cut = len(content) // 2
    with pytest.raises(CheckpointError):
        fetch(entry_for(content), cache)
    server.cut, server.mode = 0, "no ranges"
    assert fetch(entry_for(content), cache).read_bytes() == content


def test_without_a_network_it_says_what_to_put_where(
    cache: Cache, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSD_WEIGHTS_OFFLINE")
    monkeypatch.setenv("SSD_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    entry = entry_for(content)
    with pytest.raises(CheckpointError) as caught:
        fetch(entry, cache)
    for part in (ADDRESS, entry.sha256 or "", str(cache.path(entry)), "HTTPS_PROXY"):
        assert part in str(caught.value)
    cache.path(entry).parent.mkdir(parents=True, exist_ok=True)
    cache.path(entry).write_bytes(content)
    assert fetch(entry, cache) == cache.path(entry)


def test_a_file_put_there_by_hand_is_checked_as_any(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSD_WEIGHTS_OFFLINE", "1")
    entry = entry_for(None)
    with pytest.raises(CheckpointError, match="SSD_WEIGHTS_OFFLINE forbids"):
        fetch(entry, cache)
    cache.path(entry).parent.mkdir(parents=True)
    cache.path(entry).write_bytes(PAGE)
    with pytest.raises(CheckpointError, match="page of text"):
        fetch(entry, cache, notify=lambda _: None)
    assert left(cache) == []


def _fetch_in_process(folder: str, name: str) -> None:
    from training.checkpoints.weight_files import read_weights

    content = Path(name).read_bytes()
    assert read_weights(fetch(entry_for(content), Cache(Path(folder))))


@pytest.mark.slow
def test_two_processes_fetch_it_once(
    server: FileServer, cache: Cache, content: bytes, tmp_path: Path
) -> None:
    server.mode = "slow"
    (tmp_path / "content").write_bytes(content)
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(
            target=_fetch_in_process, args=(str(cache.folder), str(tmp_path / "content"))
        )
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert len(server.requests) == 1


def test_plain_http_needs_a_hash(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSD_WEIGHTS_OFFLINE")
    monkeypatch.setenv("SSD_WEIGHTS_MIRROR", "http://mirror.example")
    with pytest.raises(CheckpointError, match="plain http, and no hash"):
        fetch(entry_for(None), cache)


def test_a_proxy_is_taken_from_the_usual_variable(
    server: FileServer, cache: Cache, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSD_WEIGHTS_MIRROR", "http://mirror.example")
    monkeypatch.setenv("http_proxy", server.address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert fetch(entry_for(content), cache).read_bytes() == content
    assert server.requests[0][0] == "http://mirror.example/models/tiny-1.safetensors"


def test_mirrors_and_cache_come_from_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SSD_WEIGHTS_MIRROR", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hf.example/")
    assert address_of(find_entry("mobilenet_v2.timm")).startswith(
        "https://hf.example/timm/mobilenetv2"
    )
    assert address_of(find_entry("ssd300")).startswith("https://download.mindspore.cn/")
    monkeypatch.setenv("SSD_WEIGHTS_MIRROR", "nonsense")
    with pytest.raises(SettingError, match="SSD_WEIGHTS_MIRROR=nonsense"):
        address_of(find_entry("ssd300"))
    monkeypatch.delenv("SSD_WEIGHTS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache().folder == tmp_path / "mindspore-ssd/weights"
    monkeypatch.setenv("SSD_WEIGHTS_CACHE", "here")
    with pytest.raises(SettingError, match="absolute path"):
        default_cache()


def test_every_entry_can_be_read_and_says_where_its_facts_stand() -> None:
    entries = registry()
    assert {
        "ssd300",
        "ssd_vgg16",
        "ssd_mobilenet_v1_fpn",
        "ssd_resnet50_fpn",
        "ssd300_vgg16",
    } <= set(entries)
    for entry in entries.values():
        assert entry.source and entry.licence and not entry.sha256_seen
        assert entry.published is None or 0 < entry.published < 100
        if entry.settings:
            assert entry.settings == SETTINGS[entry.network]
        if entry.donor == "torchvision":  # its files bear the first digits of their hash
            digits = entry.file_name.rpartition("-")[2].removesuffix(".pth")
            assert (entry.sha256 or entry.sha256_starts).startswith(digits)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": "http://x/a.ckpt"}, "https"),
        ({"address": "https://x/a.exe"}, "ends in"),
        (
            {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
            "empty file",
        ),
        ({"sha256": "abc"}, "64 hexadecimal"),
        ({"kind": "network"}, "detector, backbone"),
        ({"classes": 0}, "2 or more"),
    ],
)
def test_a_bad_entry_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        entry_for(None, **change)


def test_entries_of_files_are_refused_by_name(tmp_path: Path) -> None:
    for text, words in (
        ("kind: [", "cannot be read"),
        ("- a", "key: value"),
        ("kind: detector\nsha265: 1", "sha265: unknown"),
    ):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(SettingError, match=f"mine.yaml.*{words}"):
            read_entry(tmp_path / "mine.yaml")


def test_names_lead_to_entries_or_to_near_names() -> None:
    assert find_entry("hub:mindspore/ascend/1.1/ssd_v1.1").name == "ssd300"
    with pytest.raises(SettingError, match="Near: ssd300"):
        find_entry("hub:ssd30")
    with pytest.raises(SettingError, match="init.backbone=hub:vgg16.timm"):
        find_entry("hub:vgg16.timm", "detector")
    assert local_path("a/b.ckpt") == Path("a/b.ckpt")
    assert os.environ.get("SSD_WEIGHTS_CACHE") != "here"
