"""The cases: for each command, good input and one thing wrong with it, all from one generator.

How input is made bad is `fuzz_mutate.py`; how a case is run and judged is `fuzz_run.py`.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.fuzz.fuzz_mutate import (
    JSON_VALUES,
    VALUES,
    mutate_bytes,
    mutate_json,
    mutate_json_text,
    mutate_lines,
    mutate_xml,
    random_bytes,
)

COMMANDS = {
    "convert": "data_tools.convert.settings:ConvertSettings",
    "train": "training.settings:TrainSettings",
    "eval": "training.eval_settings:EvalCommand",
    "predict": "training.eval_settings:PredictCommand",
    "export": "training.eval_settings:ExportCommand",
}

TINY = ("model=ssd_tiny", "model.image_size=[64,64]", "augment=light", "batch_size=2", "epochs=4")
SHORT = ("log.tensorboard=false", "evaluate_at_end=false", "evaluate_every_epochs=0", "max_steps=1")


@dataclass
class Case:
    """One run of one command.

    Args:
        program: A root command, `launch`, `hub`, or `module:function` that reads `sys.argv`.
        arguments: Its command line.
        what: What is wrong, for the report.
        out: The folder that it may write to, relative to the sandbox; empty if a setting that says
            where may itself be wrong: then only what stands outside the sandbox is watched.
        complete: Files that must not be there if the command fails.
        after: A second command that must succeed if the first one does.
    """

    program: str
    arguments: list[str]
    what: str
    out: str = "out"
    complete: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 60.0
    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


Maker = Callable[[random.Random, Path, Path], Case]
"""Takes the generator, an empty sandbox and the folder of good input; returns the case."""


def make_seeds(folder: Path, *, trained: bool) -> None:
    """Make the good input that cases start from: raw sets, a converted set, parts; a run if asked.

    Args:
        folder: Where; made.
        trained: Train too, which takes MindSpore.
    """
    from data_tools.command import run
    from training.command_line.configure import compose

    rng = np.random.default_rng(5)
    raw = folder / "raw"
    for k in range(1, 5):
        image = cv2.resize(rng.integers(0, 256, (3, 4, 3)).astype(np.uint8), (48 + k, 40))
        for ending in ("jpg", "png"):
            path = raw / "images" / f"{k}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), image)
    boxes = [(k, 2 * k, 20 + k, 30 + k) for k in range(1, 5)]
    coco: dict[str, Any] = {"images": [], "annotations": []}
    coco["categories"] = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]
    for k, (x1, y1, x2, y2) in enumerate(boxes, 1):
        coco["images"].append({"id": k, "file_name": f"{k}.jpg", "height": 40, "width": 48 + k})
        entry = {"id": k, "image_id": k, "category_id": 7 if k % 2 else 1, "iscrowd": int(k == 3)}
        box = [x1, y1, x2 - x1, y2 - y1]
        coco["annotations"].append({**entry, "bbox": box, "area": box[2] * box[3]})
        xml = f"<annotation><filename>{k}.jpg</filename><size><width>{48 + k}</width>"
        xml += "<height>40</height><depth>3</depth></size><object><name>cat</name><difficult>0"
        xml += f"</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        xml += f"<ymax>{y2}</ymax></bndbox></object></annotation>"
        _write(raw / "xml" / f"{k}.xml", xml)
        _write(raw / "labels" / f"{k}.txt", f"0 0.5 0.5 0.2 0.{k}\n1 0.25 0.5 0.1 0.3\n")
    _write(raw / "coco.json", json.dumps(coco))
    _write(
        raw / "list.txt",
        "".join(f"{k}.jpg {a},{b},{c},{d},0\n" for k, (a, b, c, d) in enumerate(boxes, 1)),
    )
    _write(raw / "names.txt", "cat\ndog\n")
    _write(raw / "data.yaml", "path: .\ntrain: images\nnames:\n  0: cat\n  1: dog\n")
    _write(raw / "voc_list.txt", "1\n2\n3 1\n4 -1\n")
    shapes = ["dataset=shapes", "dataset.splits.train.count=6", "dataset.splits.val.count=4",
              "dataset.min_side=64", "dataset.max_side=80"]  # fmt: skip
    (folder / "data").parent.mkdir(parents=True, exist_ok=True)
    jobs = [[f"out={folder}/data"]]
    jobs += [[f"out={folder}/parts", "parts=2", "shards=2", f"part={k}"] for k in (1, 2)]
    for job in jobs:
        run(compose("convert", COMMANDS["convert"], [*shapes, *job]))
    if trained:
        _train_seed(folder)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _train_seed(folder: Path) -> None:
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "train.py", *TINY, *SHORT, f"data={folder}/data"]
    for more in ([f"output={folder}/run"], [f"output={folder}/bad", "optim.lr=1e30", "optim.warmup_epochs=0",
                 "max_steps=3"]):  # fmt: skip
        subprocess.run([*command, *more], cwd=root, capture_output=True, check=False)
    assert list((folder / "bad" / "blackbox").glob("*.json")), "no black box was made"
    export = [
        sys.executable,
        "export.py",
        f"checkpoint={folder}/run/checkpoints/step-00000001.ckpt",
    ]
    subprocess.run([*export, f"out={folder}/model.onnx"], cwd=root, capture_output=True, check=True)


# --- settings -------------------------------------------------------------------------------------


def base_arguments(rng: random.Random, command: str, seeds: Path) -> list[str]:
    """A command line that works, and ends soon."""
    checkpoint = f"checkpoint={seeds}/run/checkpoints/step-00000001.ckpt"
    if command == "convert":
        return rng.choice(
            (
                ["dataset=shapes", "dataset.splits.train.count=2", "dataset.splits.val.count=1",
                 "dataset.min_side=40", "dataset.max_side=60", "out=out"],
                [*raw_arguments("coco", seeds / "raw"), "out=out"],
                [*raw_arguments("yolo", seeds / "raw"), "out=out"],
                [*raw_arguments("voc", seeds / "raw"), "check=true", "check_out=out"],
                [f"preview={seeds}/data", "picture=out/p.png"],
                [f"verify={seeds}/data"],
            )
        )  # fmt: skip
    if command == "train":
        data = [*TINY, *SHORT, f"data={seeds}/data", "output=out"]
        mode = rng.choice(("preview=1", "preview=1", "summary=true", "summary=true", ""))
        return [*data, mode] if mode else data
    if command == "eval":
        return [checkpoint, f"data={seeds}/data", "output=out"]
    if command == "predict":
        return [checkpoint, f"images={seeds}/raw/images", "out=out"]
    return [checkpoint, "out=out/model.onnx", "parity_images=1"]


def raw_arguments(kind: str, raw: Path) -> list[str]:
    """Settings that read one of the raw sets."""
    entry = {
        "coco": "{train: {annotations: coco.json, images: images}}",
        "voc": "{train: {annotations: xml, images: images}}",
        "voc_list": "{train: {annotations: xml, images: images, list: voc_list.txt}}",
        "txt": "{train: {annotations: list.txt, images: images}}",
        "yolo": "{train: {annotations: labels, images: images}}",
    }[kind]
    more = {"yolo": ["dataset.names_file=data.yaml"], "txt": ["dataset.names_file=names.txt"]}
    base = ["dataset=coco", f"dataset.kind={kind.split('_')[0]}", f"dataset.root={raw}"]
    return [*base, f"dataset.splits={entry}", *more.get(kind, [])]


_PLACES = (
    "out",
    "output",
    "check_out",
    "picture",
    "overwrite",
    "merge",
    "upgrade",
    "serve",
    "replay",
)
_JUNK_KEYS = (
    *("nope", "", "a.b", "model", "dataset.nope", "optim", "model.anchors", "1", "é", "hydra.nope"),
    *("hydra.run.dir", "hydra/launcher", "hydra.mode", "hydra.verbose", "defaults", "_self_"),
    *("+experiment", "experiment", "~model", "~model.name", "+model.x", "++model.name", "+@x"),
    *("dataset@x", "model@_global_", "dataset.splits.train", "dataset.splits.x.images", "~", "+"),
    *("dataset.merge", "optim.lr_factors", "optim.lr_factors.x", "policy.box_outside", "~data"),
)
_JUNK_WORDS = ("", "x", "=", "==", "-x", "--nope", "--cfg", "--cfg=nope", "--info", "--multirun", "--help",
               "--resolve", "--package", "--config-name", "--config-dir=/nope", "--config-path=/nope",
               "--shell-completion", "--version", "-c", "job", "é", "\x1b[1m", "+x", "~", "a=${", "@")  # fmt: skip


def settings_case(command: str) -> Maker:
    """Cases of wrong settings of a root command."""

    def make(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
        from training.command_line.configure import load_object
        from training.command_line.help_text import field_types, group_choices

        keys = sorted(field_types(load_object(COMMANDS[command])))
        groups = group_choices()
        arguments = base_arguments(rng, command, seeds)
        safe = True
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            kind = rng.random()
            if kind < 0.75:
                key, value = rng.choice(keys), rng.choice(VALUES)
                if rng.random() < 0.1:
                    key = rng.choice(("+", "++", "~")) + key
            elif kind < 0.85:
                key = rng.choice(sorted(groups))
                value = rng.choice((*groups[key], *VALUES))
                key = rng.choice(("", "", "+", "++", "~")) + key
            elif kind < 0.95:
                key, value = rng.choice(_JUNK_KEYS), rng.choice(VALUES)
            else:
                arguments.insert(rng.randrange(len(arguments) + 1), rng.choice(_JUNK_WORDS))
                continue
            if key.lstrip("+~") in _PLACES or key.lstrip("+~").startswith("hydra"):
                safe = False
            if key.lstrip("+~") == "serve" or (command == "train" and "max_steps" in key):
                continue  # a page serves for ever, and a run without an end trains for ever
            arguments.append(f"{key}={value}")
        out = "out" if safe else ""
        return Case(command, arguments, "settings", out)

    return make


def launch_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """The launcher's command line, dry."""
    case = settings_case("train")(rng, sandbox, seeds)
    words = [rng.choice(("1", "2", "8", "0", "-1", "x", "", "1e9", str(10**20), "٣", "é"))]
    for _ in range(rng.choice((0, 0, 1, 2))):
        option = rng.choice(
            ("--nodes", "--node-rank", "--master", "--port", "--log-dir", "--rank-table", "--nope")
        )
        words.append(option)
        if rng.random() < 0.9:
            words.append(rng.choice((*VALUES, "1", "2", "8118")))
    words += ["--dry-run"]
    settings = [a for a in case.arguments if not a.startswith(("preview", "summary", "-"))]
    return Case("launch", [*words, *settings], "launcher", "")


