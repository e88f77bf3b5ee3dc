"""What the launcher is asked to start: its command line, the job, and the msrun command that
follows.

Starting and watching it is `__main__.py`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.core.cores import core_count
from data_tools.core.errors import SettingError
from training.command_line.configure import compose
from training.process.rank_status import (
    BOUND_VARIABLE,
    JOB_VARIABLE,
    LOCAL_RANKS_VARIABLE,
    STATUS_VARIABLE,
)
from training.run.loop import open_training_split
from training.settings import TrainSettings
from training.watching.run_folder import check_folder, refuse_live_run

REPOSITORY = Path(__file__).resolve().parents[2]


NODE_TIMEOUT = {"CPU": "20", "Ascend": "120"}
"""Seconds after which a silent rank counts as gone: on a card it may be waiting for HCCL, which
takes up to 120.
"""


@dataclass(frozen=True)
class Job:
    """What is to be started on this machine.

    Attributes:
        devices: Ranks on this machine.
        nodes: Machines in the job, each with as many ranks.
        node_rank: Number of this machine.
        master: Address of machine 0.
        port: Port of the scheduler on machine 0.
        ranks_dir: Folder of the ranks' logs.
        rank_table: HCCL rank table file, or None.
        overrides: Settings for `train.py`.
        device: `CPU` or `Ascend`.
        bind: How msrun binds the ranks: empty (not at all), `core` or `numa`.
    """

    devices: int
    nodes: int = 1
    node_rank: int = 0
    master: str = "127.0.0.1"
    port: int = 8118
    ranks_dir: Path = Path("ranks")
    rank_table: str | None = None
    overrides: tuple[str, ...] = field(default=())
    device: str = "CPU"
    bind: str = ""

    @property
    def world_size(self) -> int:
        """Ranks on all machines."""
        return self.devices * self.nodes

    @property
    def first_rank(self) -> int:
        """Smallest rank on this machine."""
        return self.devices * self.node_rank

    def command(self) -> list[str]:
        """Return the msrun command line."""
        command = [
            shutil.which("msrun", path=_search_path()) or "msrun",
            f"--worker_num={self.world_size}",
            f"--local_worker_num={self.devices}",
            f"--master_addr={self.master}",
            f"--master_port={self.port}",
            f"--node_rank={self.node_rank}",
            f"--log_dir={self.ranks_dir}",
            "--cluster_time_out=300",
            "--join=True",
            # A worker that is not there: msrun would start a `tail -f` for each that there is, to
            # copy logs that the launcher reads itself, and a killed launcher would leave those
            # behind.
            f"--tail_worker_log={self.world_size}",
        ]
        if self.rank_table:
            command.append(f"--rank_table_file={self.rank_table}")
        if self.bind:
            command.append(f"--bind_{self.bind}=True")
        return [*command, str(REPOSITORY / "train.py"), *self.overrides]

    def environment(self, job_id: str, status_dir: str) -> dict[str, str]:
        """Return the variables that the ranks get on top of this process's own."""
        return {
            "PATH": _search_path(),
            JOB_VARIABLE: job_id,
            STATUS_VARIABLE: status_dir,
            LOCAL_RANKS_VARIABLE: str(self.devices),
            "PYTHONUNBUFFERED": "1",
            "GLOG_v": os.environ.get("GLOG_v", "3"),  # noqa: SIM112 - MindSpore reads it so
            BOUND_VARIABLE: "1" if self.bind else "0",
            "MS_NODE_TIMEOUT": os.environ.get("MS_NODE_TIMEOUT", NODE_TIMEOUT[self.device]),
        }


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into the launcher's options and the settings for `train.py`."""
    parser = argparse.ArgumentParser(
        prog="run_distribute_train.sh",
        description="Train on N devices of each machine. Settings follow as for train.py.",
        epilog="Example: bash run_distribute_train.sh 8 +experiment=coco data=DIR output=RUN",
        allow_abbrev=False,
    )
    parser.add_argument("devices", type=int, help="ranks on this machine, one a device")
    parser.add_argument(
        "--nodes", type=int, default=Job.nodes, help="machines in the job (%(default)s)"
    )
    parser.add_argument(
        "--node-rank", type=int, default=Job.node_rank, help="number of this machine (%(default)s)"
    )
    parser.add_argument("--master", default=Job.master, help="address of machine 0 (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=Job.port, help="free port on machine 0 (%(default)s)"
    )
    parser.add_argument("--log-dir", help="folder of the ranks' logs (OUTPUT/ranks)")
    parser.add_argument(
        "--rank-table",
        help="HCCL rank table, else $RANK_TABLE_FILE: msrun tells the ranks of it, and starts the "
        "job without it all the same",
    )
    binding = parser.add_mutually_exclusive_group()
    binding.add_argument(
        "--bind-cores",
        action="store_const",
        const="core",
        dest="bind",
        default="",
        help="give each rank cores of its own, as msrun chooses them",
    )
    binding.add_argument(
        "--bind-numa",
        action="store_const",
        const="numa",
        dest="bind",
        help="give each rank the cores near its card, with numactl",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be started")
    options, overrides = parser.parse_known_args(arguments)
    for text in overrides:
        if text.startswith("-"):
            parser.error(f"unknown option {text}; settings look like key=value")
    checks = (
        (options.devices >= 1, f"devices={options.devices}: must be at least 1"),
        (options.nodes >= 1, f"--nodes {options.nodes}: must be at least 1"),
        (
            0 <= options.node_rank < options.nodes,
            f"--node-rank {options.node_rank}: must be 0 or more and below --nodes "
            f"({options.nodes})",
        ),
        (0 < options.port < 65536, f"--port {options.port}: must be 1..65535"),
    )
    for fine, message in checks:
        if not fine:
            parser.error(message)
    return options, overrides


def plan(options: argparse.Namespace, overrides: Sequence[str]) -> tuple[Job, TrainSettings]:
    """Check the settings before anything is started, and lay out the job.

    Raises:
        UserError: If a setting or the data set is wrong; nothing was started then.
    """
    settings: TrainSettings = compose("train", "training.settings:TrainSettings", overrides)
    if settings.replay or settings.summary or settings.preview:
        raise SettingError("replay, summary and preview run on one device: use python train.py")
    open_training_split(settings)
    if options.node_rank == 0:
        refuse_live_run(Path(settings.output))
        check_folder(settings)
    ranks_dir = Path(options.log_dir) if options.log_dir else Path(settings.output) / "ranks"
    job = Job(
        devices=options.devices,
        nodes=options.nodes,
        node_rank=options.node_rank,
        master=options.master,
        port=options.port,
        ranks_dir=ranks_dir,
        rank_table=options.rank_table or os.environ.get("RANK_TABLE_FILE"),
        overrides=tuple(overrides),
        device=settings.runtime.device,
        bind=options.bind,
    )
    check_binding(job)
    return job, settings


def check_binding(job: Job) -> None:
    """Refuse a binding that cannot be: each rank needs a core, and NUMA needs numactl.

    Raises:
        SettingError: If there are fewer cores than ranks, or numactl is not installed.
    """
    if job.bind == "core" and job.devices > core_count():
        raise SettingError(
            f"--bind-cores: {job.devices} ranks and {core_count()} cores: a rank "
            "needs one of its own. Leave the option out, or start fewer ranks."
        )
    if job.bind == "numa" and shutil.which("numactl") is None:
        raise SettingError("--bind-numa: numactl is not installed: apt-get install numactl.")


def describe(job: Job, settings: TrainSettings) -> str:
    """Say what would be started."""
    variables = job.environment("JOB", "STATUS_DIR")
    lines = [
        f"machine {job.node_rank} of {job.nodes}: ranks {job.first_rank} to "
        f"{job.first_rank + job.devices - 1} of {job.world_size} on {settings.runtime.device}",
        f"global batch {settings.batch_size * job.world_size} = {job.world_size} x "
        f"{settings.batch_size}",
        f"output {settings.output}, logs {job.ranks_dir}/worker_<rank>.log",
        *(f"{name}={value}" for name, value in variables.items() if name != "PATH"),
        shlex.join(job.command()),
    ]
    return "\n".join(lines)


def _search_path() -> str:
    # msrun starts `python` as found on PATH: it must be this one.
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
