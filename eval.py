"""Evaluate a checkpoint or an exported file on a converted split.

Only composes settings and calls `training.commands.evaluate`; `python eval.py --help all` lists
every setting.
"""

from training.command_line.configure import run_command


def main() -> None:
    """Run the command with the arguments of this process."""
    run_command(
        "eval", "training.evaluation.settings:EvalCommand", "training.commands.evaluate:run"
    )


if __name__ == "__main__":
    main()
