"""Cases of `convert.py`: damaged raw sets, converted sets, parts, unfinished sets and published
shards.

Settings are in `cases_settings.py`.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

from tests.fuzz.cases_common import SHORT, TINY, Case, damage_file, raw_arguments
from tests.fuzz.fuzz_mutate import (
    mutate_bytes,
    mutate_json,
)


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
    for option in ("image.check=full", "image.exif=apply", "image.max_side=32", "workers=2",
                   "shards=2",
                   "dataset.keep_empty=false", "image.quality=50"):  # fmt: skip
        if rng.random() < 0.12:
            arguments.append(option)
    if rng.random() < 0.2:
        from data_tools.sources.defect_kinds import POLICIES

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
                   ["dataset=shapes", "out=data", "dataset.splits.train.count=6",
                    "dataset.splits.val.count=4",
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
    arguments = [checkpoint, f"images={seeds}/raw/images/1.jpg", f"class_names={data}", "out=out"]
    return Case("predict", arguments, what, complete=("detections.json",))


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
    arguments = ["dataset=shapes", "dataset.splits.train.count=6", "dataset.splits.val.count=4",
                 "shards=2",
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
