"""How fast the converter is: versus a one-row-a-call writer, versus a plain copy, over workers, in
memory.

    python -m benchmarks.convert [--quick] [--images N]

Every run is a process of its own on the same files, which lie in the page cache, and ends when its
output is on the disk (but for the plain copy, which is the bare limit); one core means one core for
all threads of the process. The data are made in `convert_data.py`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import Result, at_least, median, parser, print_table
from benchmarks.convert_data import make_large, make_photographs
from benchmarks.usage import processor_seconds, tree_mib
from data_tools.convert.workspace import sync_all
from data_tools.core.cores import core_count
from training.command_line.error_words import clear_errors

REFERENCE, ONE_FILE, COPY, OURS, DECODED = (
    "one row a call, 8 files as published, 1 core",
    "one row a call, 1 file, 1 core",
    "plain copy of the files, not flushed, 1 core",
    "ours, 1 core",
    "ours, 1 core, every image decoded",
)
TWO = "ours, 2 workers on 2 cores"
SMALLER = "ours, 1 core, longest side 320, quality 90"

TASKS = {
    # name -> (task, cores)
    REFERENCE: ("reference:8", 1),
    ONE_FILE: ("reference:1", 1),
    COPY: ("copy", 1),
    OURS: ("ours:workers=1", 1),
    DECODED: ("ours:workers=1,check=full", 1),
    TWO: ("ours:workers=2", 2),
    "ours, 2 workers, every image decoded": ("ours:workers=2,check=full", 2),
    SMALLER: ("ours:workers=1,max_side=320,quality=90", 1),
}


def run_reference(folder: Path, out: Path, files: int) -> None:
    """The straightforward writer: one `write_raw_data` call for each row, integer boxes, no
    checks.
    """
    from mindspore.mindrecord import FileWriter
    from pycocotools.coco import COCO

    truth = COCO(folder / "annotations.json")
    out.mkdir(parents=True)
    writer = FileWriter(str(out / "ssd.mindrecord"), files)
    writer.add_schema(
        {
            "img_id": {"type": "int32", "shape": [1]},
            "image": {"type": "bytes"},
            "annotation": {"type": "int32", "shape": [-1, 5]},
        },
        "ssd_json",
    )
    for number in truth.getImgIds():
        boxes = []
        for entry in truth.loadAnns(truth.getAnnIds(imgIds=number, iscrowd=None)):
            x, y, w, h = entry["bbox"]
            boxes.append([*(round(v) for v in (y, x, y + h, x + w)), entry["category_id"]])
        image = (folder / "images" / truth.loadImgs(number)[0]["file_name"]).read_bytes()
        annotation = np.array(boxes or [[0, 0, 0, 0, 0]], np.int32)
        img_id = np.array([number], np.int32)
        writer.write_raw_data([{"img_id": img_id, "image": image, "annotation": annotation}])
    writer.commit()


def run_copy(folder: Path, out: Path) -> None:
    """A plain copy of the files, one after the other."""
    out.mkdir(parents=True)
    for path in sorted((folder / "images").iterdir()):
        shutil.copyfile(path, out / path.name)


def run_ours(folder: Path, out: Path, options: dict[str, str]) -> None:
    """The converter as its command runs it: all checks, hashes, flushes, manifest, ground truth."""
    from data_tools.command import run
    from data_tools.convert.settings import ConvertSettings, ImageSettings
    from data_tools.sources.settings import DatasetSettings, SplitSettings

    split = SplitSettings(annotations="annotations.json", images="images")
    run(
        ConvertSettings(
            dataset=DatasetSettings(kind="coco", root=str(folder), splits={"train": split}),
            image=ImageSettings(
                check=options.get("check", "fast"),
                max_side=int(options.get("max_side", 0)),
                quality=int(options.get("quality", 0)),
            ),
            out=str(out),
            workers=int(options.get("workers", 1)),
            shards=int(options.get("shards", 2)),
        )
    )


def child(task: str, folder: Path, out: Path) -> None:
    """Run one task in this process and print what it took as JSON; imports are not what is
    measured.
    """
    kind, _, rest = task.partition(":")
    if kind == "reference":
        import mindspore.mindrecord  # noqa: F401
        import pycocotools.coco  # noqa: F401
    else:
        import data_tools.convert.convert
        import data_tools.sources.coco  # noqa: F401
    started, spent = time.perf_counter(), processor_seconds()
    if kind == "reference":
        run_reference(folder, out, int(rest))
    elif kind == "copy":
        run_copy(folder, out)
    else:
        run_ours(folder, out, dict(entry.split("=", 1) for entry in rest.split(",")))
    if kind == "reference":  # ours has seen to it itself
        sync_all(out)
    seconds = time.perf_counter() - started
    peaks = [resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN)]
    cpu = processor_seconds() - spent
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_mib": max(peaks) / 1024}))


def start(task: str, folder: Path, out: Path, cores: int) -> subprocess.Popen[str]:
    """Start a task in a process of its own on a number of cores."""
    command = [sys.executable, "-m", "benchmarks.convert", "--task", task]
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.Popen(
        [*command, "--folder", str(folder), "--out", str(out)],
        env={**os.environ, "GLOG_v": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )


def measure(task: str, folder: Path, cores: int) -> dict[str, float]:
    """Run a task once; returns seconds, peak memory, bytes written, and the decode rate of its
    images.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        out = Path(work) / "out"
        process = start(task, folder, out, cores)
        printed, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{task} failed: {printed}")
        result: dict[str, float] = json.loads(printed.splitlines()[-1])
        files = [p for p in out.rglob("*") if p.suffix in (".mindrecord", ".jpg")]
        result["written_mb"] = sum(p.stat().st_blocks for p in files) * 512 / 1e6
        if task.startswith("ours"):
            result["decode_per_s"] = decode_rate(out)
        return result


