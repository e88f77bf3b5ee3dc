"""Take in a published checkpoint: check its hash, say what it is, account for every weight.

    python -m training.import_checkpoint FILE [--sha256 HASH] [--out OUT]

Reading, recognising and writing are in `checkpoints/weights.py` and `checkpoints/identify.py`; this
is the command around them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_tools.core.files import sha256_of_file
from training.checkpoints.identify import identify
from training.checkpoints.ledger import ledger, ledger_path, write_ledger
from training.checkpoints.torchvision_detectors import SETTINGS, our_names
from training.checkpoints.weight_files import (
    PREFIX,
    Weights,
    is_torchvision,
    read_weights,
    read_with_rest,
    save_weights,
)
from training.checkpoints.weights import LoadReport, load_weights
from training.command_line.error_words import REFUSED, message
from training.nets.settings import model_settings
from training.process.runtime import prepare_environment
from training.weights.fetch import local_path
from training.weights.origin import licence_of

if TYPE_CHECKING:
    from training.nets.ssd import SSD


@dataclass(frozen=True)
class Imported:
    """What a checkpoint file turned out to be.

    Attributes:
        model: The model's name, as in `model=NAME`.
        num_classes: Classes including background.
        sha256: The file's hash.
        report: What became of every weight.
        library: Whose names it bore: mindspore or torchvision.
        rest: Names of what its trainer saved besides the weights; left out.
    """

    model: str
    num_classes: int
    sha256: str
    report: LoadReport
    library: str = "mindspore"
    rest: tuple[str, ...] = ()

    def __str__(self) -> str:
        rest = f", {len(self.rest)} others left out ({_shortly(self.rest)})" if self.rest else ""
        return (
            f"{self.model} with {self.num_classes} classes (background included); "
            f"{self.report}{rest}; sha256 {self.sha256}"
        )


def import_checkpoint(
    path: str | Path, *, sha256: str | None = None, out: str | Path | None = None
) -> Imported:
    """Read a checkpoint whatever its name says, and load it into the network it belongs to.

    Args:
        path: A `.ckpt`, `.safetensors` or `.pth` file, bare weights or saved by the published
            trainer, or `hub:NAME`.
        sha256: What the file must hash to; None = not checked.
        out: Where to write the bare weights under the published names, and `OUT.parity.json`; None
            = only the ledger, as `FILE.parity.json`.

    Returns:
        What it is.

    Raises:
        CheckpointError: If the file is damaged, of no model we know, or not what the hash says.
    """
    from training.nets.build import build_network

    origin, path = str(path), local_path(path)
    weights, rest = read_with_rest(path, sha256=sha256)
    name, num_classes = identify(weights)
    library = "torchvision" if is_torchvision(path) else "mindspore"
    settings = SETTINGS[name] if library == "torchvision" else name
    network = build_network(model_settings(settings), num_classes)
    report = load_weights(network, weights)
    imported = Imported(name, num_classes, sha256_of_file(path), report, library, rest)
    if out is not None:
        save_weights(network, out)
        _put_on_record(imported, network, origin, Path(out), read_weights(out))
    elif not ledger_path(path).exists():  # one that is there tells more: how the file was made
        try:
            _put_on_record(imported, network, origin, path, weights)
        except OSError as error:
            print(f"note: {ledger_path(path)}: not written ({error.strerror})", file=sys.stderr)
    return imported


def _put_on_record(
    imported: Imported, network: SSD, origin: str, file: Path, weights: Weights
) -> None:
    """Write `FILE.parity.json`: where the weights come from, and that the file holds them bit by
    bit.
    """
    values = {p.name: p.asnumpy() for p in network.get_parameters()}
    theirs = our_names(imported.model) if imported.library == "torchvision" else {}
    largest = max(float(np.abs(weights[n] - value).max(initial=0)) for n, value in values.items())
    write_ledger(
        file,
        ledger(
            donor=origin,
            donor_sha256=imported.sha256,
            library=imported.library,
            licence=licence_of(imported.sha256),
            names={PREFIX + n: theirs.get(n, PREFIX + n) for n in values},
            left_out=dict.fromkeys(imported.rest, "not needed: a counter, or of the trainer"),
            inputs="every weight of the file, with the network that it was loaded into",
            differences={"weights": largest},
        ),
    )


def _shortly(names: tuple[str, ...]) -> str:
    """Names in short: `moments.network.a.b` and its kind are `moments.*`."""
    marker = f".{PREFIX}"
    kinds = dict.fromkeys(n.partition(marker)[0] + ".*" if marker in n else n for n in names)
    return ", ".join(list(kinds)[:8]) + (", ..." if len(kinds) > 8 else "")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.import_checkpoint",
        description="Check a published checkpoint and say which model it is of.",
    )
    parser.add_argument("file", help=".ckpt, .safetensors or .pth file, or hub:NAME")
    parser.add_argument("--sha256", help="the hash its publisher gives")
    parser.add_argument("--out", help="write the bare weights here (.ckpt or .safetensors)")
    options = parser.parse_args(arguments)
    prepare_environment()
    try:
        imported = import_checkpoint(options.file, sha256=options.sha256, out=options.out)
    except REFUSED as error:
        print(message(error), file=sys.stderr)
        return 1
    print(f"{options.file}: {imported}")
    if options.out:
        print(f"wrote {options.out}")
    record = ledger_path(Path(options.out or local_path(options.file)))
    if record.is_file():
        print(f"on record in {record}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
