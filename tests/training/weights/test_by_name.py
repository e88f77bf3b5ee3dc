"""`hub:NAME` wherever a checkpoint is asked for, from a server on this machine; the seed's own
lines; the ledger.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mindspore_hub_conf
import training.weights.entry
import training.weights.fetch
from data_tools.core.errors import CheckpointError, SettingError
from data_tools.core.sample import ClassInfo
from tests.golden.donor_filling import fill, picture
from tests.helpers.donors import NAMES
from tests.helpers.file_server import FileServer, file_server
from tests.helpers.torch_files import torch_file
from training.checkpoints.checkpoint import Card
from training.checkpoints.donors import libraries_of
from training.checkpoints.settings import InitSettings
from training.checkpoints.signatures import signature
from training.checkpoints.store import CheckpointStore
from training.checkpoints.weight_files import EMPTY_SHA256, read_weights, save_weights
from training.command_line.configure import compose
from training.commands.import_checkpoint import import_checkpoint
from training.exporting.export import run as export
from training.exporting.settings import ExportCommand
from training.inference.class_columns import check_classes, with_columns
from training.inference.coco_classes import coco_classes, coco_classes_by_id
from training.inference.detector import Detector
from training.inference.model_file import ModelFile
from training.inference.open_model import open_model_file
from training.nets.build import build_network
from training.nets.settings import ModelSettings, model_settings
from training.run.first_weights import load_initial_weights, with_model_of_first_weights
from training.settings import TrainSettings
from training.weights.__main__ import main as weights_command
from training.weights.fetch import local_path

LINES = """from mindspore_hub_conf import load

model = "mindspore/ascend/1.1/ssd_v1.1"
network = load(model)
network.set_train(False)
"""


def ours(name: str, classes: int) -> dict[str, np.ndarray]:
    """Weights of a network of ours, filled by name."""
    found = {}
    for key, shape in signature(name).shapes.items():
        head = fnmatchcase(key, signature(name).class_head)
        found[key] = fill(key, (shape[0] * classes // 2, *shape[1:]) if head else shape)
    return found


def theirs(donor: str) -> bytes:
    return torch_file({n: fill(n, tuple(s)) for n, s in NAMES[donor].items()})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the server gives for the last part of an address."""
    folder = tmp_path_factory.mktemp("published")
    save_weights(ours("ssd300", 81), folder / "a.ckpt")
    entries = training.weights.entry.registry()
    return {
        entries["ssd300"].file_name: (folder / "a.ckpt").read_bytes(),
        entries["ssdlite320_mobilenet_v3_large"].file_name: theirs("ssdlite320_mobilenet_v3_large"),
        entries["mobilenet_v2.torchvision"].file_name: theirs("mobilenet_v2.torchvision"),
    }