def decode_rate(out: Path, count: int = 60) -> float:
    """Images a second that one thread reads and decodes from a converted set."""
    from data_tools.shards.manifest import open_split
    from data_tools.shards.reader import RowReader

    reader = RowReader(open_split(out, "train"))
    rows = [reader[k % len(reader)].image for k in range(count)]
    cv2.setNumThreads(1)
    started = time.perf_counter()
    for image in rows:
        cv2.imdecode(image, cv2.IMREAD_COLOR)
    return count / (time.perf_counter() - started)


def measure_large(work: Path, images: int, boxes: int) -> dict[str, float]:
    """Convert a set of COCO's size with tiny pictures: when writing starts, and the memory it
    takes.
    """
    folder, out = work / "large", work / "large-out"
    make_large(folder, images, boxes)
    started = time.perf_counter()
    first_write, peak_mib = 0.0, 0.0
    process = start("ours:workers=2,shards=0", folder, out, core_count())
    while process.poll() is None:
        peak_mib = max(peak_mib, tree_mib(process.pid))
        if not first_write and any(out.with_name("large-out.partial").rglob("*.mindrecord")):
            first_write = time.perf_counter() - started
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    process.communicate()
    if process.returncode:
        raise SystemExit("converting the large set failed")
    return {
        "images": images,
        "boxes": boxes,
        "json_mb": (folder / "annotations.json").stat().st_size / 1e6,
        "first_write_s": first_write,
        "all_s": seconds,
        "peak_mib_of_all_processes": peak_mib,
    }


@clear_errors()
def main() -> None:
    """Run the benchmark."""
    options = parser(str(__doc__).splitlines()[0])
    options.add_argument(
        "--images", type=at_least(0), default=0, help="photographs; 0: 200 or 6000"
    )
    for hidden in ("task", "folder", "out"):
        options.add_argument(f"--{hidden}", help="(for its own processes)")
    chosen = options.parse_args()
    if chosen.task:
        child(chosen.task, Path(chosen.folder), Path(chosen.out))
        return
    count = chosen.images or (200 if chosen.quick else 6000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        total_mb = make_photographs(folder, count) / 1e6
        rows = run_all(folder, count, total_mb, 1 if chosen.quick else 3)
        sizes = (4000, 30_000) if chosen.quick else (118_000, 860_000)
        large = measure_large(Path(name), *sizes)
    print_table("A set of COCO's size", ["what", "value"], list(large.items()))
    ours = rows[OURS]["rows_per_s"]
    Result(
        "convert",
        ours,
        rows[REFERENCE]["rows_per_s"],
        {
            "unit": "rows/s on one core",
            "ratio_to_one_file": ours / rows[ONE_FILE]["rows_per_s"],
            "ratio_by_cpu_time": rows[REFERENCE]["cpu_s"] / rows[OURS]["cpu_s"],
            "ratio_to_one_file_by_cpu_time": rows[ONE_FILE]["cpu_s"] / rows[OURS]["cpu_s"],
            "ratio_to_plain_copy": ours / rows[COPY]["rows_per_s"],
            "ratio_every_image_decoded": rows[DECODED]["rows_per_s"]
            / rows[REFERENCE]["rows_per_s"],
            "speedup_of_2_workers": rows[TWO]["rows_per_s"] / ours,
            "images": count,
            "runs": rows,
            "large": large,
        },
    ).print()


def run_all(folder: Path, count: int, total_mb: float, repeats: int) -> dict[str, dict[str, float]]:
    """Run every task in turn, `repeats` times over, and print the medians."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in TASKS}
    for _ in range(repeats):  # in turn, so that a busy moment of the machine hits all alike
        for name, (task, cores) in TASKS.items():
            runs[name].append(measure(task, folder, cores))
    rows = {}
    for name, results in runs.items():
        one = {key: median([r[key] for r in results]) for key in results[0]}
        one["rows_per_s"] = count / one["seconds"]
        one["mb_per_s"] = total_mb / one["seconds"]
        one["rows_per_cpu_s"] = count / one["cpu_s"]
        rows[name] = one
    columns = ("rows_per_s", "mb_per_s", "rows_per_cpu_s", "written_mb", "peak_mib", "decode_per_s")
    print_table(
        f"{count} photographs, {total_mb:.0f} MB, {1e3 * total_mb / count:.0f} kB each",
        ["", "rows/s", "MB/s", "rows/CPU s", "MB on disk", "peak MiB", "decode/s"],
        [[name, *(one.get(key, "") for key in columns)] for name, one in rows.items()],
    )
    return rows


if __name__ == "__main__":
    main()
