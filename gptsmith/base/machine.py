"""What this machine, or the share of it that a container may use, has."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def num_cpus(cgroup: Path = CGROUP) -> int:
    """Processors that this process may use: of the host's, those it may run on, and no more than its container's share.

    A share of 1.5 processors counts as 2: one thread would leave half of one idle.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _container_share(cgroup))))


def _container_share(cgroup: Path) -> float:
    for quota_file, period_file in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (cgroup / quota_file).read_text(encoding="utf-8").split()
            period = words[1] if period_file is None else (cgroup / period_file).read_text(encoding="utf-8")
            if words[0] not in ("max", "-1"):
                return int(words[0]) / int(period)
        except (OSError, ValueError, IndexError):
            continue
    return math.inf


def processor_name() -> str:
    """What the processor calls itself, with its number of threads: the same for the same hardware."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "flags", "Features")):
                name += " " + line.partition(":")[2].strip()
            if not line:
                break
    except OSError:
        pass
    return f"{name} x {num_cpus()}"


def peak_memory_bytes() -> int | None:
    """The most memory that this process has had so far; nothing where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_bytes() -> int | None:
    """The memory that this process has now; the most it has had where the system tells only that."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return peak_memory_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_memory_bytes(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """The memory that programs can still get without others being swapped out, and no more than this container's share;
    nothing where the system does not tell."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = meminfo.read_text(encoding="utf-8").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for limit, used, statistics in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        with suppress(OSError, ValueError):  # "max" is no number
            left = int((cgroup / limit).read_text(encoding="utf-8")) - int((cgroup / used).read_text(encoding="utf-8"))
            found.append(max(0, left + _reclaimable_bytes(cgroup / statistics)))
    return min(found, default=None)


def _reclaimable_bytes(statistics: Path) -> int:
    """The pages of files that a container counts as used and gives up first, such as those of a model that was just
    fetched."""
    with suppress(OSError, ValueError, IndexError):
        lines = statistics.read_text(encoding="utf-8").splitlines()
        found = [int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "total_inactive_file "))]
        return max(found)
    return 0


def process_seconds() -> float:
    """How long this process has been running, its start-up included."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        uptime_seconds = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return uptime_seconds - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.process_time()
