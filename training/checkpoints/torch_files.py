"""torch's `.pth` files, read without running what a pickle says: tensors, dictionaries, numbers and
text.

Both formats are known, the zip archive of torch 1.6 and later and the stream of pickles before it.
torch is not needed. The pickle inside is interpreted in `torch_pickle.py`; which network the
tensors are of, `identify.py` tells.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import CheckpointError
from data_tools.core.json_dataclass import shown
from training.checkpoints.torch_pickle import (
    STORAGES,
    Refused,
    Storage,
    TensorView,
    interpret,
    kind_of,
)

Arrays = dict[str, npt.NDArray[np.generic]]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_LARGEST_HEAD = 32 << 20
"""Bytes of the pickles before the numbers; those of a thousand tensors take a tenth of a
million."""
_MOST_TENSORS = 100_000
_INNER = ("state_dict", "model_state_dict", "model", "model_ema", "module")
"""Under which of these training scripts keep the weights among other things; otherwise under the
only name that holds tensors."""


def read_torch(path: Path) -> Arrays:
    """Read the tensors of a file that `torch.save` wrote.

    Args:
        path: A `.pth` or `.pt` file: a dictionary of tensors, or one that holds such a dictionary
            under `model`, `state_dict` and the like.

    Returns:
        Name to array, in the order of the file; bfloat16 as float32.

    Raises:
        CheckpointError: If the file is damaged, no such file, or holds anything but tensors,
            dictionaries, numbers and text; nothing of it is run.
    """
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                file.seek(0)
                return _read_zip(file)
            file.seek(0)
            if file.read(4) == b"PK\x03\x04":
                raise zipfile.BadZipFile("a zip archive without its end: it is cut short")
            file.seek(0)
            return _read_legacy(file, path.stat().st_size)
    except Refused as error:
        raise CheckpointError(
            f"{path}: {error}. Only files of plain weights are read (what "
            "torch.save(model.state_dict()) writes); nothing in this one was run."
        ) from None
    except (
        zipfile.BadZipFile,
        EOFError,
        RuntimeError,  # encrypted, nested without end, of an unknown version
        ArithmeticError,
        struct.error,
        LookupError,
        MemoryError,
        OSError,  # an offset before the beginning of the file
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(
            f"{path}: no torch file, or damaged ({shown(str(error))[1:-1]}). Copy or download it "
            "again."
        ) from error


def _read_zip(file: BinaryIO) -> Arrays:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        size = file.seek(0, io.SEEK_END)
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise Refused(f"the archive has two members named {shown(twice)}")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise Refused("the archive is compressed, which torch never does")
        if sum(info.file_size for info in infos) > size:
            raise Refused("the members of the archive overlap")
        pickles = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("a zip archive, but not torch's: there is no data.pkl in it")
        root = pickles[0].removesuffix("data.pkl")
        if any(n.startswith(f"{root}code/") for n in names):
            raise Refused("it is a TorchScript program, which brings its own code")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise Refused("its numbers are stored with the high byte first")
        tree = interpret(io.BytesIO(archive.read(pickles[0])))

        def numbers(storage: Storage) -> npt.NDArray[Any]:
            return np.frombuffer(archive.read(f"{root}data/{storage.key}"), STORAGES[storage.kind])

        return _arrays(tree, numbers)


def _read_legacy(file: BinaryIO, size: int) -> Arrays:
    """Five pickles - magic, protocol, machine, content, keys - then the numbers, storage by
    storage.
    """
    # In memory a pickle cannot ask for more than there is.
    head = io.BytesIO(file.read(_LARGEST_HEAD))
    if head.getbuffer()[:1] != b"\x80":
        raise Refused("it is neither a zip archive nor a pickle: no torch file")
    if interpret(head) != _LEGACY_MAGIC or interpret(head) != _LEGACY_PROTOCOL:
        raise Refused("it is a pickle, but not torch's")
    machine = interpret(head)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("its numbers are stored with the high byte first")
    tree, keys = interpret(head), interpret(head)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused("its list of storages is none")
    file.seek(head.tell())
    kinds = {tensor.storage.key: tensor.storage.kind for _, tensor in _walk(tree)}
    arrays: dict[str, npt.NDArray[Any]] = {}
    for key in keys:
        if key in arrays or key not in kinds:
            raise Refused(f"storage {shown(key)} is listed twice, or belongs to no tensor")
        (count,) = struct.unpack("<q", file.read(8))
        dtype = np.dtype(STORAGES[kinds[key]])
        if not 0 <= count * dtype.itemsize <= size - file.tell():
            raise Refused(
                f"storage {shown(key)} should have {count} numbers: the file is cut short"
            )
        arrays[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    if file.read(1):
        raise Refused("something follows the last storage")
    return _arrays(tree, lambda storage: arrays[storage.key])


def _arrays(tree: Any, numbers: Callable[[Storage], npt.NDArray[Any]]) -> Arrays:
    """Make arrays of the tensors in a tree; each storage is read once."""
    storages: dict[str, npt.NDArray[Any]] = {}
    arrays: Arrays = {}
    views = _walk(tree)
    # Weights may share a storage, but not a thousand of them the same gigabyte.
    whole = sum({t.storage.key: t.storage.count for _, t in views}.values())
    if sum(math.prod(t.shape) for _, t in views) > 4 * whole:
        raise Refused("its tensors are views that repeat the same numbers again and again")
    for name, tensor in views:  # all storages first: what they claim to be is checked before use
        storage = tensor.storage
        if storage.key not in storages:
            storages[storage.key] = numbers(storage)
        if len(storages[storage.key]) != storage.count:
            raise Refused(
                f"{shown(name)}: its storage has {len(storages[storage.key])} numbers instead of "
                f"{storage.count}"
            )
    for name, tensor in views:
        arrays[name] = _view(name, tensor, storages[tensor.storage.key])
    return arrays


def _view(name: str, tensor: TensorView, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut a tensor out of its storage: a contiguous copy."""
    size = math.prod(tensor.shape)
    last = tensor.offset + sum(
        (n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    if size and not 0 <= tensor.offset <= last < len(values):
        raise Refused(f"{shown(name)} of shape {tensor.shape} reaches beyond its storage")
    if size == 0:
        return np.zeros(tensor.shape, values.dtype)
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :], tensor.shape, [s * values.itemsize for s in tensor.strides]
    )
    if tensor.storage.kind == "BFloat16Storage":
        return (np.ascontiguousarray(view).astype(np.uint32) << 16).view(np.float32)
    return np.array(view)


