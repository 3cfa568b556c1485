"""A training step of GPT-2 124M, ours against Transformers', in one run.

    python bench/gpt2_step.py [--rounds 5]

Both train from random weights on 2 x 512 random tokens with AdamW: forward, backward and update. The contenders take
turns, so that a machine that drifts drifts for all of them, and the ratio of each round is what counts. Transformers
runs in float32 and, where the processor has such products, under bfloat16 autocast (`--bfloat16` runs it in any case:
emulated, a step takes minutes); ours in the dtype that it chooses for this machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gptsmith.model.device import choose_dtype, multiplies_bfloat16
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.train.objectives import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.step import train_step

ROWS, LENGTH, VOCAB_SIZE = 2, 512, 50257


def ours() -> Callable[[], object]:
    """A step of our trunk."""
    model = GPT(preset("gpt2"))
    model.compute_dtype = choose_dtype("auto", torch.device("cpu"))
    optimizer = AdamWSettings(learning_rate=6e-4).build(model)
    ids = torch.randint(VOCAB_SIZE, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    return lambda: train_step(model, NextTokenSettings(), optimizer, [batch], 1.0)


def transformers(bfloat16: bool) -> Callable[[], object]:
    """A step of Transformers' GPT-2, with PyTorch's fused AdamW."""
    model = GPT2LMHeadModel(GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1, fused=True)
    ids = torch.randint(VOCAB_SIZE, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bfloat16", action="store_true", help="run Transformers in emulated bfloat16 too")
    arguments = parser.parse_args()
    contenders = {"gptsmith": ours(), "transformers float32": transformers(bfloat16=False)}
    if arguments.bfloat16 or multiplies_bfloat16(torch.device("cpu")):
        contenders["transformers bfloat16"] = transformers(bfloat16=True)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(arguments.rounds + 1):
        for name, step in contenders.items():
            started = time.perf_counter()
            step()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times, seconds["gptsmith"], strict=True)]
        print(
            f"{name:22} {ROWS * LENGTH / statistics.median(times):7.0f} tokens/s   "
            f"{statistics.median(ratios):5.2f} x our time ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
