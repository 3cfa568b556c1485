"""Publishers of checkpoints, to be killed: one for each line that comes in.

python publishing.py RUN says the process number of each, the steps that it has made durable, and "killed" when it
is gone. They are forks of one process, which has imported everything. No torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gptsmith.run.checkpoint import Retention, list_checkpoints
from gptsmith.run.writer import CheckpointWriter, only_writer


def fill(folder: Path) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        (folder / name).write_bytes(os.urandom(50_000))
    (folder / "train_state.json").write_text("{}", encoding="utf-8")


def publish(checkpoints: Path) -> None:
    """Publishes as fast as it can and says each step once it is durable, until it is killed."""
    with only_writer(checkpoints.parent), CheckpointWriter(checkpoints, Retention(keep=2), print) as writer:
        step = max((checkpoint.step for checkpoint in list_checkpoints(checkpoints)), default=0)
        while True:
            again = step % 3 == 0 and step > 0  # a step that is written anew must not be lost in between
            step += not again
            writer.save(step, 100_000, fill, None)
            writer.wait()
            os.write(sys.stdout.fileno(), f"{step}\n".encode())  # whole, or not at all
            if again:
                step += 1


checkpoints = Path(sys.argv[1]) / "checkpoints"
checkpoints.mkdir(exist_ok=True)
assert "torch" not in sys.modules
for _ in sys.stdin:
    if (pid := os.fork()) == 0:
        print(os.getpid(), flush=True)
        publish(checkpoints)
    os.waitpid(pid, 0)
    print("killed", flush=True)
