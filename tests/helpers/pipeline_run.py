"""A program for process tests: feeds batches from a split until it is ended, and says where it is.

Usage: python pipeline_run.py FOLDER KIND WORKERS STEPS [PAUSE_S]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from data_tools.augment.settings import AugmentSettings
from data_tools.core.errors import UserError
from data_tools.pipeline.pipeline import TrainPipeline
from data_tools.pipeline.settings import PipelineSettings
from data_tools.shards.manifest import open_split
from training.boxes.codec import BoxEncoder


def main() -> int:
    folder, kind, workers, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    pause = float(sys.argv[5]) if len(sys.argv) > 5 else 0.0
    settings = PipelineSettings(workers=workers, worker_kind=kind)
    anchors = np.random.default_rng(0).uniform(0.1, 0.9, (40, 4)).astype(np.float32)
    pipeline = TrainPipeline(
        open_split(Path(folder), "train"), settings, AugmentSettings(), (64, 48),
        BoxEncoder(anchors), seed=1, batch_size=4,
    )  # fmt: skip
    try:
        for batch in pipeline.batches(0, steps):
            print(f"step {batch.step}", flush=True)
            time.sleep(pause)
    except UserError as error:  # as the commands do: anything else is a traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        pipeline.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
