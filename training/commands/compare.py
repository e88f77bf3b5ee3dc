"""What `eval.py compare=[RUN_A,RUN_B]` does: two evaluations of one set in, `compare.json` out.

The statistics are in `insight/compare_runs.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_tools.core.cores import core_count
from data_tools.core.errors import DataError
from data_tools.core.files import make_folder, neighbours, write_atomic
from data_tools.core.json_dataclass import read_json
from data_tools.core.progress import Progress
from data_tools.core.where_to_look import where_to_look
from training.commands.evaluate_results import open_truth
from training.evaluation.detection_table import read_results
from training.evaluation.settings import EvalCommand
from training.insight.compare_runs import LEVEL, bootstrap
from training.insight.outputs import DETECTIONS, METRICS

COMPARE = "compare.json"
_SHOWN = 100


def run(command: EvalCommand) -> int:
    """Compare two runs and write `compare.json`.

    The ground truth is found where the runs were made, or under `data`.

    Returns:
        0.

    Raises:
        DataError: If a run is incomplete, or the two are of other data or under another protocol.
        SettingError: If the folder cannot be made.
    """
    folders = [Path(name) for name in command.compare]
    runs = [_read_run(folder) for folder in folders]
    for key, what in (("data_fingerprint", "data"), ("protocol", "the protocol")):
        if runs[0][key] != runs[1][key]:
            raise DataError(
                f"compare: {folders[0]} and {folders[1]} differ in {what} ({runs[0][key]} and "
                f"{runs[1][key]}), so their difference would not be one of the detectors. Evaluate "
                "both on the same data with the same settings."
            )
    data = command.data or runs[0]["data"]
    truth, _, fingerprint = open_truth(data, runs[0]["split"] or command.split)
    if fingerprint != runs[0]["data_fingerprint"]:
        raise DataError(
            f"data={data}: fingerprint {fingerprint[:16]}..., but the runs were evaluated on "
            f"{str(runs[0]['data_fingerprint'])[:16]}.... Give their data set as data=FOLDER."
        )
    tables = (read_results(folders[0] / DETECTIONS), read_results(folders[1] / DETECTIONS))
    output = Path(command.output)
    make_folder(output, "output")
    (output / COMPARE).unlink(missing_ok=True)
    compared = bootstrap(
        truth,
        tables,
        command.draws,
        command.seed,
        core_count(),
        lambda: Progress("comparing", command.draws, unit="draw"),
    )
    content = {
        "a": str(folders[0]),
        "b": str(folders[1]),
        "level": LEVEL,
        "draws": command.draws,
        "seed": command.seed,
        "num_images": truth.num_images,
        "data_fingerprint": fingerprint,
        "protocol": runs[0]["protocol"],
        **compared,
    }
    write_atomic(output / COMPARE, json.dumps(content, indent=1) + "\n")
    print(compare_table(content))
    print(f"written to {output}: {COMPARE}")
    pages = [page for folder in folders if (page := folder / "report.html").is_file()]
    print(where_to_look(pages=pages))
    return 0


def _read_run(folder: Path) -> dict[str, Any]:
    path = folder / METRICS
    try:
        metrics = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        absent = "" if path.exists() else neighbours(path if folder.exists() else folder)
        raise DataError(
            f"compare={folder}: no readable {METRICS} ({reason}).{absent} Give two output "
            "folders of eval.py."
        ) from error
    needed = ("data_fingerprint", "protocol", "data", "split")
    missing = [k for k in needed if not isinstance(metrics, dict) or k not in metrics]
    if missing:
        raise DataError(
            f"{path}: says nothing of {', '.join(missing)}; it was written by an earlier version "
            "or by a training run. Evaluate again with eval.py."
        )
    if not (folder / DETECTIONS).is_file():
        raise DataError(f"compare={folder}: no {DETECTIONS}. Evaluate again with eval.py.")
    return {key: metrics[key] for key in needed}


def compare_table(content: dict[str, Any]) -> str:
    """Lay out a comparison as text.

    Args:
        content: As in `compare.json`.
    """
    rows = {"AP": content["AP"], "AP50": content["AP50"], **content["per_class"]}
    width = max(len(name) for name in rows)
    lines = [f"{'':{width}}{'A':>9}{'B':>9}{'B - A':>9}   95 % interval       better"]
    for name, row in list(rows.items())[: _SHOWN + 2]:
        if row["difference"] is None:
            lines.append(f"{name:{width}}{'-':>9}{'-':>9}")
            continue
        interval = f"{row['low']:+.4f} .. {row['high']:+.4f}"
        lines.append(
            f"{name:{width}}{row['a']:9.4f}{row['b']:9.4f}{row['difference']:+9.4f}   {interval}  "
            f"{row['verdict']}"
        )
    return "\n".join(lines)
