"""Settings from YAML files as they were typed, as those of a command line are: `out: 1.10` in a
file of a user's own is that text; and which of the folders of `conf/` are groups.

YAML makes it the number 1.1 before any setting's type is known. Here Hydra gets the texts, and each
setting makes of them what it holds; the words of a command line are in `text_values.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


def source_of_files(sources: Iterable[Any]) -> Any:
    """Return the one of Hydra's classes of sources that reads files.

    Of a scheme's sources Hydra keeps the first, so another cannot be registered as well, and what
    is said below is said to this class for a while.
    """
    (source,) = (c for c in sources if c.scheme() == "file")
    return source


@contextlib.contextmanager
def plain_texts(source: Any, settings: Any) -> Iterator[None]:
    """Let Hydra read its YAML files with every plain scalar as text, but for null.

    Args:
        source: Hydra's class of settings in files.
        settings: OmegaConf, which makes its containers of plain ones and back.
    """
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


@contextlib.contextmanager
def no_groups(source: Any, names: Container[str]) -> Iterator[None]:
    """Let Hydra see no group of these names, so that a word of such a name is a setting.

    Args:
        source: Hydra's class of settings in files.
        names: Folders of `conf/` that the command does not choose from.
    """
    is_group = source.is_group

    def is_other_group(self: Any, config_path: str) -> bool:
        return config_path not in names and bool(is_group(self, config_path))

    source.is_group = is_other_group
    try:
        yield
    finally:
        source.is_group = is_group


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
