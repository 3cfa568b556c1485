"""Tiny Shakespeare, character by character, against the clock; from the start of the process to its end.

    python bench/shakespeare.py [--text FILE] [--target-loss 1.88] [--minutes 2.0833]

Two runs: one until the validation loss is 1.88 nats a character, one for the lowest loss in 125 seconds. Nothing is
cached: the text is prepared and the machine measured anew. nanoGPT's CPU quick start takes 125 s and ends at 1.88, with
its loss estimated on random windows; here it is the whole validation split. The machine's own matrix-product rate,
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

from gptsmith.model.device import multiplies_bfloat16

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "tinyshakespeare.txt"


def product_rate(dtype: torch.dtype) -> float:
    """Multiply-and-add FLOPs a second of a product of 2048 cubed, the best of five."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best


def race(title: str, text: Path, *arguments: str) -> None:
    """Trains in a process of its own with nothing cached, and prints what came."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gptsmith", "pretrain", str(text), "--tokenizer", "characters"]
        command += ["--out", f"{folder}/run", "--json", *arguments]
        environment = {**os.environ, "GPTSMITH_CACHE": f"{folder}/cache"}
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
    figures = json.loads(done.stdout)
    print(f"\n{title}: {figures['validation_loss']:.4f} nats a character, {figures['bits_per_byte']:.4f} bits per byte")
    print(f"  {seconds:.1f} s from start to end; {figures['num_parameters'] / 1e6:.2f}M parameters")
    print(
        f"  {figures['num_tokens']:,} tokens in {figures['step']:,} steps, {figures['tokens_per_second']:,.0f} a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, default=SHARED)
    parser.add_argument("--target-loss", default="1.88")
    parser.add_argument("--minutes", default=str(125 / 60))
    arguments = parser.parse_args()
    if not arguments.text.exists():
        sys.exit(f"{arguments.text} is not there: name a text by --text")
    dtypes = [torch.float32, torch.bfloat16][: 1 + multiplies_bfloat16(torch.device("cpu"))]
    rates = [f"{str(dtype)[6:]} {product_rate(dtype) / 1e9:.0f} GFLOP/s" for dtype in dtypes]
    print(f"matrix products of 2048 cubed: {', '.join(rates)}")
    race(f"until {arguments.target_loss}", arguments.text, "--target-loss", arguments.target_loss)
    race(f"{float(arguments.minutes) * 60:.0f} seconds", arguments.text, "--minutes", arguments.minutes)


if __name__ == "__main__":
    main()
