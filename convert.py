"""Convert a data set to MindRecord shards; also audit, verify, merge, preview and upgrade.

Only composes settings and calls `training.commands.convert`; `python convert.py --help all` lists
every setting.
"""

from training.command_line.configure import run_command


def main() -> None:
    """Run the command with the arguments of this process."""
    run_command(
        "convert", "data_tools.convert.settings:ConvertSettings", "training.commands.convert:run"
    )


if __name__ == "__main__":
    main()
