"""The jobs of `test_processes.py`: torchrun starts this once, and it trains one run after the other.

python process_worker.py JOBS: a JSON file of jobs (see `Job`); what came of one goes to NAME.RANK.json beside it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.train import resolve, trainer
from gptsmith.train.callbacks import evaluate, more_callbacks, replan
from gptsmith.train.planning import time_budget
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.trainer import Callback, Trainer

RANK = int(os.environ["RANK"])
SLOW = Speed(((7e6, 1e-3), (1e9, 1e-1)))


class Poison(Callback):
    """Makes the weights of a layer NaN before a step: once, or before every step from it on."""

    def __init__(self, step: int, always: bool) -> None:
        self.step, self.always, self.times = step, always, 0

    def before_step(self, trainer: Trainer) -> None:
        step = trainer.state.step
        if (step == self.step and self.times == 0) or (step >= self.step and self.always):
            self.times += 1
            with torch.no_grad():
                trainer.model.blocks[1].attention.value.weight.fill_(float("nan"))


class Clock(Callback):
    """A clock that each step moves, in each process by another time: only the first one's may count."""

    def __init__(self) -> None:
        self.now = 1000.0

    def before_step(self, trainer: Trainer) -> None:
        self.now += 2.4 - 1.8 * RANK


def train(job: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run, or its error."""
    callbacks: list[Callback] = []
    if "poison_at" in job:
        callbacks.append(Poison(job.pop("poison_at"), job.pop("always")))
    timed = (trainer, evaluate, replan, resolve) if "minutes" in job else ()
    if timed:
        clock = Clock()
        callbacks.append(clock)
        time_budget.measured_speed = lambda *_: SLOW
        job["started"] = clock.now
    try:
        for module in timed:
            module.time = SimpleNamespace(monotonic=lambda: clock.now)
        with more_callbacks(*callbacks):
            return gptsmith.pretrain(**job)
    except UserError as error:
        torch.distributed.destroy_process_group()
        return {"error": str(error)}
    finally:
        for module in timed:
            module.time = time


for name, job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")).items():
    if RANK == 0:
        print(f"=== {name}", file=sys.stderr, flush=True)
    figures = train(job)
    Path(sys.argv[1]).with_name(f"{name}.{RANK}.json").write_text(json.dumps(figures), encoding="utf-8")
# As the program itself ends: threads that talk to the other processes may abort one that takes itself apart.
sys.stderr.flush()
os._exit(0)
