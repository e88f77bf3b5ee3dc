"""The streaming JSON reader says what the standard library says, piece by piece, and where a file breaks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.core.errors import DataError
from data_tools.sources import jsonstream
from data_tools.sources.jsonstream import Batch, JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def collected(path: Path, *keys: str) -> dict[str, Any]:
    """All entries by key; the lists of `keys` have a decoder."""
    found: dict[str, Any] = {}
    lists: dict[str, list[Any]] = {}
    for key, value in JsonStream(path, dict.fromkeys(keys, json.loads)).entries():
        lists.setdefault(key, []).extend(value if isinstance(value, Batch) else [value])
    for key, values in lists.items():
        found[key] = values
    return found


def expected(content: dict[str, Any]) -> dict[str, Any]:
    return {k: (v or [None]) if isinstance(v, list) else [v] for k, v in content.items()}


@settings(max_examples=50, deadline=None)
@given(
    content=st.dictionaries(st.text(max_size=5), VALUES | st.lists(VALUES, max_size=5), max_size=5),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1, 4]),
    ascii_only=st.booleans(),
)
def test_any_object_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    content: dict[str, Any],
    chunk: int,
    indent: int | None,
    ascii_only: bool,
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    before = jsonstream._CHUNK_BYTES
    jsonstream._CHUNK_BYTES = chunk
    try:
        assert collected(path) == expected(content)
        assert collected(path, *content) == expected(content)
    finally:
        jsonstream._CHUNK_BYTES = before


def test_the_hash_is_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [1, 2], "b": 3}   \n')
    stream = JsonStream(path)
    list(stream.entries())
    assert stream.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("cut", [0, 1, 9, 30, 47])
def test_a_cut_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.json"
    whole = json.dumps({"images": [{"id": 1}, {"id": 2}], "categories": [1]})
    path.write_text(whole[:cut])
    with pytest.raises(DataError, match=r"a\.json: not valid JSON.*(truncated|cut short)"):
        list(JsonStream(path).entries())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[1, 2]", "expected an object"),
        ('{"a": [1 2]}', "expected ',' or ']'"),
        ('{"a": [1,]}', "Expecting value"),
        ('{"a": 1} x', "text after the end"),
        ("{a: 1}", "expected a key in quotes"),
        ('{"a" 1}', "expected ':'"),
        ("\0\0\0\0", "not UTF-8"),
        ('{"a": [1, ' + "9" * 5000 + "]}", "thousands of digits"),
        ('{"a": ' + "9" * 5000 + "}", "thousands of digits"),
    ],
)
def test_broken_text(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=what.replace("[", r"\[")):
        list(JsonStream(path).entries())


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes('{"é": ["ü", 2]}'.encode(encoding))
        assert collected(path) == {"é": ["ü", 2]}
    path.write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"not UTF-8.*byte 0xe9 in b'\{\"\\xe9"):
        list(JsonStream(path).entries())
    for encoding in ("utf-16-le", "utf-16-be", "utf-32"):
        path.write_bytes('{"a": 1}'.encode(encoding))
        with pytest.raises(DataError, match="not UTF-8.*UTF-16 without its mark, or UTF-32"):
            list(JsonStream(path).entries())


def test_nesting_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": ' + "[" * 200_000)
    with pytest.raises(DataError, match=r"nested too deeply|not valid JSON"):
        list(JsonStream(path).entries())


def test_an_endless_entry_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonstream, "_MAX_PENDING", 2000)
    monkeypatch.setattr(jsonstream, "_CHUNK_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_text('{"a": "' + "x" * 5000)
    with pytest.raises(DataError, match="more than"):
        list(JsonStream(path).entries())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(JsonStream(tmp_path / "no.json").entries())


def test_only_a_little_of_the_file_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonstream, "_CHUNK_BYTES", 1000)
    path = tmp_path / "a.json"
    content = {
        "info": {"year": 1},
        "n": 17,
        "a": [{"id": k, "name": "x" * 50} for k in range(2000)],
    }
    path.write_text(json.dumps(content))
    stream = JsonStream(path)
    longest = 0
    for _ in stream.entries():
        longest = max(longest, len(stream._text))
    assert longest < 5000


@pytest.mark.parametrize("chunk", [7, 60, 1000, 1 << 20])
def test_ends_of_entries_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """`},` within an entry and within a text, which the reader must not take for the end of one."""
    monkeypatch.setattr(jsonstream, "_CHUNK_BYTES", chunk)
    entries = [{"id": k, "inner": {"a": {"b": k}, "c": "},{"}, "t": "},"} for k in range(40)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": entries, "b": [[1, {"x": {}}], 2], "c": entries[:1]}))
    assert collected(path) == {"a": entries, "b": [[1, {"x": {}}], 2], "c": entries[:1]}


def test_two_values_without_a_comma_are_refused_within_many(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [' + '{"id": 1},' * 50 + '{"id": 2} {"id": 3},' + '{"id": 4}]}')
    with pytest.raises(DataError, match=r"expected ',' or '\]'"):
        list(JsonStream(path).entries())


@pytest.mark.parametrize("comma", [", ", ",", " ,\n  "])
def test_many_entries_at_once_are_the_same_entries(tmp_path: Path, comma: str) -> None:
    """Also where a batch ends in the midst of an entry's own list or text, and in another list."""
    entries = [
        {"n": k, "parts": [{"a": k}, {"a": 2}], "text": "}, {", "more": "},{" * (k % 3)}
        for k in range(300)
    ]
    text = comma.join(map(json.dumps, entries))
    path = tmp_path / "a.json"
    path.write_text(f'{{"first": [{text}], "second": [{text}, {{"last": 1}}], "third": []}}')
    wanted = {"first": entries, "second": [*entries, {"last": 1}], "third": [None]}
    before = jsonstream._CHUNK_BYTES
    try:
        for chunk in (50, 777, 4096, before):
            jsonstream._CHUNK_BYTES = chunk
            assert collected(path, "first", "second", "third") == wanted
    finally:
        jsonstream._CHUNK_BYTES = before
