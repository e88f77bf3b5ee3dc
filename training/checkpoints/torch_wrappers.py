"""Names of weights as they are within what torch puts around a network.

`DataParallel`, an average (`AveragedModel`) and `torch.compile` keep it as a part of theirs, and so
every name begins with the name of that part.
"""

from __future__ import annotations

from collections.abc import Iterable

_PARTS = ("module.", "_orig_mod.")
_COUNTERS = ("n_averaged",)
"""What a wrapper saves besides the network."""


def names_within(names: Iterable[str]) -> dict[str, str]:
    """Name in a file to name in the network itself; a wrapper's own are left out.

    >>> names_within(["n_averaged", "module.a.weight"])
    {'module.a.weight': 'a.weight'}
    >>> names_within(["module.a.weight", "b.weight"])
    {'module.a.weight': 'module.a.weight', 'b.weight': 'b.weight'}
    """
    whole = list(names)
    inner_names = {name: name for name in whole if name not in _COUNTERS}
    wrapped = False
    while inner_names and (part := _part_of(inner_names.values())):
        inner_names = {name: inner.removeprefix(part) for name, inner in inner_names.items()}
        wrapped = True
    return inner_names if wrapped else {name: name for name in whole}


def _part_of(names: Iterable[str]) -> str | None:
    names = list(names)
    return next((p for p in _PARTS if all(n.startswith(p) for n in names)), None)
