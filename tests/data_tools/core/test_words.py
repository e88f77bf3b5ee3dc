"""Names from data: harmless on a terminal, in a spreadsheet, and as text in any file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.core import words
from training.command_line.terminal import SafeStream, safe_streams


@given(st.text())
def test_a_terminal_gets_no_orders_and_every_script_stays(text: str) -> None:
    shown = words.for_terminal(text)
    obeyed = {chr(k) for k in (*range(32), *range(0x7F, 0xA0))} - set("\n\r\t")
    assert not obeyed & set(shown)
    shown.encode()  # no halves of characters
    letters = "".join(c for c in text if c.isalnum())
    assert [c for c in letters if c not in shown] == []


@given(st.text())
def test_a_cell_is_no_formula_and_comes_back(text: str) -> None:
    cell = words.csv_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert words.from_csv_cell(cell) == text


@pytest.mark.parametrize("text", [" =1", "\u3000@x", "\uff1d1", "\n=1", "'=1", "\ufeff=1", "' -2"])
def test_blanks_and_wide_signs_before_a_formula_hide_it_from_nobody(text: str) -> None:
    assert words.csv_cell(text) == f"'{text}"
    assert words.from_csv_cell(f"'{text}") == text


@given(st.binary(min_size=1, max_size=20))
def test_any_name_of_a_file_is_text(name: bytes) -> None:
    text = words.name_as_text(name.decode("utf-8", "surrogateescape"))
    text.encode("utf-8")


def test_whatever_prints_while_a_command_runs_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    out, error = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    with safe_streams():
        print("\x1b[31mred\x1b]0;title\x07")
        print("\x9b1m", file=sys.stderr)
        assert isinstance(sys.stdout, SafeStream) and not sys.stdout.isatty()
    assert out.getvalue() == "\\x1b[31mred\\x1b]0;title\\x07\n"
    assert error.getvalue() == "\\x9b1m\n"
    assert sys.stdout is out


def test_predictions_of_odd_names_can_be_read_by_anything(tmp_path: Path) -> None:
    import csv
    import json

    import numpy as np

    from training.inference.detector import Prediction
    from training.inference.predict_output import PredictionFiles

    found = Prediction(
        height=9, width=9, boxes_yxyx_px=np.array([[1.0, 1, 5, 5]]), labels=np.array([1]),
        scores=np.array([0.9]), names=["=HYPERLINK(1)"], category_ids=[1],
    )  # fmt: skip
    with PredictionFiles(tmp_path) as files:
        files.add(1, "caf\udce9.jpg", found)
        files.add(2, "+a.jpg", found)
    rows = list(csv.reader((tmp_path / "detections.csv").read_text(encoding="utf-8").splitlines()))
    assert [row[0] for row in rows[1:]] == ["caf\\xe9.jpg", "'+a.jpg"]
    assert {row[2] for row in rows[1:]} == {"'=HYPERLINK(1)"}
    listed = json.loads((tmp_path / "detections.json").read_text(encoding="utf-8"))
    assert listed[0]["file_name"] == "caf\\xe9.jpg" and listed[0]["category"] == "=HYPERLINK(1)"
