"""A pickle of weights, interpreted: dictionaries, lists, numbers, text, and views on storages.

Nothing is imported or called: names stand for themselves, and only those that a state dictionary
needs are known. Which file the pickle is in, and the numbers, are the business of `torch_files.py`.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from data_tools.core.json_dataclass import shown

STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip
"""Name of a storage class to the dtype of its elements; bfloat16 is widened after reading."""

MOST_INSTRUCTIONS = 400_000
"""Of one pickle: a state dictionary has about 25 a tensor. They are interpreted within a second."""

_MOST_AXES = 16


class Refused(ValueError):
    """Something in the file is not what weights consist of."""


@dataclass(frozen=True)
class Global:
    """A name that the pickle would import. Nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: its kind, its key, and how many it should be."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorView:
    """A view on a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def interpret(file: BinaryIO) -> Any:
    """Do what one pickle says, as far as it makes dictionaries, lists, numbers, text and tensors of
    it.
    """
    # A name with a backslash makes Python warn about its own reading of it: on the terminal, and as
    # an error of its own kind where warnings are errors. Such a name is refused below like any
    # other that is not known.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _interpret(file)


def _interpret(file: BinaryIO) -> Any:
    stack: list[Any] = []
    outer: list[list[Any]] = []  # what lay on the stack before each open mark
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        items = stack[:]
        stack[:] = outer.pop()
        return items

    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count > MOST_INSTRUCTIONS:
            raise Refused(f"its pickle has more than {MOST_INSTRUCTIONS} instructions")
        name = opcode.name
        if name == "STOP":
            if len(stack) != 1 or outer:
                raise Refused("its pickle ends too early")
            return stack.pop()
        if name in ("PROTO", "FRAME"):
            continue
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _PLAIN:
            stack.append(argument)
        elif name == "MARK":
            outer.append(stack[:])
            stack.clear()
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(Global(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Global(str(module), str(attribute)))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = stack[-count:]
            del stack[-count:]
            stack.append(tuple(items))
        elif name == "TUPLE":
            stack.append(tuple(to_mark()))
        elif name == "LIST":
            stack.append(to_mark())
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else to_mark()
            _list_on(stack).extend(items)
        elif name == "DICT":
            items = to_mark()
            stack.append({})
            _put(stack[-1], items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else to_mark()
            _put(stack[-1], items)
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_reduce(function, arguments))
        elif name == "BUILD":
            # torch hangs `_metadata` on a state dictionary: versions of layers, which nobody needs
            # here.
            state = stack.pop()
            if not (isinstance(stack[-1], dict) and isinstance(state, dict)):
                raise Refused("its pickle sets the state of an object")
        else:
            raise Refused(f"its pickle has the instruction {name}, which weights do not need")
    raise EOFError("the pickle has no end")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "NONE": lambda: None,
    "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_PLAIN = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("STRING", "SHORT_BINSTRING", "BINSTRING"),
    )
)


def _list_on(stack: list[Any]) -> list[Any]:
    if not isinstance(stack[-1], list):
        raise Refused("its pickle appends to what is no list")
    return stack[-1]


def _put(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise Refused("its pickle sets items of what is no dictionary")
    for key, value in zip(items[0::2], items[1::2], strict=True):
        if not isinstance(key, (str, int)):
            raise Refused(f"a dictionary has {kind_of(key)} as a key")
        if key in target:
            raise Refused(f"the name {shown(key)} stands in it twice")
        target[key] = value


def _storage(identity: Any) -> Storage:
    # ("storage", class, key, device, count), and in files before 1.6 a sixth for views, None but in
    # ancient ones.
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Refused("its pickle refers to something outside that is no storage")
    _, kind, key, _, count = identity[:5]
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in STORAGES:
        what = str(kind) if isinstance(kind, Global) else kind_of(kind)
        raise Refused(f"a storage is of the unknown kind {shown(what)[1:-1]}")
    if not (isinstance(key, str) and key.isdigit() and type(count) is int and count >= 0):
        raise Refused("a storage has no proper key or count")
    if len(identity) == 6 and identity[5] is not None:
        raise Refused("a storage is a view on another, as only very old files have it")
    return Storage(kind.name, key, count)


def _reduce(function: Any, arguments: Any) -> Any:
    """The three calls that a state dictionary needs; the names stand for themselves, nothing is
    called.
    """
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise Refused("its pickle calls something that is no name")
    called = str(function)
    if called == "collections.OrderedDict" and len(arguments) <= 1:
        made: dict[Any, Any] = {}
        for pair in arguments[0] if arguments else []:
            _put(made, list(pair))
        return made
    if called == "torch._utils._rebuild_parameter" and arguments:
        if not isinstance(arguments[0], TensorView):
            raise Refused("a parameter is made of what is no tensor")
        return arguments[0]
    if called == "torch._utils._rebuild_tensor_v2" and len(arguments) in (6, 7):
        storage, offset, shape, strides = arguments[:4]
        numbers = (offset, *shape, *strides) if _tuples(shape, strides) else (-1,)
        if isinstance(storage, Storage) and all(type(n) is int and 0 <= n < 2**48 for n in numbers):
            return TensorView(storage, offset, shape, strides)
        raise Refused("a tensor has no proper storage, shape or strides")
    raise Refused(f"its pickle calls {shown(called)[1:-1]}")


def _tuples(shape: Any, strides: Any) -> bool:
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        return False
    return len(shape) == len(strides) <= _MOST_AXES


def kind_of(value: Any) -> str:
    """Say what a value is, for a message."""
    return "one tensor" if isinstance(value, TensorView) else f"a {type(value).__name__}"
