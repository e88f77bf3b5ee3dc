"""Detect objects on images, folders or videos, or serve a local page that does.

Only composes settings and calls `training.inference.predict`; `python predict.py --help all` lists
every setting.
"""

from training.command_line.configure import run_command


def main() -> None:
    """Run the command with the arguments of this process."""
    run_command(
        "predict", "training.inference.settings:PredictCommand", "training.inference.predict:run"
    )


if __name__ == "__main__":
    main()
