"""The errors that a user can cause and mend: each message says what is wrong, where, and what to
do.

Programming errors are not here: those stay `AssertionError`, `TypeError` and friends, with a
traceback.
"""


class UserError(Exception):
    """Something the user gave is wrong; commands print it without a traceback and exit with 1."""


class DataError(UserError, ValueError):
    """A data set, a shard or a manifest is missing, damaged or not what it says it is."""


class StorageError(UserError):
    """Object storage, or a web server, cannot be reached or refuses: no defect of the data."""


class SettingError(UserError, ValueError):
    """A setting has a value that cannot work; the message names the key."""


class CheckpointError(UserError, ValueError):
    """A checkpoint is missing, damaged, or belongs to another model or other data."""
