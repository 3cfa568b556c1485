"""One of the workers: a process of Ray that runs the ordinary verb as one of several."""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gptsmith.base import console
from gptsmith.base.errors import GptsmithError, UserError, one_line
from gptsmith.base.outside import import_kinds
from gptsmith.run.distributed import LostProcessError, init_process_group
from gptsmith.store.lock import waiting_for_locks
from gptsmith.train.agree import naming_host, place_of, same_figures
from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.callbacks.signals import StopOnSignal
from gptsmith.train.resume import resumed_with
from gptsmith.train.trainer import Callback, Trainer
from gptsmith.version import __version__

LISTEN_EVERY_S = 0.5
MAX_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class Order:
    """What every worker is to do.

    Attributes:
        verb: the verb, as Python calls it.
        request: its arguments.
        mailbox: the actor by which the command hears of it (`gptsmith.cluster.mailbox`).
        folder: the working folder of the command.
        needs_folder: whether the request names anything relative to it.
        imports: the files of `--import`.
        num_threads: the threads of each worker.
        width: that of the person's terminal; None where the command has none.
        resume_options: what `--resume` needs beside it, so that the run continues in the same way.
    """

    verb: Callable[..., dict[str, Any]]
    request: dict[str, Any]
    mailbox: Any
    folder: str
    needs_folder: bool
    imports: tuple[str, ...]
    num_threads: int
    width: int | None
    resume_options: tuple[str, ...]


def work(config: dict[str, Any]) -> None:
    """Trains as one of the workers, and tells the mailbox what comes of it.

    Raises:
        Exception: this worker failed, so that Ray starts all of them again.
    """
    import ray

    order: Order = config["order"]
    rank = int(os.environ["RANK"])
    entered = ray.get(order.mailbox.enter.remote(rank == 0))
    if entered.is_over:
        return
    try:
        figures = _trained(order, rank, entered.seconds, entered.run)
    except LostProcessError:
        raise
    except (GptsmithError, OSError) as error:
        ray.get(order.mailbox.fail.remote(one_line(error, MAX_ERROR_CHARACTERS)))
        raise
    except Exception as error:
        ray.get(order.mailbox.crash.remote(f"{socket.gethostname()}: {one_line(error)}"))
        raise
    if rank == 0:
        ray.get(order.mailbox.finish.remote(figures))


def _trained(order: Order, rank: int, seconds: float, run: str | None) -> dict[str, Any]:
    """The figures of the run.

    Raises:
        UserError: as the verb does, or this host is not as the first one.
    """
    torch.set_num_threads(order.num_threads)
    with init_process_group() as processes:
        first = processes.broadcast({"host": socket.gethostname(), **versions()})
        with naming_host(processes):
            enter_folder(order)
            require_versions_of(first)
        _speak_through(order)
        if rank:
            console.be_silent()
        if run is not None and (figures := same_figures(run, processes)) is not None:
            return figures  # a worker died after the end
        for file in order.imports:
            import_kinds(file)
        with (
            more_callbacks(StopWithCommand(order.mailbox)),
            resumed_with(order.resume_options),
            waiting_for_locks(run is not None),
        ):
            return order.verb(**order.request, started=time.monotonic() - seconds)


def enter_folder(order: Order) -> None:
    """Works where the command was given, so that relative paths name the same files.

    Raises:
        UserError: this host has no such folder, and the request needs it.
    """
    if Path(order.folder).is_dir():
        os.chdir(order.folder)
    elif order.needs_folder:
        raise UserError(
            f"there is no folder {order.folder}, where the command was given: give it in a folder that every host of "
            "the cluster has on a shared disk, or name all paths from the root, --out too"
        )


def versions() -> dict[str, str]:
    """What must be the same on all hosts."""
    return {"gptsmith": __version__, "torch": torch.__version__}


def require_versions_of(first: dict[str, str]) -> None:
    """Checks that this host has what the first worker's host has.

    Raises:
        UserError: it has another version.
    """
    for name, version in versions().items():
        if first[name] != version:
            raise UserError(
                f"{name} is {version} here, and {first[name]} on {first['host']}, the first worker's host: install "
                "the same on all hosts"
            )


class Wire(io.StringIO):
    """Standard error of a worker, which goes to the person's terminal."""

    def __init__(self, mailbox: Any, is_terminal: bool) -> None:
        super().__init__()
        self._mailbox, self._is_terminal, self._text = mailbox, is_terminal, ""

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        self._text += text
        return len(text)

    def flush(self) -> None:
        text, self._text = self._text, ""
        if text:
            self._mailbox.say.remote(text)


def _speak_through(order: Order) -> None:
    console.speak_through(Wire(order.mailbox, order.width is not None), order.width)


class StopWithCommand(Callback):
    """Tells the command when training begins, and ends training when the command has got a signal."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        if not trainer.processes.is_first:
            yield
            return
        stopping = next(callback for callback in trainer.callbacks if isinstance(callback, StopOnSignal))
        has_ended = threading.Event()
        listener = threading.Thread(target=self._listen, args=(stopping, has_ended), daemon=True)
        listener.start()
        try:
            yield
        finally:
            has_ended.set()
            listener.join()

    def on_start(self, trainer: Trainer) -> None:
        if trainer.processes.is_first:
            self._mailbox.begin.remote(place_of(trainer.run), trainer.state.step)

    def _listen(self, stopping: StopOnSignal, has_ended: threading.Event) -> None:
        import ray

        while not has_ended.wait(LISTEN_EVERY_S):
            if number := ray.get(self._mailbox.signal.remote()):
                # It goes on asking, so that the command knows that this worker lives while it saves.
                stopping.received = signal.Signals(number)
