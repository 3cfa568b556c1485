"""Life under torchrun, which restarts processes and may itself be killed."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import sys
import time
from typing import Any

POLL_S = 0.02
PR_SET_PDEATHSIG = 1
"""Of Linux: the signal that this process gets when its parent ends."""


def end_with_torchrun() -> None:
    """Has the system end this process if torchrun is killed, which then cannot. It would train on, and hold the run."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def agreed_name(store: Any, rank: int, num_processes: int) -> str:
    """A name that these processes have, and none had before: torchrun keeps its store when it restarts processes, and
    they must not read the keys of those before them. All processes must call this.

    The number of restarts is no such name: of several hosts, only that where a process died counts it.
    """
    if rank:
        own = secrets.token_hex(8)
        store.set(f"asks.{rank}", own)
        name: str = store.get(f"name for {own}").decode()
        store.set(f"{name} is known to {rank}", "")
        return name
    name = f"group {store.add('groups', 1)}"
    for other in range(1, num_processes):
        while not store.check([f"{name} is known to {other}"]):
            if store.check([f"asks.{other}"]):  # or one that was there before it did
                store.set(f"name for {store.get(f'asks.{other}').decode()}", name)
            time.sleep(POLL_S)
    return name
