"""Plain values as dataclasses: every type is checked, and the message names the field."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

from data_tools.core.errors import SettingError
from data_tools.core.json_dataclass import build, check_numbers, parse_json, read_json, shown


@dataclass(frozen=True)
class Inner:
    name: str
    size: float = 1.0


@dataclass(frozen=True)
class Outer:
    count: int
    parts: tuple[Inner, ...] = ()
    by_name: dict[str, int] = field(default_factory=dict)
    lists: list[list[float]] = field(default_factory=list)
    flag: bool = False
    maybe: Optional[str] = None
    rest: Any = None


def test_what_json_leaves_comes_back() -> None:
    made = Outer(3, (Inner("a"), Inner("b", 2.5)), {"x": 1}, [[1.0], []], True, "m", {"k": [None]})
    assert build(Outer, json.loads(json.dumps(dataclasses.asdict(made)))) == made
    assert build(Outer, {"count": 1, "lists": [[2]]}).lists == [[2.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "3"}, r"count: '3', expected a whole number"),
        ({"count": True}, "count: True, expected a whole number"),
        ({"count": 1.0}, "count: 1.0, expected a whole number"),
        ({"count": 2**63}, "count: .*at most 64 bits"),
        ({"count": 10**5000}, "count: a number of .* bits, expected"),
        ({"count": None}, "count: None"),
        ({"parts": [{"name": "a"}, {"name": 3}]}, r"parts\[1\].name: 3, expected text"),
        ({"parts": [{}]}, r"parts\[0\].name: missing"),
        ({"parts": [{"name": "a", "size": float("nan")}]}, "size: nan, expected a finite number"),
        ({"parts": [{"name": "a", "size": 10**400}]}, "size: inf, expected a finite number"),
        ({"parts": {"name": "a"}}, "parts: .*expected a list"),
        ({"parts": ["a"]}, r"parts\[0\]: 'a', expected settings of its own \(name, size\)"),
        ({"by_name": {"x": "1"}}, "by_name.x: '1'"),
        ({"lists": [1]}, r"lists\[0\]: 1"),
        ({"flag": 0}, "flag: 0, expected true or false"),
        ({"maybe": 1}, "maybe: 1, expected text"),
        ({"other": 1}, "other: unknown, expected one of by_name, count"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Outer, {"count": 1, **change})


@pytest.mark.parametrize("value", [None, 1, "x", [], [{}]])
def test_anything_but_a_mapping_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="it: .*expected settings of its own"):
        build(Outer, value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", ""])
def test_json_that_is_none_or_has_no_end(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")


def test_numbers_of_settings_are_numbers() -> None:
    good = Outer(1, (Inner("a", 0.5),), {"x": 2}, [[1.0]])
    check_numbers(good)
    for bad, name in (
        (dataclasses.replace(good, count=10**30), "count"),
        (dataclasses.replace(good, parts=(Inner("a", float("inf")),)), "parts.size"),
        (dataclasses.replace(good, by_name={"x": -(10**30)}), "by_name.x"),
        (dataclasses.replace(good, lists=[[0.0, float("nan")]]), "lists"),
    ):
        with pytest.raises(SettingError, match=f"{name}=.*: expected a"):
            check_numbers(bad)


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 10_000)) < 70
