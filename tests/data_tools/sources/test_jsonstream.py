"""The reader of long JSON lists says what the standard library says, entry by entry, and where a
file breaks.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.core.errors import DataError
from data_tools.sources.jsonstream import parse, read_lists

KEYS = st.text(max_size=5).filter(lambda key: "NaN" not in key)  # of the outermost object
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "NaN",
            ": NaN,",
            '"Infinity',
            "\\",
            '\\"',
            "\ud800",
            "x\udc00",
            "\\ud800\udc00",
            "\U0001f600",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def collected(path: Path, *keys: str) -> dict[str, list[Any]]:
    lists = read_lists(path, keys)
    return {key: [parse(raw) for raw in lists.entries[key]] for key in keys}


@settings(max_examples=40, deadline=None)
@given(
    content=st.dictionaries(KEYS, st.lists(VALUES, max_size=5), max_size=5),
    indent=st.sampled_from([None, 1, 4]),
)
def test_any_lists(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], indent: int | None
) -> None:
    """Also with NaN, Infinity and lone surrogates, as Python writes them."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent))
    wanted = json.loads(path.read_text())
    assert repr(collected(path, *wanted)) == repr(wanted)


def test_the_hash_is_of_the_whole_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [1, NaN], "b": 3}   \n')
    before = path.read_bytes()
    lists = read_lists(path, ["a", "c"])
    assert lists.sha256 == hashlib.sha256(before).hexdigest() and path.read_bytes() == before
    assert lists.keys == ["a", "b"] and lists.entries["c"] == []


def test_infinite_numbers_and_those_in_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [{"t": "NaN, \\" NaN"}, [NaN,-Infinity], Infinity, "0E0.jpg", 1e999]}')
    first, second, third, name, large = collected(path, "a")["a"]
    assert first == {"t": 'NaN, " NaN'} and math.isnan(second[0]) and second[1] == -math.inf
    assert (third, name, large) == (math.inf, "0E0.jpg", math.inf)


@pytest.mark.parametrize("cut", [0, 1, 9, 30, 47])
def test_a_cut_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.json"
    whole = json.dumps({"images": [{"id": 1}, {"id": 2}], "categories": [1]})
    path.write_text(whole[:cut])
    with pytest.raises(DataError, match=r"a\.json: not valid JSON.*truncated"):
        read_lists(path, ["images"])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[1, 2]", "expected an object"),
        ('{"a": [1 2]}', r"expected ',' or '\]' at line 1, column 10 \(byte 9\): '2\]"),
        ('{"a": [1,]}', r"trailing comma in array at line 1, column 10 \(byte 9\)"),
        ('{"a": [1, tru, NaN]}', r"invalid character at line 1, column 12 \(byte 11\): 'ru, NaN"),
        ('{"é": 1,\n"a":\n["é",NaN, {"b": 1} {"c": 2}]}', r"line 3, column 20 \(byte 35\)"),
        ('{"a": [1]}'[:-1] + ", NaN: 2}", "byte 11.*NaN: 2"),
        ('{"a": 1} x', "trailing characters"),
        ("{a: 1}", "column 2 .byte 1."),
        ('{"a" 1}', "expected ':'"),
        ("\0\0\0\0", "not UTF-8"),
        ('{"a": {"b": 1}}', "a is no list"),
        ('{"a": [1], "b": 2, "a": [2]}', "twice"),
        ('{"a": [1], "b": 2, "b": [2]}', "twice"),
        ('{"a": ' + "[" * 200_000, "nested too deeply"),
    ],
)
def test_broken_text(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=what):
        read_lists(path, ["a"])


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes('{"é": ["ü", 2, NaN]}'.encode(encoding))
        assert collected(path, "é")["é"][:2] == ["ü", 2]
    path.write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8.*byte 0xe9"):
        read_lists(path, ["a"])
    for encoding in ("utf-16-le", "utf-16-be", "utf-32"):
        path.write_bytes('{"a": 1}'.encode(encoding))
        with pytest.raises(DataError, match="not UTF-8.*UTF-16 without its mark, or UTF-32"):
            read_lists(path, ["a"])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_lists(tmp_path / "no.json", ["a"])
