"""The executors of datatrove that run the tasks of a step: on this machine, by Slurm, or on a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import multiprocess
from datatrove.executor.base import PipelineExecutor
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from loguru import logger

from gptsmith.base.errors import one_line
from gptsmith.data.preparation.steps import Step, TaskFailedError

# Its lines would hide the one bar, in this process and in those of the tasks, which import this module too.
logger.disable("datatrove")

ExecutorName = Literal["local", "slurm", "ray"]
LOGS = "tasks"
"""The folder of what datatrove keeps of its tasks: which are done."""
ASK_EVERY_S = 2.0
HOURS = "24:00:00"
"""That Slurm gives to each task, unless SBATCH_TIMELIMIT says otherwise."""


def run_step(step: Step, executor: str, num_workers: int) -> bool:
    """Run the tasks of a step that are not done; gives whether all are, then."""
    made = _EXECUTORS[executor](step, num_workers)
    try:
        made.run()
    except TaskFailedError:
        return False  # it has written why
    except Exception as error:
        print(f"{type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return False
    return not made.get_incomplete_ranks(skip_completed=True)


def _options(step: Step, num_workers: int) -> dict[str, Any]:
    tasks = step.num_tasks
    folder = step.folder / LOGS / step.name
    return {"pipeline": [step], "tasks": tasks, "workers": min(num_workers, tasks), "logging_dir": str(folder)}


def _local(step: Step, num_workers: int) -> PipelineExecutor:
    # Workers are forked from one process that has imported everything, instead of importing it each.
    multiprocess.set_forkserver_preload([__name__])
    return LocalPipelineExecutor(**_options(step, num_workers))


class SlurmTasks(SlurmPipelineExecutor):
    """Jobs of Slurm that are waited for. Partition, account, time and the like are Slurm's own variables:
    SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_TIMELIMIT."""

    def run(self) -> None:
        super().run()
        while "SLURM_ARRAY_TASK_ID" not in os.environ and self._is_queued():
            if not self.get_incomplete_ranks(skip_completed=True):
                return
            time.sleep(ASK_EVERY_S)

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """What is given; datatrove writes the rest empty."""
        return {name: value for name, value in super().get_sbatch_args(max_array).items() if value is not None}

    def launch_merge_stats(self) -> None:
        """No job for statistics that nobody reads."""

    def _is_queued(self) -> bool:
        if self.job_id in (None, -1):
            return False
        found = subprocess.run(["squeue", "-h", "-j", str(self.job_id)], capture_output=True, check=False)
        return found.returncode == 0 and bool(found.stdout.strip())


def _slurm(step: Step, num_workers: int) -> PipelineExecutor:
    path = os.pathsep.join([str(Path(sys.executable).parent), "$PATH"])
    packages = os.pathsep.join(filter(None, [_package_folder(), os.environ.get("PYTHONPATH", "")]))
    return SlurmTasks(
        **_options(step, num_workers),
        time=HOURS,
        partition=None,
        qos=None,
        job_name=f"gptsmith-{step.name}",
        env_command=f'export PATH="{path}" PYTHONPATH="{packages}"',
        mail_type="NONE",
        requeue=False,
        max_array_size=1000,
    )


def _ray(step: Step, num_workers: int) -> PipelineExecutor:
    return RayPipelineExecutor(**_options(step, num_workers), mem_per_cpu_gb=0.5)


def _package_folder() -> str:
    """The folder that holds this package, as tasks find the same one."""
    return str(Path(__file__).resolve().parents[3])


_EXECUTORS: dict[str, Callable[[Step, int], PipelineExecutor]] = {"local": _local, "slurm": _slurm, "ray": _ray}
