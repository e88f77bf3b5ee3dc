"""The collectives of a job: the one module that names MindSpore's communication operators.

Inside a compiled step, and on the host between steps, everything goes through these few functions;
MindSpore announces that data parallelism by such operators in static graphs is to end, and what
takes its place goes here. What is summed and when is in `learning/reduce.py`, `nets/norm.py` and
`process/world.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, communication, ops
from mindspore.communication import GlobalComm, get_group_size, get_rank
from numpy.typing import NDArray


def join() -> None:
    """Join the job that a launcher started.

    The device must have been chosen, and on a card no operation may have run. In msrun's scheduler
    process this call blocks until all ranks are gone.
    """
    communication.init()


def rank_and_size() -> tuple[int, int]:
    """Return rank and number of ranks; (0, 1) before `join`."""
    return (int(get_rank()), int(get_group_size())) if GlobalComm.INITED else (0, 1)


def sum_in_graph() -> Any:
    """Return a primitive for a compiled graph: a float32 tensor to its sum over all ranks.

    It can be differentiated: its gradient is the sum of the gradients.
    """
    return ops.AllReduce()


def sum_on_host(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum an array over all ranks."""
    total: NDArray[np.float32] = ops.AllReduce()(Tensor(values)).asnumpy()
    return total


def gather_on_host(row: NDArray[np.int32]) -> NDArray[np.int32]:
    """(K,) of each rank -> (ranks, K); int32 is the one integer that both MCCL and HCCL gather."""
    rows: NDArray[np.int32] = ops.AllGather()(Tensor(row[None])).asnumpy()
    return rows


def broadcast_on_host(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rank 0's vector on every rank."""
    received: NDArray[np.float32] = ops.Broadcast(0)((Tensor(flat),))[0].asnumpy()
    return received
