"""Publishes checkpoints as fast as it can and says each step once it is durable, until it is killed. No torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gptsmith.run.checkpoint import Retention, list_checkpoints
from gptsmith.run.writer import CheckpointWriter, only_writer

checkpoints = Path(sys.argv[1]) / "checkpoints"


def fill(folder: Path) -> None:
    for name in ("model.safetensors", "optimizer.safetensors"):
        (folder / name).write_bytes(os.urandom(50_000))
    (folder / "train_state.json").write_text("{}", encoding="utf-8")


checkpoints.mkdir(exist_ok=True)
with only_writer(checkpoints.parent), CheckpointWriter(checkpoints, Retention(keep=2), print) as writer:
    assert "torch" not in sys.modules
    step = max((checkpoint.step for checkpoint in list_checkpoints(checkpoints)), default=0)
    while True:
        again = step % 3 == 0 and step > 0  # a step that is written anew must not be lost in between
        step += not again
        writer.save(step, 100_000, fill, None)
        writer.wait()
        print(step, flush=True)
        if again:
            step += 1
