"""A training step of GPT-2 124M, ours against Transformers', in one run.

    python bench/gpt2_step.py [--rounds 8]

Both train from random weights on 2 x 512 random tokens with fused AdamW: forward, backward and update. Each contender
is a process of its own, so that neither uses the other's memory; they take turns, so that a machine that drifts drifts
for all of them, and the ratio of each round is what counts. Transformers runs in float32 and, where the processor has
such products, under bfloat16 autocast; ours in the dtype that it chooses for this machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from turns import take_turns, work

from gptsmith.base.memory import keep_freed_memory
from gptsmith.model.cost import cost
from gptsmith.model.device import choose_dtype, multiplies_bfloat16
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.step import train_step

ROWS, LENGTH, VOCAB_SIZE = 2, 512, 50257


def gptsmith() -> Callable[[], object]:
    """A step of our trunk."""
    keep_freed_memory()
    model = GPT(preset("gpt2"))
    model.compute_dtype = choose_dtype("auto", torch.device("cpu"))
    optimizer = AdamWSettings(learning_rate=6e-4).build(model)
    ids = torch.randint(VOCAB_SIZE, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    return lambda: train_step(model, NextTokenSettings(), optimizer, [batch], 1.0)


def transformers(bfloat16: bool) -> Callable[[], object]:
    """A step of Transformers' GPT-2, with PyTorch's fused AdamW."""
    from transformers import GPT2Config, GPT2LMHeadModel

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


def product() -> Callable[[], object]:
    """A matrix product of 2048 cubed, in the dtype that ours chooses."""
    dtype = choose_dtype("auto", torch.device("cpu"))
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return lambda: a @ b


CONTENDERS: dict[str, Callable[[], Callable[[], object]]] = {
    "gptsmith": gptsmith,
    "transformers float32": lambda: transformers(bfloat16=False),
    "transformers bfloat16": lambda: transformers(bfloat16=True),
    "product": product,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(CONTENDERS[arguments.work]())
        return
    names = [name for name in CONTENDERS if "bfloat16" not in name or multiplies_bfloat16(torch.device("cpu"))]
    seconds, peak_bytes = take_turns(__file__, [], names, arguments.rounds)
    product_rate = 2 * 2048**3 / statistics.median(seconds.pop("product"))
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times, seconds["gptsmith"], strict=True)]
        print(
            f"{name:22} {ROWS * LENGTH / statistics.median(times):7.0f} tokens/s   "
            f"{statistics.median(ratios):5.2f} x our time ({min(ratios):.2f} to {max(ratios):.2f})   "
            f"{peak_bytes[name] / 1e9:.2f} GB, {peak_bytes[name] / peak_bytes['gptsmith']:.2f} x ours"
        )
    flops = cost(preset("gpt2", context_length=LENGTH)).training_flops_per_token * ROWS * LENGTH
    rate = flops / statistics.median(seconds["gptsmith"])
    print(f"ours does {rate / 1e9:.0f} GFLOP/s: {rate / product_rate:.0%} of products' {product_rate / 1e9:.0f}")


if __name__ == "__main__":
    main()
