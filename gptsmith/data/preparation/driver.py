"""The process that has datatrove run the steps of a preparation: `python -m gptsmith.data.preparation.driver`.

It is apart from the one that a person started, so that its workers can be ended whatever happens to them; it ends when
that one does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from gptsmith.base.own_ray import OPTIONS, require_secret
from gptsmith.data.preparation.executors import run_step
from gptsmith.data.preparation.steps import STEPS


def main(working: str, executor: str, num_workers: int) -> int:
    """Run all steps; gives the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if executor == "ray":
        _join_cluster()
    for step in STEPS:
        if not run_step(step(working), executor, num_workers):
            return 1
    return 0


def _end_with_parent() -> None:
    """Ends this process and its workers when the one that started it is gone, and its end of the pipe with it."""
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGKILL)


def _join_cluster() -> None:
    """Connects to the cluster of RAY_ADDRESS, or to one that is started here and ends with this process."""
    address = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address:
        require_secret()
    import ray

    package = str(Path(__file__).resolve().parents[3])
    ray.init(
        address=address or "local",
        **({} if address else OPTIONS),
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": package}},
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
