"""What the workers and the command that started them tell each other."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

MAX_RESTARTS = 3
"""Restarts in a row between which a run makes no progress."""
SILENCE_S = 10.0
"""After which nothing is to be expected of a worker that was training."""


@dataclass(frozen=True)
class News:
    """What the command hears of its workers.

    Attributes:
        text: what they have said since the last time, for the person's terminal.
        error: why what was requested cannot be done.
        figures: those of the run that has ended.
        is_training: whether they have begun to train, so that they can save and stop.
        num_restarts: how often they were started again.
    """

    text: str = ""
    error: str | None = None
    figures: dict[str, Any] | None = None
    is_training: bool = False
    num_restarts: int = 0


@dataclass(frozen=True)
class Entered:
    """What a worker that starts is told.

    Attributes:
        seconds: those since the command began.
        run: the run that workers before it have begun, if any.
        is_over: whether the command has ended, so that there is nothing to do.
    """

    seconds: float
    run: str | None
    is_over: bool


class Mailbox:
    """An actor on the command's host, which outlives the workers. Every method returns at once.

    Args:
        seconds: the seconds that the command had taken when this was made.
    """

    def __init__(self, seconds: float) -> None:
        self._begun = time.monotonic() - seconds
        self._news = News()
        self._run: str | None = None
        self._num_starts = self._num_in_vain = 0
        self._step = -1
        self._crash = ""
        self._signal = 0
        self._heard = 0.0

    def _change(self, **values: Any) -> None:
        self._news = replace(self._news, **values)

    def enter(self, is_first: bool) -> Entered:
        """Says that a worker has started."""
        if is_first:
            self._num_starts += 1
            self._num_in_vain += 1
            self._change(is_training=False, num_restarts=self._num_starts - 1)
            if self._num_in_vain > MAX_RESTARTS + 1:
                at = f" at step {self._step:,}" if self._step >= 0 else " before the first step"
                self.fail(
                    f"the workers died {self._num_in_vain - 1} times in a row{at} ({self._crash or 'killed'}): see "
                    "what ended them, such as too little memory, and give the same command again"
                )
        return Entered(time.monotonic() - self._begun, self._run, self._news.error is not None)

    def begin(self, run: str, step: int) -> None:
        """Says that a run is trained from a step on."""
        if step > self._step:
            self._step, self._num_in_vain = step, 1
        self._run, self._heard = run, time.monotonic()
        self._change(is_training=True)

    def say(self, text: str) -> None:
        """Takes text for the person's terminal."""
        self._change(text=self._news.text + text)

    def fail(self, error: str) -> None:
        """Says that what was requested cannot be done. The first error counts."""
        self._change(error=self._news.error or error)

    def crash(self, error: str) -> None:
        """Says what ended a worker that will be started again."""
        self._crash = error

    def finish(self, figures: dict[str, Any]) -> None:
        """Takes the figures of the run."""
        self._change(figures=figures)

    def news(self) -> News:
        """What has happened."""
        news, self._news = self._news, replace(self._news, text="")
        is_alive = time.monotonic() - self._heard < SILENCE_S
        return replace(news, is_training=news.is_training and is_alive)

    def stop(self, number: int) -> None:
        """Asks the workers to save and stop, as after the signal of this number."""
        self._signal = number

    def signal(self) -> int:
        """The number of the signal after which they are to stop, or 0. The first worker asks for it while it trains."""
        self._heard = time.monotonic()
        return self._signal
