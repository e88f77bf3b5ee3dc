"""The settings class of each root command, as the commands name it."""

from __future__ import annotations

COMMANDS = {
    "train": "training.settings:TrainSettings",
    "convert": "data_tools.convert.settings:ConvertSettings",
    "eval": "training.evaluation.settings:EvalCommand",
    "predict": "training.inference.settings:PredictCommand",
    "export": "training.exporting.settings:ExportCommand",
}