def hub_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """`create_network` of the Hub, with names, counts and files of every kind."""
    names = (
        "ssd300",
        "ssd_tiny",
        "SSD-300",
        "",
        "é",
        "../x",
        "nope",
        "ssd300.yaml",
        "\0",
        "x" * 3000,
    )
    name = rng.choice(names) if rng.random() < 0.4 else "ssd_tiny"
    keywords: dict[str, Any] = {}
    if rng.random() < 0.4:
        keywords["num_classes"] = rng.choice((7, 0, -1, 1, 10**4))
    if rng.random() < 0.7:
        path = sandbox / f"file{rng.choice(('.ckpt', '.safetensors', '', '.onnx'))}"
        good = (seeds / "run" / "checkpoints" / "step-00000001.ckpt").read_bytes()
        path.write_bytes(mutate_bytes(rng, good) if rng.random() < 0.7 else random_bytes(rng))
        keywords["checkpoint"] = str(path)
    if rng.random() < 0.2:
        keywords["sha256"] = rng.choice(("", "x", "0" * 64))
    if rng.random() < 0.3:
        keywords[rng.choice(("norm", "image_size", "nope", "anchors", "std", "head_prior"))] = (
            rng.choice((*JSON_VALUES[:12], "frozen", [64, 64]))
        )
    return Case(
        "hub",
        [],
        f"hub {name[:20]!r} {str(keywords)[:200]}",
        "",
        extra={"name": name, "keywords": keywords},
    )


