"""Time from the start of the process to a validation loss of 1.88 nats a character on tiny Shakespeare.

    python bench/shakespeare.py [--text FILE] [--until-loss 1.88]

Nothing is cached: the data is prepared anew. nanoGPT's CPU quick start reaches 1.88 at the end of its run, with its
loss estimated on random windows; here it is the whole validation split. The machine's own matrix-product rate,
measured in the same run, says what a second is worth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "tinyshakespeare.txt"


def product_rate() -> float:
    """Multiply-and-add FLOPs a second of a float32 product of 2048 cubed, the best of five."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, default=SHARED)
    parser.add_argument("--until-loss", default="1.88")
    arguments = parser.parse_args()
    if not arguments.text.exists():
        sys.exit(f"{arguments.text} is not there: name a text by --text")
    rate = product_rate()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gptsmith", "pretrain", str(arguments.text), "--tokenizer", "characters"]
        command += ["--until-loss", arguments.until_loss, "--out", f"{folder}/run", "--json"]
        environment = {**os.environ, "GPTSMITH_CACHE": f"{folder}/cache"}
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
    figures = json.loads(done.stdout)
    print(f"matrix products        {rate / 1e9:8.0f} GFLOP/s (float32, 2048 cubed)")
    print(f"validation loss        {figures['validation_loss']:8.4f} nats a character, {figures['status']}")
    training_s = figures["num_tokens"] / figures["tokens_per_second"]
    print(f"process, start to end  {seconds:8.1f} s, of which {training_s:.1f} s of steps and evaluations")
    print(f"tokens                 {figures['num_tokens']:8,} in {figures['step']} steps")


if __name__ == "__main__":
    main()
