"""A file of the run that cannot be written: the error, its words, and what can be done.

Checkpoints say more of themselves, in `checkpoints/store.py`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_tools.core.errors import UserError


class DiskError(UserError):
    """A file of a run could not be written.

    Args:
        path: The file, or its folder.
        error: What the system said.

    Attributes:
        saved_step: The step that a resumed run goes on after; the trainer knows it. -1 if there is
            none.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.path, self.error = path, error
        self.saved_step = -1

    def __str__(self) -> str:
        saved = f"Step {self.saved_step} is saved" if self.saved_step >= 0 else "No step is saved"
        return (
            f"{self.path}: could not be written ({self.error.strerror or self.error}). {saved}; "
            f"{remedy(self.error)} and run again with resume=true."
        )


def remedy(error: OSError) -> str:
    """Say what to do about a file that could not be written."""
    return "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend this"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into a `DiskError`.

    Args:
        path: The file, or its folder, for the message.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(path, error) from error