# --- raw data -------------------------------------------------------------------------------------


def raw_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """A raw data set with damaged annotations or images, converted or audited."""
    raw = sandbox / "raw"
    shutil.copytree(seeds / "raw", raw)
    kind = rng.choice(("coco", "coco", "voc", "voc_list", "txt", "yolo"))
    places = {
        "coco": ["coco.json"],
        "voc": [f"xml/{k}.xml" for k in range(1, 5)],
        "voc_list": ["voc_list.txt", "xml/1.xml", "xml/3.xml"],
        "txt": ["list.txt", "names.txt"],
        "yolo": ["labels/1.txt", "labels/2.txt", "data.yaml"],
    }[kind]
    images = [f"images/{k}.{e}" for k in (1, 2, 3, 4) for e in ("jpg", "png")]
    touched = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(places if rng.random() < 0.7 else images)
        touched.append(name)
        damage_file(rng, raw / name)
    arguments = [*raw_arguments(kind, raw), "out=out"]
    if rng.random() < 0.3:
        arguments += ["check=true", "check_out=out"]
        return Case("convert", arguments, f"check {kind} {touched}", "out")
    for option in ("image.check=full", "image.exif=apply", "image.max_side=32", "workers=2", "shards=2",
                   "dataset.keep_empty=false", "image.quality=50"):  # fmt: skip
        if rng.random() < 0.12:
            arguments.append(option)
    if rng.random() < 0.2:
        from data_tools.sources.defects import POLICIES

        name = rng.choice(sorted(POLICIES))
        arguments.append(f"policy.{name}={rng.choice(POLICIES[name].actions)}")
    return Case(
        "convert",
        arguments,
        f"convert {kind} {touched}",
        "out",
        ("*/manifest.json",),
        ("verify=out",),
    )


