"""`python -m training.report`: the documented name of the command in `commands/report.py`.

Nothing else lives here.
"""

from training.commands.report import main

if __name__ == "__main__":
    main()
