"""A thread that steps engines."""

from __future__ import annotations

import threading
from typing import Protocol


class Steppable(Protocol):
    """Something that is stepped while it has work."""

    @property
    def has_work(self) -> bool: ...

    def step(self) -> None: ...


class EngineThread:
    """The one thread that owns torch: it steps its engines in turn, and sleeps while none has work."""

    def __init__(self) -> None:
        self._engines: list[Steppable] = []
        self._wake = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def add(self, engine: Steppable) -> None:
        """Steps this engine too."""
        with self._wake:
            self._engines.append(engine)

    def remove(self, engine: Steppable) -> None:
        """Steps this engine no more, but for the step that it may be in."""
        with self._wake:
            if engine in self._engines:
                self._engines.remove(engine)

    def wake(self) -> None:
        """Looks for work."""
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._wait():
            self._step_all()

    def _wait(self) -> bool:
        """Waits until an engine has work; False if the thread is to end."""
        with self._wake:
            while not self._is_closed and not any(engine.has_work for engine in self._engines):
                self._wake.wait()
            return not self._is_closed

    def _step_all(self) -> None:
        """Steps each engine that has work. Only here the thread holds them: one that was removed is freed while the
        others rest."""
        with self._wake:
            engines = [engine for engine in self._engines if engine.has_work]
        for engine in engines:
            engine.step()
