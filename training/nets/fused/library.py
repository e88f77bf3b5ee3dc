"""A shared library whose functions jump to addresses within this process.

MindSpore's graph calls functions of a library by name, and passes its tensors' own memory; a
function of Python gets copies. Numba's compiled functions have addresses and no library, and making
one of them takes a linker, which a user's machine may lack. So the few bytes of an ELF file are
written here: a symbol for each function, and behind it the instructions that load a constant and
jump.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import platform
import shutil
import struct
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

MACHINES = {"x86_64": 62, "aarch64": 183}
"""Processors whose jump is known here, with their numbers in an ELF header."""

PAGE = 0x10000
"""No processor has larger pages; what is executed and what is written lie on different ones."""

PREFIX, NAME = "ssd-kernels-", "kernels.so"

READ, WRITE, EXECUTE = 4, 2, 1
LOAD, DYNAMIC = 1, 2
HASH, STRINGS, SYMBOLS, STRINGS_SIZE, SYMBOL_SIZE, END = 4, 5, 6, 10, 11, 0


def is_known() -> bool:
    """True where such a library can be written: Linux, on a processor whose jump is known."""
    return sys.platform == "linux" and platform.machine() in MACHINES


def jump(address: int, constant: int) -> bytes:
    """Return the code that puts a constant in the place of the sixth argument and jumps."""
    if platform.machine() == "x86_64":
        # mov r9, constant; mov rax, address; jmp rax
        return b"\x49\xb9%b\x48\xb8%b\xff\xe0" % (_number(constant), _number(address))
    # ldr x5, constant; ldr x16, address; br x16; nop; and the two numbers
    code = struct.pack("<IIII", 0x58000085, 0x580000B0, 0xD61F0200, 0xD503201F)
    return code + _number(constant) + _number(address)


def library_of(jumps: Mapping[str, tuple[int, int]]) -> bytes:
    """Return the file.

    Args:
        jumps: Address and constant of each function, by name (letters, digits, underscores).
    """
    names, code, symbols = b"\0", b"", bytes(24)
    hash_at = 64 + 3 * 56 + 24 * (len(jumps) + 1)
    names_at = hash_at + 4 * (len(jumps) + 4)
    code_at = _up(names_at + 1 + sum(len(name) + 1 for name in jumps), 16)
    for name, (address, constant) in jumps.items():
        body = jump(address, constant)
        # A global function, in the section with number 1, of which all that counts is: not 0.
        symbols += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, code_at + len(code), len(body))
        names += name.encode() + b"\0"
        code += body + bytes(-len(body) % 16)
    # All symbols are in one bucket, a chain from the first to the last.
    chain = [*range(2, len(jumps) + 1), 0]
    hashes = struct.pack(f"<{len(jumps) + 4}I", 1, len(jumps) + 1, 1, 0, *chain)
    end = code_at + len(code)
    dynamic_at = _up(end, PAGE)
    entries = (
        (HASH, hash_at), (STRINGS, names_at), (SYMBOLS, 64 + 3 * 56),
        (STRINGS_SIZE, len(names)), (SYMBOL_SIZE, 24), (END, 0),
    )  # fmt: skip
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 3, MACHINES[platform.machine()], 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0
    )
    head += _segment(LOAD, READ | EXECUTE, 0, end)
    head += _segment(LOAD, READ | WRITE, dynamic_at, len(dynamic))
    head += _segment(DYNAMIC, READ | WRITE, dynamic_at, len(dynamic))
    front = head + symbols + hashes + names
    front += bytes(code_at - len(front)) + code
    return front + bytes(dynamic_at - len(front)) + dynamic


class Library:
    """A library in a folder that goes with this process.

    Args:
        jumps: See `library_of`.

    Raises:
        OSError: If it cannot be written or loaded, for instance where nothing in the folder for
            temporary files may be executed.
    """

    def __init__(self, jumps: Mapping[str, tuple[int, int]]) -> None:
        if not is_known():
            raise OSError(f"no jumps are known for {sys.platform} on {platform.machine()}")
        remove_abandoned()
        self.folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.path = Path(self.folder.name) / NAME
        # Locked as long as this process, or one that it forked, lives: see `remove_abandoned`.
        self.handle = (self.path.with_suffix(".new")).open("wb")
        fcntl.flock(self.handle, fcntl.LOCK_EX)
        self.handle.write(library_of(jumps))
        self.handle.flush()
        Path(self.handle.name).rename(self.path)
        self.loaded = ctypes.CDLL(str(self.path))


def remove_abandoned() -> None:
    """Remove what processes left that were killed. MindSpore wants a file with a path."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{NAME}"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent)


def _number(value: int) -> bytes:
    return struct.pack("<Q", value)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _segment(kind: int, allowed: int, at: int, size: int) -> bytes:
    align = PAGE if kind == LOAD else 8
    return struct.pack("<IIQQQQQQ", kind, allowed, at, at, at, size, size, align)