def damage_file(rng: random.Random, path: Path) -> None:
    """Mutate a file according to its kind; sometimes replace it by something else altogether."""
    chance = rng.random()
    if not path.is_file():
        return
    if chance < 0.05:
        path.unlink()
        if rng.random() < 0.5:
            path.mkdir()
    elif chance < 0.1:
        path.write_bytes(random_bytes(rng))
    elif path.suffix == ".json":
        path.write_bytes(mutate_json_text(rng, path.read_text("utf-8", "replace")))
    elif path.suffix == ".xml":
        path.write_bytes(mutate_xml(rng, path.read_text("utf-8", "replace")))
    elif path.suffix in (".txt", ".yaml"):
        path.write_bytes(mutate_lines(rng, path.read_text("utf-8", "replace")))
    else:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))


# --- converted sets -------------------------------------------------------------------------------


def reseal(folder: Path) -> None:
    """Make a changed split agree with itself again: hashes, sizes and the fingerprint."""
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text())
        for shard in content["shards"]:
            data = (folder / shard["file"]).read_bytes()
            shard["bytes"], shard["sha256"] = len(data), hashlib.sha256(data).hexdigest()
            index = (folder / f"{shard['file']}.db").read_bytes()
            shard["index_sha256"] = hashlib.sha256(index).hexdigest()
        for name in content["files"]:
            content["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except Exception:
        pass
    try:
        content.pop("fingerprint", None)
        sealed = {k: v for k, v in content.items() if k != "tool_version"}
        text = json.dumps(sealed, sort_keys=True, separators=(",", ":"))
        content["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps(content))
    except Exception:
        pass


def set_case(
    rng: random.Random, sandbox: Path, seeds: Path, readers: tuple[str, ...] = ("convert",)
) -> Case:
    """A converted set with a damaged file, read by every command that reads one."""
    data = sandbox / "data"
    shutil.copytree(seeds / "data", data)
    split = rng.choice(("train", "val"))
    folder = data / split
    files = ["manifest.json", "manifest.json", "annotations.json", "report.json",
             f"{split}-00000.mindrecord", f"{split}-00000.mindrecord.db"]  # fmt: skip
    name = rng.choice(files)
    damage_file(rng, folder / name)
    sealed = rng.random() < 0.75
    if sealed:
        reseal(folder)
    program = rng.choice(readers)
    what = f"{program} {split}/{name}{' sealed' if sealed else ''}"
    if program == "convert":
        options = [["verify=data"], ["preview=data", "picture=out/p.png", f"split={split}"],
                   ["dataset=shapes", "out=data", "dataset.splits.train.count=6", "dataset.splits.val.count=4",
                    "dataset.min_side=64", "dataset.max_side=80"]]  # fmt: skip
        arguments = rng.choice(options)
        return Case("convert", arguments, what, "data" if "out=data" in arguments else "out")
    checkpoint = f"checkpoint={seeds}/run/checkpoints/step-00000001.ckpt"
    if program == "train":
        more = ["preview=2"] if rng.random() < 0.8 else list(SHORT)
        return Case(
            "train",
            [*TINY, *more, "data=data", f"split={split}", "output=out"],
            what,
            complete=("summary.json",),
        )
    if program == "eval":
        return Case(
            "eval",
            [checkpoint, "data=data", f"split={split}", "output=out"],
            what,
            complete=("metrics.json",),
        )
    if program == "export":
        arguments = [checkpoint, "data=data", f"split={split}", "out=out/m.onnx", "parity_images=1"]
        return Case("export", arguments, what, complete=("m.onnx",))
    return Case("predict", [checkpoint, f"images={seeds}/raw/images/1.jpg", f"class_names={data}", "out=out"], what,
                complete=("detections.json",))  # fmt: skip


def set_case_all(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """As `set_case`, read by the commands that take MindSpore."""
    return set_case(rng, sandbox, seeds, ("train", "train", "eval", "export", "predict"))


def merge_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """Parts with a damaged plan, result or shard, joined."""
    shutil.copytree(seeds / "parts", sandbox / "parts")
    files = sorted(p for p in (sandbox / "parts").rglob("*") if p.is_file())
    path = rng.choice([p for p in files if p.suffix == ".json"] if rng.random() < 0.8 else files)
    if path.name == "plan.json" and rng.random() < 0.7:
        content = json.dumps(mutate_json(rng, json.loads(path.read_text())))
        digest = hashlib.sha256(
            json.dumps(json.loads(content), sort_keys=True, separators=(",", ":")).encode()
        )
        for other in (sandbox / "parts").glob("*/plan.json"):
            other.write_text(content)
        for state in (sandbox / "parts").glob("*/state/*/*.json"):
            entry = json.loads(state.read_text())
            state.write_text(json.dumps({**entry, "plan": digest.hexdigest()}))
    else:
        damage_file(rng, path)
    what = f"merge {path.relative_to(sandbox)}"
    return Case("convert", ["merge=parts"], what, "parts", ("*/manifest.json",), ("verify=parts",))


def partial_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """An unfinished conversion with damaged notes, gone on with."""
    work = sandbox / "out.partial"
    source = seeds / "parts" / "part-00001-of-00002"
    shutil.copytree(source / "state", work / "state")
    for split in ("train", "val"):
        shutil.copytree(source / split, work / "set" / split)
    shutil.copy(source / "plan.json", work / "plan.json")
    path = rng.choice(sorted(p for p in work.rglob("*") if p.is_file() and p.suffix == ".json"))
    damage_file(rng, path)
    arguments = ["dataset=shapes", "dataset.splits.train.count=6", "dataset.splits.val.count=4", "shards=2",
                 "dataset.min_side=64", "dataset.max_side=80", "out=out"]  # fmt: skip
    return Case(
        "convert",
        arguments,
        f"resume {path.relative_to(work)}",
        "out",
        ("*/manifest.json",),
        ("verify=out",),
    )


def upgrade_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """A folder that may hold shards of other tools, upgraded."""
    folder = sandbox / "old"
    folder.mkdir()
    source = seeds / "data" / "train"
    for suffix in ("", ".db"):
        data = (source / f"train-00000.mindrecord{suffix}").read_bytes()
        (folder / f"train-00000.mindrecord{suffix}").write_bytes(
            mutate_bytes(rng, data) if rng.random() < 0.5 else data
        )
    arguments = [
        "upgrade=old",
        rng.choice(("split=train", "split=val", "dataset.names=[a,b]", "out=out")),
    ]
    return Case("convert", arguments, "upgrade", "old")


# --- pictures and checkpoints ---------------------------------------------------------------------


def picture_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """Prediction on damaged pictures."""
    pictures = sandbox / "pictures"
    shutil.copytree(seeds / "raw" / "images", pictures)
    for path in sorted(pictures.iterdir())[: rng.choice((1, 4, 8))]:
        damage_file(rng, path)
    if rng.random() < 0.3:
        (pictures / rng.choice(("a\nb.jpg", "\x1b[1m.png", "x.mp4", "y.gif", "z.tif"))).write_bytes(
            random_bytes(rng)
        )
    checkpoint = f"checkpoint={seeds}/run/checkpoints/step-00000001.ckpt"
    return Case("predict", [checkpoint, "images=pictures", "out=out"], "pictures")


def _json_of(path: Path) -> Any:
    return json.loads(path.read_text())


def checkpoint_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """A damaged checkpoint, card or state, read by every command that reads one."""
    run = sandbox / "run"
    shutil.copytree(seeds / "run", run)
    folder = run / "checkpoints"
    card, weights = folder / "step-00000001.json", folder / "step-00000001.ckpt"
    name = rng.choice(("card", "card", "card", "weights", "weights", "state", "log", "metrics"))
    if name == "card":
        damage_file(rng, card)
    elif name == "log":
        damage_file(rng, run / rng.choice(("log.jsonl", "settings.yaml", "summary.json")))
    else:
        path = weights if name == "weights" else folder / "step-00000001.state.ckpt"
        damage_file(rng, path)
        if path.is_file() and rng.random() < 0.8:
            content = _json_of(card)
            content["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            card.write_text(json.dumps(content))
        elif rng.random() < 0.5:
            card.unlink()
    program = rng.choice(("eval", "predict", "export", "train", "resume", "resume", "import"))
    if name in ("state", "log"):
        program = "resume"
    what = f"{program} of a damaged {name}"
    checkpoint = "checkpoint=run/checkpoints/step-00000001.ckpt"
    if program == "resume":
        more = [
            *TINY,
            *SHORT[:-1],
            f"data={seeds}/data",
            "output=run",
            "resume=true",
            "max_steps=2",
        ]
        if rng.random() < 0.5:
            more.append("checkpoint.accept_changes=true")
        return Case("train", more, what, "run")
    if program == "train":
        more = [*TINY, *SHORT, f"data={seeds}/data", "output=out", checkpoint]
        more.append(rng.choice(("init.head=new", "init.model=checkpoint", "init.head=strict")))
        return Case("train", more, what, complete=("summary.json",))
    if program == "import":
        arguments = ["run/checkpoints/step-00000001.ckpt", "--out", "out.ckpt"]
        return Case("training.commands.import_checkpoint:main", arguments, what, "out.ckpt")
    arguments = {
        "eval": [f"data={seeds}/data", "output=out"],
        "predict": [f"images={seeds}/raw/images", "out=out"],
        "export": ["out=out/m.onnx", "parity_images=1"],
    }[program]
    complete = {"eval": "metrics.json", "predict": "detections.json", "export": "m.onnx"}[program]
    return Case(program, [checkpoint, *arguments], what, complete=(complete,))


def exported_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """A damaged exported file, evaluated or predicted with."""
    path = sandbox / f"model{rng.choice(('.onnx', '.onnx', '.onnx', '.mindir'))}"
    data = (seeds / "model.onnx").read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(mutate_bytes(rng, data))
    elif rng.random() < 0.2:
        path.write_bytes(random_bytes(rng))
    else:
        import onnx

        model = onnx.load_from_string(data)
        entry = rng.choice(model.metadata_props)
        try:
            entry.value = mutate_json_text(rng, entry.value).decode("utf-8", "replace")
        except ValueError:
            entry.value = rng.choice(VALUES).encode("utf-8", "replace").decode()
        path.write_bytes(model.SerializeToString())
    if rng.random() < 0.5:
        return Case(
            "eval",
            [f"checkpoint={path}", f"data={seeds}/data", "output=out"],
            "exported",
            complete=("metrics.json",),
        )
    return Case("predict", [f"checkpoint={path}", f"images={seeds}/raw/images", "out=out"], "exported",
                complete=("detections.json",))  # fmt: skip


def replay_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """A damaged black box, replayed."""
    shutil.copytree(seeds / "bad" / "blackbox", sandbox / "blackbox")
    record = next((sandbox / "blackbox").glob("*.json"))
    damage_file(rng, record if rng.random() < 0.85 else next((sandbox / "blackbox").glob("*.ckpt")))
    return Case("train", [f"replay={record}"], f"replay {record.name}", "out")


def benchmark_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """Command lines of the benchmarks that must be refused before anything is measured."""
    name = rng.choice(("convert", "pipeline", "step", "postprocess", "inference", "scaling"))
    words = rng.choice(
        (["--nope"], ["x"], ["--quick=1"], ["--batch", "x"], ["--images", "x"], ["--workers", "é"], ["--help"],
         ["--steps", "1e400"], ["--worker-kind", "x"], ["--classes", ""], ["--quick", "--nope"])
    )  # fmt: skip
    return Case(f"benchmarks.{name}:main", words, f"benchmark {name} {words}", "")


LIGHT: dict[str, tuple[Maker, int]] = {
    "raw": (raw_case, 8),
    "settings-convert": (settings_case("convert"), 5),
    "set": (set_case, 4),
    "merge": (merge_case, 3),
    "partial": (partial_case, 2),
    "upgrade": (upgrade_case, 1),
    "launch": (launch_case, 3),
}
"""Cases that never import MindSpore, and how often each kind is drawn."""

HEAVY: dict[str, tuple[Maker, int]] = {
    "settings-train": (settings_case("train"), 6),
    "settings-eval": (settings_case("eval"), 2),
    "settings-predict": (settings_case("predict"), 2),
    "settings-export": (settings_case("export"), 2),
    "set-all": (set_case_all, 4),
    "picture": (picture_case, 1),
    "checkpoint": (checkpoint_case, 5),
    "exported": (exported_case, 3),
    "replay": (replay_case, 3),
    "hub": (hub_case, 3),
    "benchmark": (benchmark_case, 1),
}
"""Cases that need MindSpore and a trained checkpoint."""
