"""What uploading costs training: the time of a step while checkpoints are uploaded and while they are not, by turns.

    OMP_NUM_THREADS=1 python bench/stored.py [PAIRS]

One run is trained at a URL of moto's S3 server, a process of its own on this machine. Every 20 steps it saves a
checkpoint; those of every other block are uploaded. Printed: the ratio of the mean times of a step with uploading and
without, for each pair of blocks, their median, and how much was uploaded in which time.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import gptsmith
from gptsmith.run.checkpoint import Checkpoint
from gptsmith.run.mirror import Mirror
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

BLOCK_STEPS = 20
SERVER = """
import sys, urllib.request
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
endpoint = "http://%s:%d" % server.get_host_and_port()
urllib.request.urlopen(urllib.request.Request(endpoint + "/bench", method="PUT"))
print(endpoint, flush=True)
sys.stdin.read()
"""


class Turns(Callback):
    """Uploads in every other block, and keeps the times of the steps of each."""

    def __init__(self, num_blocks: int) -> None:
        self.times: list[list[float]] = [[] for _ in range(num_blocks)]
        self.uploads = False
        self.seconds, self.num_bytes = 0.0, 0
        upload, upload_checkpoint = Mirror.upload, Mirror._upload_checkpoint

        def by_turns(mirror: Mirror) -> None:
            if self.uploads:
                upload(mirror)

        def counted(mirror: Mirror, checkpoint: Checkpoint) -> None:
            started = time.monotonic()
            upload_checkpoint(mirror, checkpoint)
            self.seconds += time.monotonic() - started
            self.num_bytes += sum(path.stat().st_size for path in checkpoint.folder.iterdir())

        self.patches = (patch.object(Mirror, "upload", by_turns), patch.object(Mirror, "_upload_checkpoint", counted))

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        with self.patches[0], self.patches[1]:
            yield

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        block, place = divmod(trainer.state.step - 1, BLOCK_STEPS)
        if place:  # in the first step of a block the last checkpoint may still be written
            self.times[block].append(seconds)
        if place == BLOCK_STEPS - 1:
            self.uploads = block % 2 == 0


def main() -> None:
    num_pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    num_blocks = 2 * num_pairs + 1  # in the first one everything is new
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        try:
            os.environ |= {
                "AWS_ENDPOINT_URL": server.stdout.readline().strip(),
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "GPTSMITH_CACHE": f"{folder}/cache",
            }
            chance = random.Random(0)
            words = ["".join(chance.choices("abcdefghij", k=5)) for _ in range(500)]
            text = Path(folder) / "text.txt"
            text.write_text("\n\n".join(" ".join(chance.choices(words, k=200)) for _ in range(500)), encoding="utf-8")
            turns = Turns(num_blocks)
            settings = ["train.batch_size=16", "model.context_length=128", "tokenizer.vocab_size=1000"]
            settings += [f"train.num_steps={num_blocks * BLOCK_STEPS}", f"checkpoint.every_steps={BLOCK_STEPS}"]
            settings += ["train.evaluate_every_steps=100000", "train.dtype=float32"]
            gptsmith.pretrain([text], out="s3://bench/run", params="4M", settings=settings, callbacks=[turns])
        finally:
            server.terminate()
            server.wait()
    means = [statistics.mean(times) for times in turns.times[1:]]
    ratios = [on / off for on, off in zip(means[::2], means[1::2], strict=True)]
    print("ratios", *(f"{ratio:.3f}" for ratio in ratios))
    print(f"median {statistics.median(ratios):.3f} at {statistics.mean(means[1::2]) * 1000:.0f} ms per step")
    print(f"{turns.num_bytes / 1e6:.0f} MB of checkpoints uploaded in {turns.seconds:.1f} s")


if __name__ == "__main__":
    main()