def _walk(tree: Any, inside: bool = False) -> list[tuple[str, TensorView]]:
    """The tensors of a state dictionary by name; of one that lies under `model` and the like, if
    there are none.
    """
    if not isinstance(tree, dict):
        raise Refused(f"it holds {kind_of(tree)}, not a dictionary of tensors")
    views = [(name, value) for name, value in tree.items() if isinstance(value, TensorView)]
    if not views and not inside:
        for key in _INNER:
            if isinstance(tree.get(key), dict):
                return _walk(tree[key], inside=True)
        holders = [k for k, v in tree.items() if isinstance(v, dict) and _has_tensors(v)]
        if len(holders) == 1:
            return _walk(tree[holders[0]], inside=True)
        if holders:
            raise Refused(
                f"it holds tensors under {shown(', '.join(map(str, holders)))}: save the one that "
                "is meant in a file of its own"
            )
    for name, _ in views:
        if not isinstance(name, str):
            raise Refused(f"a tensor is called {shown(name)}, which is no text")
    if len(views) > _MOST_TENSORS:
        raise Refused(f"it holds {len(views)} tensors")
    if not views:
        raise Refused("there are no tensors in it")
    return views


def _has_tensors(values: dict[Any, Any]) -> bool:
    return any(isinstance(value, TensorView) for value in values.values())
