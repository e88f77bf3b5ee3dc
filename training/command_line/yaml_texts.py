"""Settings from YAML files as they were typed, as those of a command line are: `out: 1.10` in a
file of a user's own is that text.

YAML makes it the number 1.1 before any setting's type is known. Here Hydra gets the texts, and each
setting makes of them what it holds; the words of a command line are in `text_values.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


@contextlib.contextmanager
def plain_texts(sources: Iterable[Any], settings: Any) -> Iterator[None]:
    """Let Hydra read its YAML files with every plain scalar as text, but for null.

    Args:
        sources: Hydra's classes of sources of settings.
        settings: OmegaConf, which makes its containers of plain ones and back.
    """
    # Of a scheme's sources Hydra keeps the first, so another cannot be registered as well.
    (source,) = (c for c in sources if c.scheme() == "file")
    load = source.load_config

    def load_texts(self: Any, config_path: str) -> Any:
        result = load(self, config_path)  # with its checks, of keys that stand twice for instance
        name = config_path if config_path.endswith(".yaml") else f"{config_path}.yaml"
        given = _texts(Path(self.path) / name)
        if not given:  # nothing but comments
            return result
        values = settings.to_container(result.config)
        return replace(result, config=settings.create(_merged(values, given)))

    source.load_config = load_texts
    try:
        yield
    finally:
        source.load_config = load


def _texts(path: Path) -> Any:
    """Return a file's content with its scalars as text, but for null."""
    import yaml  # type: ignore[import-untyped]

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    resolvers = {
        first: [(tag, pattern) for tag, pattern in entries if tag in _KEPT]
        for first, entries in base.yaml_implicit_resolvers.items()
    }
    loader = type("TextLoader", (base,), {"yaml_implicit_resolvers": resolvers})
    # A safe loader, of which less is left.
    reading = loader(path.read_text(encoding="utf-8"))
    try:
        return reading.get_single_data()
    finally:
        reading.dispose()


def _merged(value: Any, given: Any) -> Any:
    """The value where it is written as its text is, and its text elsewhere: `1.10`, `1e3`,
    `true`.
    """
    if isinstance(value, dict):
        return {
            str(name): _merged(inner, given[name])
            for inner, name in zip(value.values(), given, strict=True)
        }
    if isinstance(value, list):
        # Lists of lists hold numbers only, and OmegaConf makes none of their texts.
        return [
            inner if isinstance(inner, list) else _merged(inner, text)
            for inner, text in zip(value, given, strict=True)
        ]
    return value if value is None or str(value) == given else given
