"""`annotations.json` written while the results of shards are read, each once, one in memory at a
time.

The entries' text is made in `coco_json.py`; what else a finished split has is `finish_split.py`'s
matter.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from data_tools.core.sample import ClassInfo


class GroundTruthFile:
    """The full ground truth in the making, within `with`; nothing is left of it without `finish`.

    Args:
        path: The file; it is there, whole, after `finish`.
        split: The split's name.
        classes: The classes in the order of their labels.
    """

    def __init__(self, path: Path, split: str, classes: Sequence[ClassInfo]) -> None:
        self._path, self._classes = path, classes
        # Images come first in the file: entries of boxes wait in a file of their own.
        self._temporary = [path.with_name(f"{path.name}{end}") for end in (".tmp", ".boxes.tmp")]
        self._files = [open(p, "w", encoding="utf-8") for p in self._temporary]  # noqa: SIM115
        self._separators = ["\n", "\n"]
        info = _dump({"description": f"ground truth of {split}"})
        self._files[0].write(f'{{"info":{info},\n"images":[')

    def __enter__(self) -> GroundTruthFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file, path in zip(self._files, self._temporary, strict=True):
            with contextlib.suppress(OSError):  # of a full disk, which a write has named already
                file.close()
            path.unlink(missing_ok=True)

    def add(self, images: str, annotations: str) -> None:
        """Append entries of both lists, as JSON without brackets.

        Raises:
            OSError: If the disk is full.
        """
        for k, entries in enumerate((images, annotations)):
            if entries:
                self._files[k].write(self._separators[k])
                self._files[k].write(entries)
                self._separators[k] = ",\n"

    def finish(self) -> None:
        """Join both lists and give the file its name.

        Raises:
            OSError: If the disk is full.
        """
        file, boxes = self._files
        boxes.close()
        file.write('],\n"annotations":[')
        with open(self._temporary[1], encoding="utf-8") as text:
            shutil.copyfileobj(text, file, 1 << 20)
        categories = [{"id": c.category_id, "name": c.name} for c in self._classes]
        file.write(f'],\n"categories":{_dump(categories)}}}\n')
        file.close()
        self._temporary[0].replace(self._path)


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
