"""Annotations of a large file, decoded in pieces and in two processes, are those that are read
entry by entry.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.sources import coco_columns
from data_tools.sources.coco_columns import Columns, Span, other_half, read_pieces
from data_tools.sources.coco_entries import CocoEntries
from data_tools.sources.defects import DefectLog

USUAL = {"image_id": 1, "category_id": 2, "bbox": [1, 2.5, 3, 4], "area": 12.25, "id": 7}
OUTLINE = [[1.5, 2.0, 3.0, 4.0, 5.0, 6.0]]
UNUSUAL: list[Any] = [
    3, None, "},{", [], [{}, {}], {}, {"image_id": 1}, USUAL | {"bbox": []},
    USUAL | {"bbox": None, "segmentation": OUTLINE}, USUAL | {"area": None}, USUAL | {"id": "a"},
    USUAL | {"image_id": "1"}, USUAL | {"iscrowd": 2}, USUAL | {"bbox": [1, 2, 3]},
]  # fmt: skip
NESTED = USUAL | {"parts": [{"a": 1}, {"a": "},{"}, {}], "note": 'x"}, {"y'}
ENTRIES = st.one_of(
    st.integers(0, 9).map(lambda k: USUAL | {"id": k, "iscrowd": k % 2, "ignore": k == 4}),
    st.sampled_from([*UNUSUAL, NESTED, USUAL | {"segmentation": OUTLINE * 3}]),
)


def content(entries: list[Any]) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}]
    return {"images": images, "annotations": entries, "categories": [{"id": 2, "name": "thing"}]}


def read(path: Path) -> tuple[bytes, bytes, list[Any], str]:
    log = DefectLog({})
    entries = CocoEntries(path, path.name, log, lambda name: None)
    entries.read()
    defects = [defect.as_dict() for defect in log.defects]
    return entries.integers.tobytes(), entries.numbers.tobytes(), defects, entries.sha256


def both_ways(
    path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> tuple[Any, Any, list[list[Columns | Span]]]:
    """Read a file entry by entry, and in pieces; what came of these is the third."""
    one_by_one = read(path)
    seen = []
    usual = coco_columns.OtherHalf.pieces

    def pieces(self: Any, *arguments: Any) -> list[Columns | Span]:
        seen.append(usual(self, *arguments))
        return list(seen[-1])

    with monkeypatch.context() as patch:
        patch.setattr(coco_columns, "LARGE", 0)
        patch.setattr(coco_columns, "PIECE", piece)
        patch.setattr(coco_columns.OtherHalf, "pieces", pieces)
        return one_by_one, read(path), seen


@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(ENTRIES, max_size=12),
    indent=st.sampled_from([None, 1]),
    piece=st.integers(1, 400),
    middle=st.integers(0, 100),
)
def test_pieces_of_any_size_are_the_list(
    entries: list[Any], indent: int | None, piece: int, middle: int
) -> None:
    """Cut anywhere: either a span is no list, or all entries come in their order."""
    text = json.dumps(entries, indent=indent).encode()

    def part(start: int, stop: int) -> bytearray:
        return bytearray(text[start:stop])

    pieces = list(read_pieces(part, 0, len(text), piece))
    ids: list[Any] = []
    for one in pieces:
        if isinstance(one, Columns):
            ids += one.integers[:, 2].tolist()
            assert one.numbers.shape == (len(one.integers), 5)
        else:
            assert isinstance(one, Span)
            try:
                ids += json.loads(b"[" + text[one.start + 1 : one.stop - 1] + b"]")
            except ValueError:
                assert NESTED in entries or "},{" in entries or [{}, {}] in entries
                return
    wanted = [e if k in ids or e in ids else e["id"] for k, e in enumerate(entries)]
    assert len(ids) == len(entries)
    for got, entry in zip(ids, wanted, strict=True):
        assert got == entry or got == entry.get("id", -1)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("kind", ["usual", "unusual", "nested", "empty"])
def test_a_file_is_read_alike_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, indent: int | None
) -> None:
    usual = [USUAL | {"id": k, "bbox": [k, k / 3, 2, 1]} for k in range(40)]
    unusual = [entry for k in range(14) for entry in (usual[k], UNUSUAL[k], usual[k + 20])]
    nested = [*usual, *[NESTED] * 6, *usual]
    entries = {"usual": usual, "unusual": unusual, "nested": nested, "empty": []}[kind]
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content(entries), indent=indent))
    for piece in (64, 700):
        one_by_one, in_pieces, (seen,) = both_ways(path, monkeypatch, piece)
        assert in_pieces == one_by_one
        kinds = {type(piece) for piece in seen}
        assert {"usual": kinds == {Columns}, "empty": len(seen) == 1}.get(kind, Span in kinds)
    assert len(np.frombuffer(one_by_one[0], np.int64)) >= 4 * (kind != "empty")


@pytest.mark.parametrize("written", ["mark", "utf-16", "nan"])
def test_files_that_are_not_as_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    entries = [USUAL | {"id": k, "note": "é"} for k in range(40)]
    if written == "nan":
        entries[30]["area"] = float("nan")
    text = json.dumps(content(entries), ensure_ascii=False)
    path = tmp_path / "set.json"
    path.write_bytes(text.encode("utf-16" if written == "utf-16" else "utf-8-sig"))
    one_by_one, in_pieces, seen = both_ways(path, monkeypatch, 300)
    assert in_pieces == one_by_one
    assert len(seen) == (written != "nan")
    assert len(one_by_one[0]) == 40 * 4 * 8


def test_a_killed_process_costs_time_alone(tmp_path: Path) -> None:
    text = json.dumps([USUAL | {"id": k} for k in range(100)]).encode()
    path = tmp_path / "list.json"
    path.write_bytes(text)
    pieces = []
    with other_half(True) as half:
        pool = half._pool
        if pool is None:
            pytest.skip("one core: there is no other process")
        pool.submit(len, ()).result()
        for process in list((pool._processes or {}).values()):
            os.kill(process.pid, signal.SIGKILL)
        pieces = half.pieces(
            lambda start, stop: bytearray(text[start:stop]), path, 0, len(text), 500
        )
    ids = [k for piece in pieces if isinstance(piece, Columns) for k in piece.integers[:, 2]]
    assert ids == list(range(100))
