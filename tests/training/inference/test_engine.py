"""Which engine computes a checkpoint: the same boxes in each, proven once, kept, and said."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.core.errors import CheckpointError, SettingError
from tests.helpers.checkpoints import write_checkpoint
from training.inference import engine, graph_cache
from training.inference.agreement import Agreement, largest_difference, scenes
from training.inference.detector import Detector
from training.inference.engine import Engine, load_engine
from training.inference.graph_cache import GraphCache, graph_key, graphs_folder
from training.inference.model_file import ModelFile
from training.inference.onnx_session import SessionPredictor
from training.inference.open_model import load_predictor, open_model_file
from training.nets.build import build_network
from training.nets.settings import model_settings


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "best.ckpt"
    write_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """A cache in which the checkpoint's graph lies."""
    folder = tmp_path_factory.mktemp("graphs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(graph_cache.VARIABLE, str(folder))
        load_engine(open_model_file(checkpoint), 2, "onnxruntime")
    return folder


@pytest.fixture()
def warm(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """The cache in use; whoever builds a graph in spite of it fails."""
    monkeypatch.setenv(graph_cache.VARIABLE, str(cache))
    monkeypatch.setattr(engine, "write_graph", _must_not_build)
    return cache


def _must_not_build(*_: Any) -> bytes:
    pytest.fail("the graph is built although it is kept")


def test_both_engines_find_the_same(
    warm: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = open_model_file(checkpoint)
    images = np.concatenate([scenes(file.image_size, 3), scenes(file.image_size, 2)[::-1]])
    boxes, scores = load_predictor(file, 2)(images)
    predict, found = load_engine(file, 2)
    assert isinstance(predict, SessionPredictor) and found.name == "onnxruntime"
    other_boxes, other_scores = predict(images)
    assert other_boxes.dtype == other_scores.dtype == np.float32
    np.testing.assert_allclose(other_boxes, boxes, atol=1e-5)
    np.testing.assert_allclose(other_scores, scores, atol=1e-5)
    assert found.parity is not None and 0 < found.parity.largest < 1e-5
    Detector.load(checkpoint)
    said = f"largest difference {found.parity.largest:.1e}"
    assert f"engine: onnxruntime (parity with MindSpore checked: {said})\n" in (
        capsys.readouterr().out
    )
    proof = json.loads(next(warm.glob("*.json")).read_text())
    assert proof["parity"] == dataclasses.asdict(found.parity)


def test_a_warm_start_does_not_import_mindspore(warm: Path, checkpoint: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from training.inference.detector import Detector\n"
        f"detector = Detector.load({str(checkpoint)!r})\n"
        "found = detector.predict(np.zeros((90, 120, 3), np.uint8), threshold=0.001)\n"
        "late = {'mindspore', 'onnx', 'matplotlib', 'hydra', 'numba'}\n"
        "print(len(found), sorted(late & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    expected = Detector.load(checkpoint, engine="mindspore").predict(
        np.zeros((90, 120, 3), np.uint8), threshold=0.001
    )
    assert done.stdout.splitlines()[-1] == f"{len(expected)} []"
    assert len(expected) > 0


def test_mindspore_where_it_is_asked_for(warm: Path, checkpoint: Path) -> None:
    predict, found = load_engine(open_model_file(checkpoint), 2, "mindspore")
    assert not isinstance(predict, SessionPredictor)
    assert found.name == "mindspore" and found.line == "engine: mindspore"


@pytest.mark.parametrize("name", ["tensorrt", "", "ONNXRUNTIME"])
def test_an_unknown_engine_is_refused(checkpoint: Path, name: str) -> None:
    with pytest.raises(SettingError, match=f"engine='{name}'.*auto, mindspore, onnxruntime"):
        Detector.load(checkpoint, engine=name)


def test_without_onnxruntime_mindspore_does_it(
    warm: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "has_onnxruntime", lambda: False)
    file = open_model_file(checkpoint)
    found = load_engine(file, 2)[1]
    assert found.line == (
        "engine: mindspore (not onnxruntime: it is not installed (pip install onnxruntime))"
    )
    with pytest.raises(SettingError, match=r"engine=onnxruntime: it is not installed"):
        load_engine(file, 2, "onnxruntime")


def test_a_card_computes_in_mindspore(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "start_device", lambda runtime, prefix: None)
    file = open_model_file(checkpoint)
    found = load_engine(file, 2, device="Ascend")[1]
    assert found.name == "mindspore" and "it runs on the CPU, and device=Ascend" in found.line
    with pytest.raises(SettingError, match="device=Ascend"):
        load_engine(file, 2, "onnxruntime", device="Ascend")


def test_a_graph_that_disagrees_is_not_used(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(graph_cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(engine, "compare_outputs", lambda *_: Agreement(4, 0.0, 0.5))
    file, said = open_model_file(checkpoint), list[str]()
    found = load_engine(file, 2, notify=said.append)[1]
    why = "its largest difference from MindSpore is 5.0e-01, above 0.001"
    assert found.line == f"engine: mindspore (not onnxruntime: {why})"
    assert len(said) == 1 and "building the ONNX graph of best.ckpt" in said[0]
    assert not list(tmp_path.glob("*.onnx"))
    # The verdict is kept: it is not tried again.
    monkeypatch.setattr(engine, "write_graph", _must_not_build)
    assert load_engine(file, 2, notify=said.append)[1] == found and len(said) == 1
    with pytest.raises(CheckpointError, match=f"engine=onnxruntime: {why}"):
        load_engine(file, 2, "onnxruntime")


def test_a_network_that_onnx_cannot_hold_runs_in_mindspore(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bytes:
        raise RuntimeError("Unsupported op: Unheard\nof")

    monkeypatch.setenv(graph_cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(engine, "write_graph", refuse)
    found = load_engine(open_model_file(checkpoint), 2)[1]
    assert "does not become an ONNX graph: Unsupported op: Unheard)" in found.line


def test_a_damaged_graph_is_built_again(
    tmp_path: Path, cache: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_model_file(checkpoint)
    key = graph_key(file)
    good = GraphCache(cache).read(key)
    assert good is not None
    kept = GraphCache(tmp_path)
    kept.write(key, good.graph, good.proof)
    path = tmp_path / f"{key}.onnx"
    path.write_bytes(good.graph[:1000] + b"\0" + good.graph[1001:])
    assert kept.read(key) is None
    monkeypatch.setenv(graph_cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(engine, "write_graph", lambda *_: good.graph)
    said: list[str] = []
    assert load_engine(file, 2, notify=said.append)[1].name == "onnxruntime"
    assert len(said) == 1 and path.read_bytes() == good.graph
    for text in ("", "[]", "{}", '{"format": "ssd-graph/0", "graph_sha256": ""}', "\xff"):
        (tmp_path / f"{key}.json").write_text(text, encoding="latin-1")
        assert kept.read(key) is None
    # A proof that proves nothing.
    kept.write(key, good.graph, {"parity": {**good.proof["parity"], "box_difference": 0.5}})
    assert load_engine(file, 2, notify=said.append)[1].name == "onnxruntime" and len(said) == 2


def test_a_folder_that_cannot_be_written_is_a_line(
    tmp_path: Path, cache: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_model_file(checkpoint)
    good = GraphCache(cache).read(graph_key(file))
    assert good is not None
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv(graph_cache.VARIABLE, str(tmp_path / "taken"))
    monkeypatch.setattr(engine, "write_graph", lambda *_: good.graph)
    said: list[str] = []
    assert load_engine(file, 2, notify=said.append)[1].name == "onnxruntime"
    assert len(said) == 2 and "the graph is not kept" in said[1] and "taken" in said[1]


def test_the_second_process_waits_for_the_first(tmp_path: Path) -> None:
    cache, order, said = GraphCache(tmp_path), list[str](), list[str]()

    def second() -> None:
        with cache.locked("k", said.append):
            order.append("second")

    with cache.locked("k", said.append):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert len(said) == 1 and f"process {os.getpid()}" in said[0]
    assert not list(tmp_path.iterdir())


def test_the_key_is_of_all_that_decides(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = open_model_file(checkpoint)
    keys = {
        graph_key(file),
        graph_key(dataclasses.replace(file, sha256="0" * 64)),
        graph_key(dataclasses.replace(file, num_classes=9)),
        graph_key(dataclasses.replace(file, model=model_settings("ssd_tiny"))),
    }
    monkeypatch.setattr(graph_cache, "package_version", lambda name: "9")
    keys.add(graph_key(file))
    assert len(keys) == 5 and graph_key(file) in keys


def test_the_graphs_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_cache, "KEPT", 2)
    cache = GraphCache(tmp_path)
    for k, key in enumerate("ab"):
        cache.write(key, key.encode(), {})
        os.utime(tmp_path / f"{key}.json", (k, k))
    assert cache.read("a") is not None  # used now
    cache.write("c", b"c", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.onnx", "c.json", "c.onnx"]


def test_where_graphs_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(graph_cache.VARIABLE, "/a/b")
    assert graphs_folder() == Path("/a/b")
    monkeypatch.setenv(graph_cache.VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert graphs_folder() == Path("/x/mindspore-ssd/graphs")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert graphs_folder() == Path.home() / ".cache/mindspore-ssd/graphs"
    monkeypatch.setenv(graph_cache.VARIABLE, "graphs")
    with pytest.raises(SettingError, match="SSD_GRAPH_CACHE=graphs: expected an absolute path"):
        graphs_folder()


def test_what_is_no_number_agrees_with_nothing() -> None:
    one = np.ones(3, np.float32)
    assert largest_difference(one, one) == 0
    assert largest_difference(one, one * np.nan) == float("inf")
    assert largest_difference(one, one[:2]) == float("inf")
    assert not Agreement(1, float("inf"), 0.0).holds and not Agreement(1, 0.0, 0.01).holds


def exported(path: str) -> ModelFile:
    return ModelFile(Path(path), model_settings("ssd_tiny"), 7, (), "0" * 64, "")


@pytest.mark.parametrize(
    ("path", "wanted", "own"),
    [("m.mindir", "onnxruntime", "mindspore"), ("m.onnx", "mindspore", "onnxruntime")],
)
def test_an_exported_file_has_one_engine(path: str, wanted: str, own: str) -> None:
    with pytest.raises(SettingError, match=f"engine={wanted}: {path} .*which only {own} runs"):
        load_engine(exported(path), 1, wanted)


def test_facts_for_metrics() -> None:
    facts = Engine("onnxruntime", "1.2", "x", Agreement(4, 1e-7, 2e-7)).facts()
    assert facts["name"] == "onnxruntime" and facts["parity"]["score_difference"] == 2e-7
    assert Engine("mindspore", "2.10.0").facts() == {"name": "mindspore", "version": "2.10.0"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssd300", "ssd_light", "ssdlite_mobilenet_v3"])
def test_real_networks_agree(tmp_path: Path, name: str) -> None:
    network = build_network(model_settings(name), 7, seed=3)
    write_checkpoint(tmp_path / "n.ckpt", network=network)
    file = open_model_file(tmp_path / "n.ckpt")
    predict, found = load_engine(file, 4, "onnxruntime")
    assert found.parity is not None and found.parity.largest < 1e-4
    images = np.random.default_rng(0).integers(0, 256, (3, 3, *file.image_size), np.uint8)
    boxes, scores = load_predictor(file, 4)(images)
    other_boxes, other_scores = predict(images)
    np.testing.assert_allclose(other_boxes, boxes, atol=1e-4)
    np.testing.assert_allclose(other_scores, scores, atol=1e-4)
