"""Ctrl-C, SIGTERM and a terminal that is closed: training stops after the step, and its state is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gptsmith.base.interrupts import AGAIN, SIGNALS, answered_at_once
from gptsmith.train.batch import Batch
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

STOPPING = "stopping after this step, with a checkpoint"


class StopOnSignal(Callback):
    """Ends training of all processes once one of them got a signal; a second signal ends this process at once.

    Args:
        words: what a signal leads to, for the person who sent it.
    """

    def __init__(self, words: str = STOPPING) -> None:
        self.words = words
        self.received: signal.Signals | None = None

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        """Handles the signals while the block runs, in the main thread.

        A signal that is ignored stays ignored: `nohup` asks for that, and a shell for what it runs in the background.
        With several processes further signals are ignored: torchrun passes on what a terminal has sent to all of them
        already, and sends another one to those that are still there when the first of them has left.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, _: object) -> None:
            self.received = signal.Signals(number)
            for one in before:
                signal.signal(one, after[one])

        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handle) for number in heard}
        after = before if trainer.processes.world_size == 1 else dict.fromkeys(before, signal.SIG_IGN)
        words = self.words + (AGAIN if trainer.processes.world_size == 1 else "")
        try:
            with answered_at_once(words if trainer.processes.is_first else None):
                yield
        finally:
            for number in before:
                signal.signal(number, after[number] if self.received else before[number])

    def on_rejected_step(self, trainer: Trainer, step: StepResult, batches: list[Batch]) -> None:
        self._end_if_received(trainer)

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        self._end_if_received(trainer)

    def _end_if_received(self, trainer: Trainer) -> None:
        number = trainer.processes.all_reduce_max(self.received or 0)
        if number:  # a signal that comes just now counts at the next step, when the others know of it
            self.received = signal.Signals(number)
            trainer.end("stopped")

    def result(self, trainer: Trainer) -> dict[str, Any]:
        return {"signal": self.received.name} if self.received is not None and trainer.status == "stopped" else {}
