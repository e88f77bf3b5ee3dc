"""Weights in files: read, checked against a hash, and saved under the published names.

What becomes of them in a network is `weights.py`; optimizer state and everything else that a run
needs to go on is `checkpoint.py`.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from data_tools.core.errors import CheckpointError
from data_tools.core.files import publish, sha256_of_file
from data_tools.core.json_dataclass import first_line, shown
from training.checkpoints.ckpt_names import check_ckpt
from training.checkpoints.ckpt_values import read_values
from training.checkpoints.donors import COUNTER
from training.checkpoints.safetensors_files import read_safetensors
from training.checkpoints.safetensors_header import check_header
from training.checkpoints.torch_files import read_torch
from training.checkpoints.torch_wrappers import names_within
from training.checkpoints.torchvision_detectors import from_torchvision, network_of

if TYPE_CHECKING:
    from training.nets.ssd import SSD

Weights = dict[str, npt.NDArray[np.generic]]

PREFIX = "network."
"""What every published parameter name begins with; networks in memory do without."""

EXTRAS = (
    *("global_step", "learning_rate", "momentum", "momentum_", "loss_scale", "scale_sense"),
    *("epoch_num", "step_num", "current_iterator_step", "last_overflow_iterator_step"),
)
"""What MindSpore's optimizers, loss scales and checkpoint callback save besides weights without
`PREFIX`."""
EXTRA_PREFIXES = (
    "moments.",
    "moment1.",
    "moment2.",
    "moment_shares.",
    "velocity.",
    "ema.",
    "optimizer.",
)
TORCH_ENDINGS = (".pth", ".pt")
_PAGE = re.compile(rb'<[!?a-z]|\{(?:\r?\n[ \t]+| *)"|\[ *\{')
"""How pages, and errors in XML and JSON, begin."""
_POINTER = b"version https://git-lfs"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def read_weights(path: str | os.PathLike[str], *, sha256: str | None = None) -> Weights:
    """Read the weights of a checkpoint, ours or published, and nothing but the weights.

    Args:
        path: A `.ckpt` (MindSpore's own format), `.safetensors`, or torch's `.pth` or `.pt` file.
            None of them is let run code.
        sha256: What the file must hash to, 64 hexadecimal digits; None = not checked.

    Returns:
        Parameter name, without the leading `network.`, to value, in the order of the file. What a
        trainer adds (`moments.*`, `global_step`, ...) is left out. A detector of torchvision bears
        our names.

    Raises:
        CheckpointError: If the file is missing, empty, damaged, of another kind, or hashes
            otherwise.
    """
    return read_with_rest(path, sha256=sha256)[0]


def read_with_rest(
    path: str | os.PathLike[str], *, sha256: str | None = None
) -> tuple[Weights, tuple[str, ...]]:
    """Read a checkpoint as `read_weights` does, and say what in it was left out.

    Returns:
        The weights, and the names, as they are in the file, of everything that is none.

    Raises:
        CheckpointError: As `read_weights`.
    """
    path = Path(path)
    _require_file(path)
    if sha256 is not None:
        check_sha256(path, sha256)
    file = _read_any(path)
    if not file:
        raise CheckpointError(f"{path} holds no weights at all: it was written empty.")
    within = names_within(file) if _is_torchs(path) else {n: n for n in file}
    raw = {inner: file[name] for name, inner in within.items()}
    network = network_of(raw)
    if network is not None:
        weights = from_torchvision(network, raw)
        return weights, tuple(n for n in file if n not in within or n.endswith(COUNTER))
    names = _names_of_weights(raw)
    if not names:
        raise CheckpointError(
            f"{path} holds no weights, only {shown(', '.join(list(raw)[:5]))}. Give the detector's "
            "own file, such as step-N.ckpt, not a file of other state."
        )
    weights = {n.removeprefix(PREFIX): raw[n] for n in names}
    return weights, tuple(n for n in file if within.get(n) not in names)


def is_torchvision(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds a detector under torchvision's names, and so with its padding and
    default boxes.

    Raises:
        CheckpointError: If it cannot be read.
    """
    path = Path(path)
    if not _is_torchs(path):
        return False
    _require_file(path)
    refuse_page(path)
    names = check_header(path) if path.suffix == ".safetensors" else read_torch(path)
    return network_of(names_within(n for n in names if n != "__metadata__").values()) is not None


def _is_torchs(path: Path) -> bool:
    """Whether a file may come from torch, by its ending; all others are MindSpore's."""
    return path.suffix in (".safetensors", *TORCH_ENDINGS)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: the download failed, fetch it again.")


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file with the hash its publisher gives.

    Raises:
        CheckpointError: If the hash is not one, is that of an empty file, or differs.
    """
    wanted = expected.strip().lower()
    if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
        raise CheckpointError(f"sha256={expected!r}: expected 64 hexadecimal digits.")
    if wanted == EMPTY_SHA256:
        raise CheckpointError(
            f"sha256={wanted} is the hash of an empty file: whoever published it hashed a failed "
            "download. It proves nothing about this file; ask for the right one or leave it out."
        )
    actual = sha256_of_file(path)
    if actual != wanted:
        raise CheckpointError(
            f"{path} has sha256 {actual}, expected {wanted}: "
            "it is damaged or another file; fetch it again."
        )


def save_weights(
    source: SSD | Mapping[str, npt.NDArray[np.generic]], path: str | os.PathLike[str]
) -> None:
    """Write weights under the published names: whole or not at all.

    The parent's tools load the file with `load_checkpoint`, the Hub with `load_param_into_net`.

    Args:
        source: A network, or parameter name (without `network.`) to value.
        path: Ends in `.ckpt` or `.safetensors`; the folder must exist.

    Raises:
        CheckpointError: If the path has another ending or its folder does not exist.
    """
    import mindspore as ms

    path = Path(path)
    if path.suffix not in (".ckpt", ".safetensors"):
        raise CheckpointError(f"{path}: a checkpoint ends in .ckpt or .safetensors.")
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    if not isinstance(source, Mapping):
        source = {p.name: p.asnumpy() for p in source.get_parameters()}
    values = {PREFIX + name: np.ascontiguousarray(v) for name, v in source.items()}
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        if path.suffix == ".safetensors":
            save_file(values, temporary)
        else:
            rows = [{"name": n, "data": ms.Tensor(v)} for n, v in values.items()]
            ms.save_checkpoint(rows, str(temporary))
        temporary.chmod(0o644)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _names_of_weights(raw: Weights) -> dict[str, None]:
    """The names, in the file's order, of what is a weight and nothing that trainers add."""
    if any(name.startswith(PREFIX) for name in raw):
        return dict.fromkeys(n for n in raw if n.startswith(PREFIX))
    return dict.fromkeys(n for n in raw if n not in EXTRAS and not n.startswith(EXTRA_PREFIXES))


def refuse_page(path: Path) -> None:
    """Refuse a web page or an error message in place of weights.

    Raises:
        CheckpointError: If the file begins as one does.
    """
    with open(path, "rb") as file:
        start = file.read(512).removeprefix(codecs.BOM_UTF8).lstrip().lower()
    # The length of a safetensors header may happen to read `{"`, but not without zeros after it.
    if _PAGE.match(start) and b"\0" not in start[:8]:
        raise CheckpointError(
            f"{path} is a page of text, no weights: the address led to a web page, perhaps one "
            "that asks to log in. Fetch the file itself."
        )
    if start.startswith(_POINTER):
        raise CheckpointError(
            f"{path} is a pointer of Git LFS, not the file that it points to: fetch that with "
            "`git lfs pull`, or from the address that the site gives for downloads."
        )


def _read_any(path: Path) -> Weights:
    refuse_page(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return dict(read_torch(path)) if path.suffix in TORCH_ENDINGS else _read_ckpt(path)


def _read_ckpt(path: Path) -> Weights:
    check_ckpt(path)
    try:
        return read_values(path)
    except (ValueError, OSError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is no MindSpore checkpoint, or damaged ({first_line(error)}). Copy or "
            "download it again."
        ) from error
