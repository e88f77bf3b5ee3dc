"""The last line of a command: what it left to look at, and how that is opened.

What was made is known to the command; nothing is looked for on the disk here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path


def where_to_look(
    *,
    pages: Iterable[Path] = (),
    pictures: Iterable[Path] = (),
    tensorboard: Path | None = None,
    then: str = "",
) -> str:
    """Return the line.

    Args:
        pages: HTML files.
        pictures: Picture files, or folders of them; files of other kinds are passed over.
        tensorboard: Folder of TensorBoard events.
        then: A command that shows more, or uses what was made.

    >>> where_to_look(pages=[Path("out/report.html")], pictures=[Path("out/a.png")])
    'look at it: open out/report.html in a browser; pictures: out/a.png'
    >>> where_to_look(tensorboard=Path("run/tensorboard"))
    'look at it: TensorBoard: pip install tensorboard, then tensorboard --logdir run/tensorboard'
    """
    parts = [f"open {path} in a browser" for path in pages]
    shown = [path for path in pictures if path.suffix.lower() in (".png", ".jpg", "")]
    if shown:
        parts.append(f"pictures: {_by_folder(shown)}")
    if tensorboard is not None:
        folder = shlex.quote(str(tensorboard))
        parts.append(f"TensorBoard: pip install tensorboard, then tensorboard --logdir {folder}")
    if then:
        parts.append(then)
    return f"look at it: {'; '.join(parts) or 'there are no pictures'}"


def preview_of(folder: Path) -> str:
    """Return what to do to see a converted set."""
    command = f"python convert.py {shlex.quote(f'preview={folder}')}"
    return f"{command} draws images with their boxes"


def _by_folder(paths: list[Path]) -> str:
    if len(paths) == 1 or len({path.parent for path in paths}) > 1:
        return ", ".join(map(str, paths))
    return f"{', '.join(path.name for path in paths)} in {paths[0].parent}"
