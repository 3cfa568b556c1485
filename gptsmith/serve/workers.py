"""The threads of a server beside its loop: readers of what was sent, one that loads models, and one that explains."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from gptsmith.base.futures import without_stop_iteration

T = TypeVar("T")
NUM_READERS = 2


class Workers:
    """Two threads read prompts, so that a long one of one person does not delay the short ones of others; one loads
    models, and one explains, one after the other."""

    def __init__(self) -> None:
        self._changed, self._num_running = threading.Condition(), 0
        self._readers = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="reader")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explainer")

    async def run_on_reader(self, work: Callable[[], T]) -> T:
        """The result of a function that reads what was sent."""
        return await self._run(self._readers, work)

    async def run_on_loader(self, work: Callable[[], T]) -> T:
        """The result of a function that loads a model, or gives memory back."""
        return await self._run(self._loader, work)

    async def run_on_explainer(self, work: Callable[[], T]) -> T:
        """The result of a function that explains."""
        return await self._run(self._explainer, work)

    def load_later(self, work: Callable[[], object]) -> None:
        """Has the thread that loads models call a function once it comes to it; never, after `close`."""
        with suppress(RuntimeError):
            self._loader.submit(work)

    def close(self) -> None:
        """Begins nothing more. What runs goes on: see `has_ended`."""
        for executor in (self._readers, self._loader, self._explainer):
            executor.shutdown(wait=False, cancel_futures=True)

    def has_ended(self, timeout_s: float) -> bool:
        """Whether nothing runs any more, after at most this long: a template may run on and on."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._num_running, timeout_s)

    async def _run(self, executor: Executor, work: Callable[[], T]) -> T:
        def counted() -> T:
            with self._changed:
                self._num_running += 1
            try:
                return without_stop_iteration(work)()
            finally:
                with self._changed:
                    self._num_running -= 1
                    self._changed.notify_all()

        return await asyncio.get_running_loop().run_in_executor(executor, counted)
