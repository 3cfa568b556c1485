"""The lowest bits per byte on a text in some minutes: the plan's choice, and a plain GPT-2 with AdamW, in one tool.

    python bench/news.py [--text FILE_OR_FOLDER] [--minutes 5]

Both get the same text, split, vocabulary and time, from the start of the process to its end. The plain one has GPT-2's
block at the size that the plan chooses for our own model, and AdamW.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "news"


def run(*arguments: str, cache: str) -> dict:
    """The figures of a command."""
    command = [sys.executable, "-m", "gptsmith", *arguments, "--json"]
    environment = {**os.environ, "GPTSMITH_CACHE": cache}
    figures: dict = json.loads(
        subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, default=SHARED)
    parser.add_argument("--minutes", default="5")
    arguments = parser.parse_args()
    if not arguments.text.exists():
        sys.exit(f"{arguments.text} is not there: name a text by --text")
    text, minutes = str(arguments.text), ["--minutes", arguments.minutes]
    with tempfile.TemporaryDirectory() as folder:
        planned = run("plan", text, *minutes, cache=f"{folder}/cache")
        width = planned["embed_dim"]
        plain = [
            f"model.embed_dim={width}",
            f"model.num_layers={planned['num_layers']}",
            f"model.num_heads={width // 64}",
            f"model.context_length={planned['context_length']}",
            "train.optimizer.kind=adamw",
            "train.optimizer.learning_rate=2e-3",
        ]
        settings = [part for setting in plain for part in ("--set", setting)]
        contenders = {
            "gptsmith's plan": minutes,
            "GPT-2's block, AdamW": [*minutes, "--preset", "gpt2", *settings],
        }
        for name, choice in contenders.items():
            figures = run("pretrain", text, *choice, "--out", f"{folder}/{len(name)}", cache=f"{folder}/cache")
            print(
                f"{name:22} {figures['bits_per_byte']:.4f} bits per byte   {figures['num_parameters'] / 1e6:.2f}M "
                f"parameters, {figures['num_tokens'] / 1e6:.2f}M tokens, {figures['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
