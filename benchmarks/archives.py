"""What it costs to convert pictures in place from an archive, compared with the same pictures in a
folder.

    python -m benchmarks.archives [--quick] [--images N]

Each run is a process of its own, the archives lie in the page cache, and the kinds take turns, so
that other work on the machine meets all of them. `ours` is a stored zip, `reference` the folder.
Inflating is timed by itself as well: what a deflated zip can reach on one core.
The photographs are made in `convert_data.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import deflate

from benchmarks.common import Result, at_least, median, parser, seconds_of
from benchmarks.convert_data import make_photographs
from training.command_line.error_words import clear_errors

STORAGES = ("images", "images.zip", "deflated.zip", "images.tar", "images.tar.gz")


def pack(folder: Path) -> None:
    """Pack the folder of pictures as each kind of archive: COCO's own zips are stored, what `zip`
    makes is deflated.
    """
    paths = sorted((folder / "images").iterdir())
    for name, method in (("images", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as file:
            for path in paths:
                file.write(path, path.name)
    for name, mode in (("images.tar", "w"), ("images.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as tar:  # type: ignore[call-overload]
            for path in paths:
                tar.add(path, path.name)


def child(folder: Path, storage: str, out: Path) -> None:
    """Convert once in this process and print the seconds and the processor seconds."""
    import time

    from data_tools.command import run
    from data_tools.convert.settings import ConvertSettings
    from data_tools.sources.settings import DatasetSettings, SplitSettings

    split = SplitSettings(annotations="annotations.json", images=storage)
    dataset = DatasetSettings(kind="coco", root=str(folder), splits={"train": split})
    started, spent = time.perf_counter(), time.process_time()
    run(ConvertSettings(dataset=dataset, out=str(out), workers=1, shards=2))
    print(json.dumps([time.perf_counter() - started, time.process_time() - spent]))


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)  # `zlib.compress` has no `wbits` before Python 3.11
    return packer.compress(data) + packer.flush()


def inflate_seconds(folder: Path, most: int = 200) -> float:
    """Return what libdeflate takes for a picture, from memory to memory, as the converter does."""
    pictures = [path.read_bytes() for path in sorted((folder / "images").iterdir())[:most]]
    packed = [(_deflated(data), len(data)) for data in pictures]

    def inflate() -> None:
        for data, size in packed:
            deflate.deflate_decompress(data, size)

    return median(seconds_of(inflate, repeats=5, warmups=1)) / len(packed)


@clear_errors()
def main() -> None:
    """Run the benchmark."""
    options = parser(str(__doc__).splitlines()[0])
    options.add_argument(
        "--images", type=at_least(0), default=0, help="photographs; 0: 200 or 3000"
    )
    options.add_argument("--child", nargs=3, help="folder, storage and out")
    given = options.parse_args()
    if given.child:
        child(Path(given.child[0]), given.child[1], Path(given.child[2]))
        return
    images = given.images or (200 if given.quick else 3000)
    times: dict[str, list[tuple[float, float]]] = {storage: [] for storage in STORAGES}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "raw"
        make_photographs(folder, images)
        pack(folder)
        for turn in range(2 if given.quick else 6):
            for storage in STORAGES:
                out = Path(work) / f"out-{turn}-{STORAGES.index(storage)}"
                command = [sys.executable, "-m", "benchmarks.archives", "--child"]
                done = subprocess.run(
                    [*command, str(folder), storage, str(out)], capture_output=True, text=True
                )
                if done.returncode:
                    raise SystemExit(f"{storage} failed: {done.stderr}")
                # Else the page cache fills, and the kernel's search for free memory is timed.
                shutil.rmtree(out)
                if turn:  # the first one fills the page cache
                    seconds, spent = json.loads(done.stdout.splitlines()[-1])
                    times[storage].append((seconds, spent))
        inflating = inflate_seconds(folder)
    rates = {storage: images / median([s for s, _ in times[storage]]) for storage in STORAGES}
    work_of = {storage: median([c for _, c in times[storage]]) for storage in STORAGES}
    Result(
        "archives",
        rates["images.zip"],
        rates["images"],
        {
            "unit": "rows/s",
            "images": images,
            "rows_per_s": rates,
            "rate_of_folder": {name: rates[name] / rates["images"] for name in STORAGES},
            "cpu_of_folder": {name: work_of[name] / work_of["images"] for name in STORAGES},
            "inflate_ms": 1e3 * inflating,
            "deflated_limit": 1 / (1 + inflating * rates["images"]),
        },
    ).print()


if __name__ == "__main__":
    main()
