"""`python -m training.import_checkpoint`: the documented name of `commands/import_checkpoint.py`.

Nothing else lives here.
"""

import sys

from training.commands.import_checkpoint import import_checkpoint, main

__all__ = ["import_checkpoint", "main"]

if __name__ == "__main__":
    sys.exit(main())
