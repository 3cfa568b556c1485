"""Callbacks for tests: something happens at a step of a run, however that is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gptsmith.train.callbacks import more_callbacks
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer


class After(Callback):
    """Calls a function after each step from `step` on, before that is evaluated or saved; only once if `once`."""

    def __init__(self, step: int, action: Callable[[Trainer], object], *, once: bool = False) -> None:
        self.step, self.action, self.once = step, action, once

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        if trainer.state.step < self.step:
            return
        if self.once:
            self.step = 10**9
        self.action(trainer)


class AtStart(Callback):
    """Calls a function before the first step."""

    def __init__(self, action: Callable[[Trainer], object]) -> None:
        self.action = action

    def on_start(self, trainer: Trainer) -> None:
        self.action(trainer)


def stop(trainer: Trainer) -> None:
    trainer.end("stopped")


@contextmanager
def stopped_after(step: int) -> Iterator[None]:
    """Runs in the block stop after a step, as if somebody asked them to."""
    with more_callbacks(After(step, stop)):
        yield


@contextmanager
def killed_at_the_start() -> Iterator[None]:
    """Runs in the block die before their first step."""

    def die(_: Trainer) -> None:
        raise KeyboardInterrupt

    with more_callbacks(AtStart(die)):
        yield
