#!/usr/bin/env bash
# Train on N devices of this machine, or of several, with MindSpore's msrun.
#
#   bash run_distribute_train.sh 8 +experiment=coco data=DIR output=RUN
#   bash run_distribute_train.sh 8 --nodes 2 --node-rank 0 --master 10.0.0.1 +experiment=coco ...
#   bash run_distribute_train.sh --help
#
# All ranks share one output folder; each rank's log is OUTPUT/ranks/worker_<rank>.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=${PYTHON:-}
if [[ -z $python ]]; then
    if [[ -x .venv/bin/python && -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} ]]; then
        python=.venv/bin/python
    else
        python=python
    fi
fi
exec "$python" -m training.launch "$@"
