"""What the cases of every command share: a case, the good input that it starts from, damage to a
file.

Cases themselves are in the modules named `cases_*.py`; how one is run and judged is `fuzz_run.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.fuzz.fuzz_mutate import (
    mutate_bytes,
    mutate_json_text,
    mutate_lines,
    mutate_xml,
    random_bytes,
)

COMMANDS = {
    "convert": "data_tools.convert.settings:ConvertSettings",
    "train": "training.settings:TrainSettings",
    "eval": "training.evaluation.settings:EvalCommand",
    "predict": "training.inference.settings:PredictCommand",
    "export": "training.exporting.settings:ExportCommand",
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
        write(raw / "xml" / f"{k}.xml", xml)
        write(raw / "labels" / f"{k}.txt", f"0 0.5 0.5 0.2 0.{k}\n1 0.25 0.5 0.1 0.3\n")
    write(raw / "coco.json", json.dumps(coco))
    write(
        raw / "list.txt",
        "".join(f"{k}.jpg {a},{b},{c},{d},0\n" for k, (a, b, c, d) in enumerate(boxes, 1)),
    )
    write(raw / "names.txt", "cat\ndog\n")
    write(raw / "data.yaml", "path: .\ntrain: images\nnames:\n  0: cat\n  1: dog\n")
    write(raw / "voc_list.txt", "1\n2\n3 1\n4 -1\n")
    shapes = ["dataset=shapes", "dataset.splits.train.count=6", "dataset.splits.val.count=4",
              "dataset.min_side=64", "dataset.max_side=80"]  # fmt: skip
    (folder / "data").parent.mkdir(parents=True, exist_ok=True)
    jobs = [[f"out={folder}/data"]]
    jobs += [[f"out={folder}/parts", "parts=2", "shards=2", f"part={k}"] for k in (1, 2)]
    for job in jobs:
        run(compose("convert", COMMANDS["convert"], [*shapes, *job]))
    if trained:
        _train_seed(folder)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _train_seed(folder: Path) -> None:
    import subprocess
    import sys

    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "train.py", *TINY, *SHORT, f"data={folder}/data"]
    for more in ([f"output={folder}/run"],
                 [f"output={folder}/bad", "optim.lr=1e30", "optim.warmup_epochs=0",
                 "max_steps=3"]):  # fmt: skip
        subprocess.run([*command, *more], cwd=root, capture_output=True, check=False)
    assert list((folder / "bad" / "blackbox").glob("*.json")), "no black box was made"
    export = [
        sys.executable,
        "export.py",
        f"checkpoint={folder}/run/checkpoints/step-00000001.ckpt",
    ]
    subprocess.run([*export, f"out={folder}/model.onnx"], cwd=root, capture_output=True, check=True)


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


def json_of(path: Path) -> Any:
    return json.loads(path.read_text())
