"""Contenders that take turns: each is a process of its own, so that neither uses the other's memory, and does one step
when it is asked, so that a machine that drifts drifts for all of them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence

WARM_UP_ROUNDS = 3


def work(step: Callable[[], object]) -> None:
    """A contender's process: one step, timed, for each line that it reads."""
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)


def take_turns(
    script: str, arguments: Sequence[str], names: Iterable[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """The seconds of each contender's steps, round by round, and its peak memory. Each is `script ARGUMENTS --work
    NAME`; the first rounds are not counted."""
    workers = {
        name: subprocess.Popen(
            [sys.executable, script, *arguments, "--work", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    peak_bytes = dict.fromkeys(workers, 0)
    for round_number in range(WARM_UP_ROUNDS + rounds):
        for name, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            answer = json.loads(worker.stdout.readline())
            peak_bytes[name] = answer["peak_bytes"]
            if round_number >= WARM_UP_ROUNDS:
                seconds[name].append(answer["seconds"])
    for worker in workers.values():
        worker.communicate()
    return seconds, peak_bytes
