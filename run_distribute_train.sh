#!/usr/bin/env bash
# Train on N devices of this machine, or of several, with MindSpore's msrun.
#
#   bash run_distribute_train.sh 8 +experiment=coco data=DIR output=RUN
#   bash run_distribute_train.sh 8 --nodes 2 --node-rank 0 --master 10.0.0.1 +experiment=coco ...
#   bash run_distribute_train.sh --help
#
# All ranks share one output folder; each rank's log is OUTPUT/ranks/worker_<rank>.log.
# Relative paths are those of the folder that you are in.
set -euo pipefail
repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

python=${PYTHON:-}
if [[ -z $python ]]; then
    if [[ -x $repository/.venv/bin/python && -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]]; then
        python=$repository/.venv/bin/python
    else
        python=python
    fi
fi
# `python -m` would look for the package in the user's folder, and before anywhere else.
start='import sys; sys.path[0] = sys.argv.pop(1); from training.launch.__main__ import main; sys.exit(main())'
exec "$python" -c "$start" "$repository" "$@"
