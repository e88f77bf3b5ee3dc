"""Manifests that are no manifests: also those that agree with their own fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.core.errors import DataError
from data_tools.shards.manifest import read_manifest
from tests.helpers.small_sets import drawn_split


def resealed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change a manifest, with a fingerprint that agrees with it again."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["fingerprint"]
    change(content)
    plain = {k: v for k, v in content.items() if k != "tool_version"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    content["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["shards"][0].update(rows="8"), r"shards\[0\].rows: '8', expected a whole"),
        (lambda m: m["shards"][0].update(rows=-1), "has -1 rows"),
        (lambda m: m["shards"][0].update(file="../x"), "'../x' leaves the folder"),
        (lambda m: m["shards"].clear(), "shards: none"),
        (lambda m: m["files"].update({"../x": "0"}), "'../x' leaves the folder"),
        (lambda m: m["classes"][0].update(label=7), r"classes: labels \[7, 2"),
        (lambda m: m["classes"][0].update(name=None), r"classes\[0\].name: None, expected text"),
        (lambda m: m.update(totals=[1]), r"totals: \[1\], expected a mapping"),
        (lambda m: m.update(more=1), "more: unknown"),
        (lambda m: m["shards"].append(m["shards"][0]), "names a file twice"),
    ],
)
def test_a_manifest_that_agrees_with_itself_may_still_be_none(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = drawn_split(tmp_path, 3).folder
    resealed(folder, lambda manifest: None)
    read_manifest(folder)
    path = resealed(folder, change)
    with pytest.raises(DataError, match=f"{path}: not a manifest of a converted split .*{message}"):
        read_manifest(folder)


def test_a_manifest_without_end_is_none(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="not readable as JSON .*nested too deep"):
        read_manifest(tmp_path)
