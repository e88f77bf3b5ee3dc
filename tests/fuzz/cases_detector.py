"""Cases of what reads a detector or a run: evaluate, predict, export, the Hub, replay.

Settings are in `cases_settings.py`.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

from tests.fuzz.cases_common import SHORT, TINY, Case, damage_file, json_of
from tests.fuzz.cases_convert import set_case
from tests.fuzz.fuzz_mutate import (
    JSON_VALUES,
    VALUES,
    mutate_bytes,
    mutate_json_text,
    random_bytes,
)


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


def set_case_all(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """As `set_case`, read by the commands that take MindSpore."""
    return set_case(rng, sandbox, seeds, ("train", "train", "eval", "export", "predict"))


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
            content = json_of(card)
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
    return Case("predict", [f"checkpoint={path}", f"images={seeds}/raw/images", "out=out"],
                "exported",
                complete=("detections.json",))  # fmt: skip


def replay_case(rng: random.Random, sandbox: Path, seeds: Path) -> Case:
    """A damaged black box, replayed."""
    shutil.copytree(seeds / "bad" / "blackbox", sandbox / "blackbox")
    record = next((sandbox / "blackbox").glob("*.json"))
    damage_file(rng, record if rng.random() < 0.85 else next((sandbox / "blackbox").glob("*.ckpt")))
    return Case("train", [f"replay={record}"], f"replay {record.name}", "out")
