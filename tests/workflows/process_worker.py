"""One of the processes of tests, which have what torchrun gives: it trains one run after the other."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, TypedDict

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gptsmith.base.errors import UserError
from gptsmith.run.contents import CheckpointContents, shards_of
from gptsmith.run.sharding import local_tensor
from gptsmith.run.stored_tensors import save_tensors
from gptsmith.train import resolve, trainer
from gptsmith.train.callbacks import evaluate, more_callbacks, replan
from gptsmith.train.planning import time_budget
from gptsmith.train.planning.throughput import Speed
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer
from gptsmith.workflows.finetune import finetune
from gptsmith.workflows.pretrain import pretrain

SLOW = Speed(((7e6, 1e-3, 0.0), (1e9, 1e-1, 0.0)))


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
        self.now += 2.4 - 1.8 * int(os.environ["RANK"])


class Sending(TorchDispatchMode):
    """Adds up the bytes that this process gives to each collective operation on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if str(func).startswith("c10d._"):  # _allgather_base_ and _reduce_scatter_base_: (output, input, ...)
            self.num_bytes[str(func).split(".")[1].strip("_")] += args[1].nbytes
        return func(*args, **(kwargs or {}))


class CountSent(Callback):
    """Counts what the last step sends."""

    def __init__(self) -> None:
        self.sending = Sending()

    def before_step(self, trainer: Trainer) -> None:
        if trainer.state.step == trainer.num_steps - 1:
            self.sending.__enter__()

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        if trainer.state.step == trainer.num_steps:
            self.sending.__exit__(None, None, None)

    def result(self, trainer: Trainer) -> dict[str, Any]:
        return {"sent": dict(self.sending.num_bytes)}


class KeepFirst(Callback):
    """Keeps the first weights: each process writes its shards into a folder of its copy of the model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_start(self, trainer: Trainer) -> None:
        shards = shards_of(trainer.model, {})
        assert shards is not None
        folder = self.folder / str(trainer.processes.rank // shards.count)
        folder.mkdir(parents=True, exist_ok=True)
        local = {name: local_tensor(each.detach()) for name, each in trainer.model.named_parameters()}
        save_tensors(folder / shards.file("model.safetensors"), local, shards.parts)


class Dies(Callback):
    """Ends a process without a word once it has written its part of a step's checkpoint."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_start(self, trainer: Trainer) -> None:
        if trainer.processes.rank != self.rank:
            return
        write = CheckpointContents.write

        def write_and_die(contents: CheckpointContents, folder: Path) -> list[Path]:
            written = write(contents, folder)
            if contents.train_state.step == self.step:
                os._exit(9)
            return written

        CheckpointContents.write = write_and_die  # type: ignore[method-assign]


class Kill(Callback):
    """Kills the process that writes before a step, unless torchrun has restarted it more often than that."""

    def __init__(self, step: int, num_restarts: int) -> None:
        self.step, self.num_restarts = step, num_restarts

    def before_step(self, trainer: Trainer) -> None:
        is_due = int(os.environ["TORCHELASTIC_RESTART_COUNT"]) == self.num_restarts
        if is_due and trainer.processes.is_first and trainer.state.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run, or its error."""
    if job.pop("joins", False):  # a group that is there
        torch.distributed.init_process_group("gloo")
        figures = train(job)
        assert torch.distributed.is_initialized()
        torch.distributed.destroy_process_group()
        return figures
    callbacks: list[Callback] = []
    if "poison_at" in job:
        callbacks.append(Poison(job.pop("poison_at"), job.pop("always")))
    if "keeps_first" in job:
        callbacks.append(KeepFirst(Path(job.pop("keeps_first"))))
    if "dies" in job:
        callbacks.append(Dies(*job.pop("dies")))
    if job.pop("counts", False):
        callbacks.append(CountSent())
    if "kill_at" in job:
        callbacks.append(Kill(*job.pop("kill_at")))
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
            return finetune(**job) if job.pop("tunes", "base" in job) else pretrain(**job)
    except UserError as error:
        torch.distributed.destroy_process_group()
        return {"error": str(error)}
    finally:
        for module in timed:
            module.time = time


class Order(TypedDict):
    """Jobs by their names, the folder for what comes of them, how many processes do them, their store's port."""

    jobs: dict[str, dict[str, Any]]
    folder: str
    num_processes: int
    port: int


def variables(rank: int, num_processes: int, port: int, num_restarts: int = 0) -> dict[str, str]:
    """The environment that torchrun gives a process; `port` is that of its store."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": str(num_restarts),
    }  # fmt: skip


def work(order: Order, rank: int) -> NoReturn:
    """Does all jobs of an order (see `train`) as one of its processes. What came of one goes to NAME.RANK.json in the
    folder, and what all say to `said`."""
    folder, code = Path(order["folder"]), 1
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.environ |= variables(rank, order["num_processes"], order["port"])
    try:
        for name, job in order["jobs"].items():
            if rank == 0:
                print(f"=== {name}", file=sys.stderr, flush=True)
            (folder / f"{name}.{rank}.json").write_text(json.dumps(train(job)), encoding="utf-8")
        code = 0
    except BaseException:
        traceback.print_exc()
    # As the program itself ends: threads that talk to the other processes may abort one that takes itself apart.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":  # started by torchrun
    for one in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        train(one)
    sys.stderr.flush()
    os._exit(0)