@pytest.fixture
def hub(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileServer]:
    """The registry with the hashes of files made here, and a mirror that has them."""
    folder = tmp_path / "registry"
    folder.mkdir()
    for path in training.weights.entry.FOLDER.glob("*.yaml"):
        entry = training.weights.entry.read_entry(path)
        lines = path.read_text().splitlines()
        if entry.file_name in files:
            sha256 = hashlib.sha256(files[entry.file_name]).hexdigest()
            lines = [line for line in lines if not line.startswith(("sha256:", "size:"))]
            lines.append(f'sha256: "{sha256}"')
        (folder / path.name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(training.weights.entry, "FOLDER", folder)
    monkeypatch.setenv("SSD_WEIGHTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SSD_WEIGHTS_OFFLINE", raising=False)
    with file_server() as server:
        server.files = files
        monkeypatch.setenv("SSD_WEIGHTS_MIRROR", server.address)
        yield server


@pytest.mark.parametrize("document", ["README.md", "README_CN.md", "docs/weights.md"])
def test_the_seeds_own_lines_stand_in_the_documents(document: str, repository: Path) -> None:
    assert LINES in (repository / document).read_text(encoding="utf-8")


def test_the_seeds_own_lines(hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load by the card's name, without `mindspore_hub`; then with one that is installed."""
    names: dict[str, Any] = {}
    exec(LINES, names)
    network, model, load = names["network"], names["model"], names["load"]
    assert network.model.name == "ssd300" and network.num_classes == 81
    for name, value in ours("ssd300", 81).items():
        got = dict(network.parameters_and_names())[name].asnumpy()
        np.testing.assert_array_equal(got, value)

    called: list[Any] = []
    fake = types.ModuleType("mindspore_hub")
    fake.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    fake.load = lambda *names, **more: called.append((names, more)) or "theirs"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mindspore_hub", fake)
    assert load(model, num_classes=81) == "theirs"
    assert called == [((model,), {"num_classes": 81})]


def test_a_card_leads_to_its_file(
    hub: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = training.weights.entry.registry()["ssd300"]
    head = "# SSD\n---\nmodel-name: ssd300\nasset:\n\n-\n    file-format: ckpt\n"
    files = (
        f"    asset-link: <{entry.address}>\n    asset-sha256: {{}}\n---\nssd is a audio network.\n"
    )
    card = tmp_path / "card.md"
    card.write_text(head + files.format(entry.sha256))
    assert weights_command(["card", str(card)]) == 0
    out = capsys.readouterr().out
    assert "wrong: calls a detector a network for audio" in out
    assert f"fetched: {tmp_path / 'cache' / 'ssd300' / entry.file_name}" in out
    card.write_text(head + files.format("ab" * 32))
    with pytest.raises(SystemExit):
        weights_command(["card", str(card)])
    assert "one is wrong" in capsys.readouterr().out
    card.write_text(head + files.format(EMPTY_SHA256))
    with pytest.raises(SystemExit):
        weights_command(["card", str(card)])
    assert "hash of an empty file" in capsys.readouterr().err


def test_the_command_says_what_a_file_is(
    hub: FileServer, files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert weights_command(["fetch", "mobilenet_v2.torchvision"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert weights_command(["verify", str(path)]) == 0
    assert "backbone mobilenet_v2, as torchvision names it" in (out := capsys.readouterr().out)
    assert "the file of hub:mobilenet_v2.torchvision: its hash is right" in out
    changed = tmp_path / path.name
    changed.write_bytes(theirs("mobilenet_v2.torchvision") + b" ")
    assert weights_command(["verify", str(changed)]) == 1
    assert "is called as the file of" in capsys.readouterr().out
    assert weights_command(["where", "hub:ssdlite320_mobilenet_v3_large"]) == 0
    assert "model=ssdlite320_torchvision" in capsys.readouterr().out
    assert weights_command(["list"]) == 0
    assert "hub:ssd300 " in capsys.readouterr().out


def test_create_network_takes_a_name(hub: FileServer) -> None:
    network = mindspore_hub_conf.create_network(
        "ssdlite_mobilenet_v3", 91, "hub:ssdlite320_mobilenet_v3_large"
    )
    assert network.model.padding == "symmetric"
    with pytest.raises(ValueError, match="ssd300 with 81"):
        mindspore_hub_conf.create_network("ssd300", 21, "hub:ssd300")


def test_detectors_of_torchvision_know_their_classes(hub: FileServer) -> None:
    detector = Detector.load("hub:ssdlite320_mobilenet_v3_large")
    assert len(detector.classes) == 90
    assert [c.name for c in detector.classes][:2] == ["person", "bicycle"]
    assert detector.classes[11].name == "N/A 12"
    found = detector.predict(picture(320, 320)[:, :, ::-1].copy(), threshold=0.02, top_k=3)
    assert all(name != "" for name in found.names)


def test_evaluation_takes_the_classes_of_the_set() -> None:
    """torchvision's 90 labels for COCO's 80 classes: by id and name, in the set's order."""
    file = ModelFile(Path("a.pth"), ModelSettings(), 91, coco_classes_by_id(), "", "")
    split: Any = types.SimpleNamespace(num_classes=81, classes=coco_classes(), folder="set")
    columns = check_classes(file, split, accept=False)
    assert columns is not None and len(columns) == 81
    assert columns[:13] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    scores = np.arange(91, dtype=np.float32).reshape(1, 1, 91)
    chosen = with_columns(lambda images: (images, scores), columns)
    np.testing.assert_array_equal(chosen(np.zeros(0))[1][0, 0], columns)
    other: Any = types.SimpleNamespace(
        num_classes=3, classes=(ClassInfo(1, "cat", 1), ClassInfo(2, "x", 2)), folder="set"
    )
    with pytest.raises(CheckpointError, match="90 classes"):
        check_classes(file, other, accept=False)


def parts_of(settings: TrainSettings) -> Any:
    network = build_network(settings.model, 4)
    state = types.SimpleNamespace(network=network, average=None)
    return types.SimpleNamespace(
        state=state, settings=settings, world=types.SimpleNamespace(is_main=True)
    )


def test_a_backbone_brings_padding_and_normalisation(hub: FileServer, tmp_path: Path) -> None:
    init = InitSettings(backbone="hub:mobilenet_v2.torchvision")
    settings = TrainSettings(init=init, output=str(tmp_path), model=ModelSettings(mean=[1, 2, 3]))
    settings = with_model_of_first_weights(settings)
    assert settings.model.padding == "symmetric"
    assert settings.model.mean == [123.675, 116.28, 103.53]
    said: list[str] = []
    record = load_initial_weights(parts_of(settings), said.append)
    assert "starts from nothing: multi_box, multi_residual" in said[0]
    assert any(
        "taken over from hub:mobilenet_v2.torchvision: model.padding=symmetric" in s for s in said
    )
    assert record is not None
    assert record["donor"]["house"] == "torchvision"
    assert record["donor"]["licence"] == "BSD-3-Clause"
    assert record["names"]["backbone.features_1.0.features.0.weight"] == "features.0.0.weight"
    assert "classifier.1.weight" in record["left_out"]


def test_finetuning_from_a_backbone_by_name_says_what_starts_from_nothing(
    hub: FileServer, tmp_path: Path
) -> None:
    words = ["+experiment=finetune", "init.backbone=hub:mobilenet_v2.torchvision", "data=x"]
    settings: TrainSettings = compose("train", "training.settings:TrainSettings", words)
    settings = with_model_of_first_weights(
        dataclasses.replace(settings, output=str(tmp_path / "run"))
    )
    assert (settings.model.name, settings.model.padding) == ("ssd300", "symmetric")
    said: list[str] = []
    load_initial_weights(parts_of(settings), said.append)
    assert said[0].count("\n") == 0 and "starts from nothing: multi_box, multi_residual" in said[0]


def test_a_backbone_of_another_network_is_left_where_scratch_is_accepted(
    hub: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["+experiment=small_dataset_ssd300", "model=ssd_tiny", "data=x"]
    settings: TrainSettings = compose("train", "training.settings:TrainSettings", words)
    assert with_model_of_first_weights(settings).init.backbone is None
    said = capsys.readouterr().out
    assert "is a mobilenet_v2, the backbone of model=ssd_tiny of no classifier" in said
    assert "It fits model=ssd300" in said and "starts from nothing" in said
    with pytest.raises(
        CheckpointError, match=r"is a resnet50.*model=ssd300 a mobilenet_v2.*ssd_resnet50_fpn"
    ):
        with_model_of_first_weights(TrainSettings(init=InitSettings(backbone="hub:resnet50.timm")))
    assert not hub.requests  # nothing was fetched in vain


@pytest.mark.parametrize("donor", ["torchvision", "timm"])
def test_names_that_two_libraries_share_are_those_of_the_registrys(donor: str) -> None:
    """ResNet-50 bears the same names in torchvision and in timm: the file alone cannot tell."""
    weights = {n: fill(n, tuple(s)) for n, s in NAMES[f"resnet50.{donor}"].items()}
    assert libraries_of("resnet50", weights) == ("torchvision", "timm")
    mobile = {n: fill(n, tuple(s)) for n, s in NAMES[f"mobilenet_v2.{donor}"].items()}
    assert libraries_of("mobilenet_v2", mobile) == (donor,)


def test_a_fetched_file_is_put_on_record(hub: FileServer, tmp_path: Path) -> None:
    for name in ("mobilenet_v2.torchvision", "ssdlite320_mobilenet_v3_large", "ssd300"):
        path = local_path(f"hub:{name}", training.weights.entry.registry()[name].kind)
        record = json.loads(path.with_name(path.name + ".parity.json").read_text())
        assert record["donor"]["file"] == f"hub:{name}"
        assert record["donor"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert record["donor"]["house"] in ("torchvision", "mindspore") and record["names"]
        raw = read_weights(path)
        accounted = {*record["names"].values(), *record["left_out"], *record["names"]}
        assert all(n in accounted or f"network.{n}" in accounted for n in raw)


def test_a_cache_that_cannot_be_written_to_is_of_use(
    hub: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = local_path("hub:ssd300")
    ledger = path.with_name(path.name + ".parity.json")
    ledger.unlink()

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(training.weights.fetch, "put_on_record", refuse)
    assert local_path("hub:ssd300") == path and not ledger.exists()


def test_a_backbone_that_cannot_be_had(hub: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSD_WEIGHTS_OFFLINE", "1")
    init = InitSettings(backbone="hub:mobilenet_v2.timm")
    with pytest.raises(CheckpointError, match="put it at"):
        with_model_of_first_weights(TrainSettings(init=init))
    scratch = InitSettings(backbone="hub:mobilenet_v2.timm", if_unavailable="scratch")
    settings = with_model_of_first_weights(TrainSettings(init=scratch))
    assert settings.init.backbone is None and settings.model == ModelSettings()


def test_a_resumed_run_needs_no_file_and_keeps_its_network(
    hub: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backbone: symmetric; without: as it was. The network is not asked again."""
    monkeypatch.setenv("SSD_WEIGHTS_OFFLINE", "1")
    for padding in ("symmetric", "same"):
        model = ModelSettings(padding=padding)
        folder = tmp_path / padding / "checkpoints"
        card = Card(
            step=1, epoch=0, seed=1, model=dataclasses.asdict(model), num_classes=4, classes=[],
            data_fingerprint="x",
        )  # fmt: skip
        CheckpointStore(folder, 3).save(
            card, {"a": np.zeros(1, np.float32)}, {"b": np.zeros(1, np.float32)}
        )
        init = InitSettings(backbone="hub:mobilenet_v2.torchvision")
        settings = TrainSettings(init=init, output=str(tmp_path / padding), resume=True)
        assert with_model_of_first_weights(settings).model == model


def test_a_detector_is_no_backbone(hub: FileServer) -> None:
    with pytest.raises(SettingError, match="checkpoint=hub:ssd300"):
        with_model_of_first_weights(TrainSettings(init=InitSettings(backbone="hub:ssd300")))


def test_finetuning_takes_the_network_of_a_name(hub: FileServer) -> None:
    init = InitSettings(
        checkpoint="hub:ssdlite320_mobilenet_v3_large", model="checkpoint", head="new"
    )
    settings = with_model_of_first_weights(TrainSettings(init=init))
    assert settings.model == model_settings("ssdlite320_torchvision")
    assert (settings.loss.kind, settings.loss.box) == ("multibox", "smooth_l1")  # softmax needs it
    said: list[str] = []
    record = load_initial_weights(parts_of(settings), said.append)
    assert "starts from nothing: multi_box" in said[0]
    assert record is not None and record["largest_differences"] == {"weights": 0.0}
    assert record["names"]["backbone.features_1.0.0.weight"] == "backbone.features.0.0.0.weight"


@pytest.mark.parametrize("names", ["ours", "torchvision"])
def test_back_out_bit_by_bit(
    names: str, hub: FileServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    """hub: -> safetensors under our names or theirs -> the very weights; the ledger says what
    became of them.
    """
    out = tmp_path / "out.safetensors"
    hub_name = "hub:ssdlite320_mobilenet_v3_large"
    assert (
        export(ExportCommand(checkpoint=hub_name, format="safetensors", names=names, out=str(out)))
        == 0
    )
    want = {n: fill(n, tuple(s)) for n, s in NAMES["ssdlite320_mobilenet_v3_large"].items()}
    if names == "torchvision":
        from safetensors.numpy import load_file

        got = load_file(out)
        assert set(got) == {n for n in want if not n.endswith("num_batches_tracked")}
        for name, value in got.items():
            assert value.tobytes() == want[name].tobytes()
    again = open_model_file(out)
    assert again.model == model_settings("ssdlite320_torchvision")
    assert (again.num_classes, len(again.classes)) == (91, 90)
    first = read_weights(open_model_file(hub_name).path)
    for name, value in read_weights(out).items():
        assert value.tobytes() == first[name].tobytes()
    record = json.loads((tmp_path / "out.safetensors.parity.json").read_text())
    assert record["ledger"] == "ssd-ledger/1" and record["passed"]
    assert record["donor"]["file"] == hub_name
    assert record["largest_differences"] == {"weights": 0.0}
    assert len(record["names"]) == 406
    assert record["names"][next(iter(record["names"]))].startswith("backbone.features.")


def test_names_that_torchvision_would_misread_are_refused(tmp_path: Path) -> None:
    save_weights(ours("ssdlite_mobilenet_v3", 4), tmp_path / "same.ckpt")
    command = ExportCommand(
        checkpoint=str(tmp_path / "same.ckpt"), format="safetensors", names="torchvision",
        out=str(tmp_path / "out.safetensors"),
    )  # fmt: skip
    with pytest.raises(
        SettingError, match="model.padding=same, torchvision's computes with symmetric"
    ):
        export(command)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.slow
def test_the_papers_network_goes_to_onnx(tmp_path: Path) -> None:
    (tmp_path / "theirs.pth").write_bytes(theirs("ssd300_vgg16"))
    command = ExportCommand(
        checkpoint=str(tmp_path / "theirs.pth"),
        out=str(tmp_path / "a.onnx"),
        batch_size=0,
        parity_images=2,
    )
    assert export(command) == 0
    record = json.loads((tmp_path / "a.onnx.parity.json").read_text())
    assert record["passed"] and record["donor"]["house"] == "torchvision"
    assert set(record["largest_differences"]) == {"boxes", "scores"}


def test_an_import_is_put_on_record(hub: FileServer, tmp_path: Path) -> None:
    imported = import_checkpoint("hub:ssdlite320_mobilenet_v3_large", out=tmp_path / "w.ckpt")
    assert (imported.model, imported.num_classes, imported.library) == (
        "ssdlite_mobilenet_v3",
        91,
        "torchvision",
    )
    record = json.loads((tmp_path / "w.ckpt.parity.json").read_text())
    assert record["donor"]["licence"] == "BSD-3-Clause"
    assert record["largest_differences"] == {"weights": 0.0}
    assert any(name.endswith("num_batches_tracked") for name in record["left_out"])
