"""SSD300 on two ranks: what a network of 255 weight tensors meets and the tests' small one does
not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.run_helpers import REPOSITORY, free_port, make_set, read_run, train
from tests.helpers.warm import run_warm

pytestmark = [pytest.mark.slow, pytest.mark.several_processes]


def test_ssd300_trains_on_two_ranks_and_is_evaluated_with_the_digits_of_eval(
    tmp_path: Path,
) -> None:
    data, output = make_set(tmp_path / "data", train=8, val=5), tmp_path / "run"
    text = train(
        f"data={data}", f"output={output}", "model=ssd300", "model.image_size=[300,300]",
        "batch_size=2", "max_steps=2", "evaluate_at_end=true", "log.pictures=0",
        ranks=2, extra=("--port", str(free_port())),
    )  # fmt: skip
    assert "model  ssd300, 300x300" in text
    assert np.isfinite([line["loss"] for line in read_run(output)]).all()
    (checkpoint,) = (output / "checkpoints").glob("step-00000002.ckpt")
    done = run_warm(
        "eval.py", f"checkpoint={checkpoint}", f"data={data}", f"output={tmp_path / 'eval'}",
        cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    while_training, alone = (
        json.loads((folder / "metrics.json").read_text()) for folder in (output, tmp_path / "eval")
    )
    assert while_training["coco"] == alone["coco"]
