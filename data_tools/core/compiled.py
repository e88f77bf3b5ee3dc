"""Functions compiled by Numba and kept on disk: how they are declared, and what happens when
keeping fails.

The loops themselves live in modules of their own, which are imported only when they are needed:
importing Numba takes a third of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def compiled(*fastmath: str) -> Callable[[Any], Any]:
    """Return a decorator that compiles without the interpreter lock, and keeps the code if it can.

    Args:
        fastmath: What the compiler may do to floats that changes bits, in LLVM's words (`contract`,
            `reassoc`, ...); nothing by default.
    """
    import numba

    def decorate(function: Any) -> Any:
        options: dict[str, Any] = {
            "nogil": True, "error_model": "numpy", "fastmath": set(fastmath) or False,
        }  # fmt: skip
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep it in can be written
            return numba.njit(**options)(function)

    return decorate


def renew_together(functions: Iterable[Any]) -> str:
    """Let kept code of functions in several modules be valid only while none of these changes.

    What Numba keeps has the code of the functions that it calls in it, but only its own module is
    looked at when it is loaded. To be called before the first of them is.

    Returns:
        What changes whenever one of the modules does.
    """
    caches = [function._cache for function in functions if hasattr(function._cache, "_cache_file")]
    stamps = tuple(sorted({cache._impl.locator.get_source_stamp() for cache in caches}))
    for cache in caches:
        cache._cache_file._source_stamp = stamps
    return str(stamps)


def compile_now(try_out: Callable[[], object], functions: Iterable[Any]) -> None:
    """Compile, or load kept code, by calling `try_out`; if that fails, once more without the disk.

    Args:
        try_out: Calls every function with the types that it will be given.
        functions: All that are compiled by it.
    """
    try:
        try_out()
    except Exception:  # kept code that is damaged can raise anything; a full disk OSError
        for function in functions:
            # From now on nothing is read from the disk, nor written.
            function._cache.disable()
        try_out()
