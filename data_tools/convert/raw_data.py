"""The raw data set as a command works on it: read, corrected, its copies of pictures judged.

Reading itself is `sources/read.py`; what is made of the data is planned in `plan.py`.
"""

from __future__ import annotations

from data_tools.convert.copy_policy import SeenImages, apply_copy_policy
from data_tools.convert.settings import ConvertSettings
from data_tools.sources.corrections import apply_corrections
from data_tools.sources.fractions import Owners
from data_tools.sources.raw_split import RawDataset
from data_tools.sources.read import read_source


def read_raw(
    settings: ConvertSettings, seen: SeenImages | None = None, owners: Owners | None = None
) -> RawDataset:
    """Read the source that the settings name, apply `exclude`, and look for copies of pictures.

    Args:
        settings: Settings of the command.
        seen: Given by the audit: looks for copies whatever the policies say, and is filled; see
            `apply_copy_policy`.
        owners: Cuts splits that are a `fraction`, see `cut_fractions`.

    Raises:
        DataError: If the source is unusable.
    """
    source = read_source(settings.dataset, settings.content()["policy"], owners)
    return apply_copy_policy(apply_corrections(source, settings.exclude), settings, seen)
