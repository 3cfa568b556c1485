"""Keeps the replicas running: starts them, starts again those that have ended, and renews them one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gptsmith.base.errors import UserError, one_line
from gptsmith.serve.log import LOGGER
from gptsmith.serve.replicas.exchange import LostError, RawRequest, answer_of
from gptsmith.serve.replicas.process import ReplicaProcess
from gptsmith.serve.replicas.routing import Replica
from gptsmith.serve.request import ServeRequest

LOOK_EVERY_S = 0.05
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between two tries to start what does not start, or ends at once."""
SHORT_LIFE_S = 10.0
ASK_EVERY_S, MAX_SILENCE_S = 10.0, 60.0
HEALTH = RawRequest("GET", b"/health", [(b"host", b"127.0.0.1")], b"")


class Keeper:
    """The replicas of a request.

    Attributes:
        replicas: one for each number from 1.
    """

    def __init__(self, request: ServeRequest) -> None:
        """Starts all of them, at the same time.

        Raises:
            UserError: one does not start.
        """
        self._request, self._processes = request, list[ReplicaProcess]()
        self._renewing = asyncio.Lock()
        try:
            for number in range(1, request.replicas + 1):
                self._start(number, speaks=number == 1 and not request.background)
            for process in self._processes:
                process.wait_until_ready()
        except BaseException:
            self.end_all()
            raise
        self.replicas = [Replica(process.number, process) for process in self._processes]
        self._locks = {replica.number: asyncio.Lock() for replica in self.replicas}

    def _start(self, number: int, *, speaks: bool = False) -> ReplicaProcess:
        process = ReplicaProcess(self._request, number, speaks=speaks)
        self._processes.append(process)
        return process

    def release_all(self) -> None:
        """Lets all end, and their requests with them."""
        for process in self._processes:
            process.release()

    def end_all(self) -> None:
        """Ends all; returns when they are gone."""
        self.release_all()
        for process in self._processes:
            process.end()
        self._processes.clear()

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Starts again what ends while the block runs; then all end."""
        tasks = [
            asyncio.create_task(work(replica)) for replica in self.replicas for work in (self._keep, end_if_silent)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(self.end_all)

    async def _keep(self, replica: Replica) -> None:
        pause_s, started = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            async with self._locks[replica.number]:
                if (code := replica.process.exit_code) is None:
                    continue
                await self._dispose(replica.process)
                has_lived = time.monotonic() - started > SHORT_LIFE_S
                pause_s = 0.0 if has_lived else min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
                LOGGER.warning("replica %d has ended with exit code %d and is started again", replica.number, code)
                await asyncio.sleep(pause_s)
                replica.num_restarts += 1
                try:
                    replica.process = self._start(replica.number)
                    await asyncio.to_thread(replica.process.wait_until_ready)
                except (UserError, OSError) as error:
                    LOGGER.error("replica %d: %s", replica.number, one_line(error))
                else:
                    LOGGER.info("replica %d is process %d now", replica.number, replica.process.pid)
                started = time.monotonic()

    async def renew(self) -> bool:
        """Replaces every process by a new one, one after the other, each when the new one is ready; says whether it
        could. What an old one has begun it may end."""
        async with self._renewing:
            for replica in self.replicas:
                async with self._locks[replica.number]:
                    new = None
                    try:
                        new = self._start(replica.number)
                        await asyncio.to_thread(new.wait_until_ready)
                    except (UserError, OSError) as error:
                        if new is not None:
                            await self._dispose(new)
                        LOGGER.error("replica %d stays as it is: %s", replica.number, one_line(error))
                        return False
                    old, replica.process = replica.process, new
                await self._retire(old)
                LOGGER.info("replica %d is process %d now", replica.number, new.pid)
            return True

    async def _retire(self, process: ReplicaProcess) -> None:
        """Ends a process when it has answered all, or when the time for that is over."""
        deadline = time.monotonic() + self._request.drain_s
        while process.num_active and process.exit_code is None and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
        await self._dispose(process)

    async def _dispose(self, process: ReplicaProcess) -> None:
        await asyncio.to_thread(process.end)
        if process in self._processes:  # not one that is disposed of again, for want of another in its place
            self._processes.remove(process)


async def end_if_silent(replica: Replica, *, every_s: float = ASK_EVERY_S, most_s: float = MAX_SILENCE_S) -> None:
    """Ends each process of a replica that lives but does not answer: its requests would wait for ever.

    Args:
        every_s: the pause before it is asked again whether it lives.
        most_s: the silence after which it is ended.
    """
    while True:
        await asyncio.sleep(every_s)
        process = replica.process
        if replica.is_up and not await _answers(process.port, most_s):
            LOGGER.error("replica %d has not answered for %g s and is ended", replica.number, most_s)
            await asyncio.to_thread(process.end)


async def _answers(port: int, timeout_s: float) -> bool:
    """Whether a process answers in time, or ends."""
    try:
        async with asyncio.timeout(timeout_s), answer_of(port, HEALTH):
            return True
    except TimeoutError:
        return False
    except LostError:
        return True
