"""Turns: an explanation computes between the steps of an engine, so that texts that are being written hardly wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from torch import nn

from gptsmith.base.errors import GptsmithError
from gptsmith.generate.engine import Engine
from gptsmith.model.gpt import GPT
from gptsmith.model.shared_copy import shared_copy

T = TypeVar("T")
MAX_SLOWDOWN = 1.15
"""How many times as long a token of other texts may take on average beside an explanation."""
LOOK_EVERY_S = 0.1


class GivenUpError(GptsmithError):
    """Nobody waits for the explanation any more."""


class Turns:
    """Lets another thread compute on an engine's thread, one turn after the other. After each it rests as long as the
    texts that are being written need to make up for it, and for what the thread did itself before it, when it held the
    interpreter's lock; where none is being written, it does not rest.
    """

    def __init__(
        self, engine: Engine, is_busy: Callable[[], bool], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`is_busy` says whether texts are being written, by this engine or by others of its thread."""
        self._engine, self._is_busy, self._clock = engine, is_busy, clock
        self._given_up = threading.Event()
        self._rested_at = clock()

    def give_up(self) -> None:
        """Ends the work at its next turn, from any thread."""
        self._given_up.set()

    def take(self, work: Callable[[], T]) -> T:
        """The result of a function that is called between two steps of the engine.

        Raises:
            GivenUpError: nobody waits for it any more.
        """
        self._require_wanted()
        seconds = self._clock() - self._rested_at

        def timed() -> T:
            nonlocal seconds
            started = self._clock()
            try:
                return work()
            finally:
                seconds += self._clock() - started

        result = self._result(self._engine.call(timed))
        self._rest(seconds / (MAX_SLOWDOWN - 1))
        return result

    def _rest(self, seconds: float) -> None:
        """Rests for so long, unless no text is being written any more."""
        until = self._clock() + seconds
        while self._is_busy() and (left_s := until - self._clock()) > 0:
            self._given_up.wait(min(left_s, LOOK_EVERY_S))
            self._require_wanted()
        self._rested_at = self._clock()

    def _result(self, future: Future[T]) -> T:
        """What comes of a turn; an engine that is closed meanwhile gives none any more."""
        while True:
            try:
                return future.result(LOOK_EVERY_S)
            except TimeoutError:
                if future.done():  # the work itself took too long for somebody
                    raise
                self._require_wanted()

    def _require_wanted(self) -> None:
        if self._given_up.is_set():
            raise GivenUpError("nobody waits for this explanation any more")


def turn_taking(model: GPT, turns: Turns) -> GPT:
    """A copy of a model that shares its weights, and takes a turn for each block and for logits."""
    copied = shared_copy(model)
    _take_turns(copied, "logits", turns)
    for block in copied.blocks:
        _take_turns(block, "forward", turns)
    return copied


def _take_turns(module: nn.Module, name: str, turns: Turns) -> None:
    """Lets a method of a module take turns. It is found on the module's class, so that copies of it have it too."""
    kind = type(module)

    def method(self: nn.Module, *args: Any, **named: Any) -> Any:
        return turns.take(partial(getattr(super(made, self), name), *args, **named))

    made = type(f"TurnTaking{kind.__name__}", (kind,), {name: method})
    module.__class__ = made
