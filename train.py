"""Train a detector: settings in, a run folder with checkpoints, logs and pictures out.

Only composes settings and calls `training.run.loop`; `python train.py --help all` lists every
setting.
"""

from training.command_line.configure import run_command


def main() -> None:
    """Run the command with the arguments of this process."""
    run_command("train", "training.settings:TrainSettings", "training.run.loop:run")


if __name__ == "__main__":
    main()
