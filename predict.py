"""Detect objects on images, folders or videos, or serve a local page that does.

Only composes settings and calls `training.predict`; `python predict.py --help` lists every setting.
"""

from training.configure import run_command


def main() -> None:
    """Run the command with the arguments of this process."""
    run_command("predict", "training.eval_settings:PredictCommand", "training.predict:run")


if __name__ == "__main__":
    main()
