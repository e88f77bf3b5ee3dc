"""Where things lie that can be had again: fetched weights, graphs of checkpoints.

What lies there is the business of `training/weights/cache.py` and
`training/inference/graph_cache.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

from data_tools.core.errors import SettingError


def cache_folder(variable: str, name: str) -> Path:
    """Return a cache's folder, which need not exist.

    Args:
        variable: Environment variable that names the folder itself.
        name: The cache's name: without the variable it is `mindspore-ssd/NAME` in
            `XDG_CACHE_HOME`, else in `~/.cache`.

    Raises:
        SettingError: If a variable holds a relative path.
    """
    below = f"mindspore-ssd/{name}"
    for asked, inside in ((variable, ""), ("XDG_CACHE_HOME", below)):
        value = os.environ.get(asked, "")
        if value:
            path = Path(value).expanduser()
            if not path.is_absolute():
                raise SettingError(f"{asked}={value}: expected an absolute path.")
            return path / inside
    return Path.home() / ".cache" / below
