"""Export a checkpoint to MindIR or ONNX, with a parity report.

Only composes settings and calls `training.exporting.export`; `python export.py --help all` lists
every setting.
"""

from training.command_line.configure import run_command


def main() -> None:
    """Run the command with the arguments of this process."""
    run_command(
        "export", "training.exporting.settings:ExportCommand", "training.exporting.export:run"
    )


if __name__ == "__main__":
    main()
