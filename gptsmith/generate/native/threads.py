"""Threads that stay in compiled code: atomic counters, barriers, and waiting that ends in sleep."""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
SPINS, YIELDS = 2000, 4000
"""How often a thread looks again at once, and how often after it has let others run, before it sleeps."""
STARTED, ARRIVED = 0, 8
"""The counters' offsets in bytes: steps that were started, and arrivals of threads at barriers."""


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
        if platform.machine().lower() in ("x86_64", "amd64"):
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def let_others_run(typing: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), name), [])
        return context.get_dummy_value()

    return types.void(), code


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def start(counters: int) -> None:
    count(counters + STARTED)


@numba.njit(nogil=True, cache=True)
def barrier(counters: int, number: int, num_threads: int) -> None:
    """Waits until all threads have come to barrier `number`, counted from 1 since they were made."""
    if num_threads > 1:
        count(counters + ARRIVED)
        reaches(counters + ARRIVED, number * num_threads, -1)


class Threads:
    """Threads that run one function together: the caller's own, and others that wait for it in between.

    Args:
        num_threads: how many, the caller's included.
        work: called with a thread's number, 0 to num_threads - 1; it gives back the interpreter's lock by itself.
    """

    def __init__(self, num_threads: int, work: Callable[[int], None]) -> None:
        self._work, self._is_closed = work, False
        self.counters = numpy.zeros(16, dtype=numpy.int64)
        self.address, self._num_started = self.counters.ctypes.data, 0
        self._wake = threading.Condition()
        self._num_asleep = 0
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"decoder-{number}", daemon=True)
            for number in range(1, num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self) -> None:
        """Runs the function in all threads. The function's last barrier is its end."""
        start(self.address)
        self._num_started += 1
        if self._num_asleep:
            with self._wake:
                self._wake.notify_all()
        self._work(0)

    def close(self) -> None:
        """Ends the threads."""
        self._is_closed = True
        start(self.address)
        with self._wake:
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        num_started = 0
        while True:
            num_started += 1
            if not reaches(self.address + STARTED, num_started, YIELDS):
                with self._wake:
                    self._num_asleep += 1
                    self._wake.wait_for(lambda: self.counters[0] >= num_started)
                    self._num_asleep -= 1
            if self._is_closed:
                return
            self._work(number)
