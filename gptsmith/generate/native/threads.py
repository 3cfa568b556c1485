"""Threads that stay in compiled code: atomic counters, barriers, and waiting that ends in sleep."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
from llvmlite import ir
from numba import types

from gptsmith.generate.native.compiling import call, compiled, intrinsic, kept
from gptsmith.generate.native.targets import IS_X86

I32, I64 = ir.IntType(32), ir.IntType(64)
SPINS, YIELDS = 2000, 4000
"""How often a thread looks again at once, and how often after it has let others run, before it sleeps."""
STARTED, ARRIVED = 0, 8
"""The counters' offsets in bytes: jobs that were started, and arrivals of threads at barriers."""
COUNTERS = 2


@intrinsic
def read_counter(typing: Any, address: Any) -> Any:
    """The value of a counter, which other threads change."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), code


@intrinsic
def count(typing: Any, address: Any) -> Any:
    """Adds one to a counter."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.atomic_rmw("add", builder.inttoptr(arguments[0], I64.as_pointer()), I64(1), "acq_rel")
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic
def pause(typing: Any) -> Any:
    """Tells the processor that this thread waits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if IS_X86:
            call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def let_others_run(typing: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        call(builder, "SwitchToThread" if sys.platform == "win32" else "sched_yield", I32)
        return context.get_dummy_value()

    return types.void(), code


@compiled
def reaches(counter: int, value: int, num_yields: int) -> bool:
    """Whether a counter comes to a value while this thread waits; without end if `num_yields` is negative."""
    for _ in range(SPINS):
        if read_counter(counter) >= value:
            return True
        pause()
    while num_yields != 0:
        if read_counter(counter) >= value:
            return True
        let_others_run()
        num_yields -= 1
    return read_counter(counter) >= value


@kept
def start(counters: int) -> None:
    count(counters + STARTED)


def compile_start() -> None:
    """Compiles `start`, or reads what is kept of it."""
    counters = numpy.zeros(COUNTERS, numpy.int64)
    start(counters.ctypes.data)


@compiled
def barrier(counters: int, number: int, num_threads: int) -> None:
    """Waits until all threads have come to barrier `number`, counted from 1 since they were made."""
    if num_threads > 1:
        count(counters + ARRIVED)
        reaches(counters + ARRIVED, number * num_threads, -1)


class Threads:
    """Threads that run one function together: the caller's own, and others that wait for it in compiled code.

    Args:
        num_threads: how many, the caller's included.
        counters: what `start`, `barrier` and `attend` count, `COUNTERS` zeros.
        work: runs the share of the caller's thread.
        attend: waits for starts and runs a thread's share at each, called with its number and that of the next start;
            returns the number of the start that it has waited for in vain. A thread sleeps then.

    Attributes:
        num_asleep: how many threads sleep.
    """

    def __init__(
        self, num_threads: int, counters: Any, work: Callable[[], int], attend: Callable[[int, int], int]
    ) -> None:
        self._counters, self._run_share, self._attend, self._is_closed = counters, work, attend, False
        self._wake, self.num_asleep = threading.Condition(), 0
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"decoder-{number}", daemon=True)
            for number in range(1, num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self) -> None:
        """Runs the function in all threads. Its last barrier is its end."""
        self._start()
        self._run_share()

    def close(self) -> None:
        """Ends the threads. `attend` has to return at the next start."""
        self._is_closed = True
        self._start()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        start(self._counters.ctypes.data)
        if self.num_asleep:
            with self._wake:
                self._wake.notify_all()

    def _run(self, number: int) -> None:
        next_start = 1
        while not self._is_closed:
            next_start = self._attend(number, next_start)
            with self._wake:
                self.num_asleep += 1
                self._wake.wait_for(partial(self._has_started, next_start))
                self.num_asleep -= 1

    def _has_started(self, number: int) -> bool:
        return bool(self._counters[0] >= number)
