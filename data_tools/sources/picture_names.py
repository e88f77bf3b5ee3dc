"""Which picture a name means: by its path, its file name, or its name without folder and ending.

Used by sources whose annotations name pictures loosely. What is ambiguous is said to be, never
guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView


class PictureNames:
    """Finds pictures by the names that lists and annotation files have for them.

    Args:
        files: The pictures, paths with `/` relative to their folder.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._files: dict[str, None] = {}
        self._forms: tuple[dict[str, list[str]], ...] = ({}, {}, {})
        for file in files:
            if file in self._files:
                continue
            self._files[file] = None
            base = file.rsplit("/", 1)[-1]
            forms = (_stem(file), base, _stem(base))
            for form, known in zip(forms, self._forms, strict=True):
                known.setdefault(form, []).append(file)

    @property
    def files(self) -> KeysView[str]:
        """The pictures."""
        return self._files.keys()

    def find(self, name: str) -> list[str]:
        """Return the pictures that a name can mean, by the closest form that fits; several are a
        doubt.

        The forms, closest first: the path, the path without ending, the path behind some folder
        that the name has and the files lack, the file name, the name without folder and ending.
        """
        name = name.strip().replace("\\", "/")
        while name.startswith("./"):
            name = name[2:]
        tail = name
        while tail:
            if tail in self._files:
                return [tail]
            if tail in self._forms[0]:
                return self._forms[0][tail]
            _, _, tail = tail.partition("/")
        if "/" in name:
            return []
        return self._forms[1].get(name) or self._forms[2].get(name) or []

    def with_stem(self, stem: str) -> list[str]:
        """Return the pictures with a path without ending, or else with a name without folder and
        ending.
        """
        return self._forms[0].get(stem) or self._forms[2].get(stem.rsplit("/", 1)[-1]) or []


def _stem(name: str) -> str:
    head, dot, _ = name.rpartition(".")
    return head if dot and not head.endswith("/") and head else name
