"""LoRA tuning of SmolLM2-135M, ours against Transformers and PEFT, in one run.

    python bench/lora.py MODEL_FOLDER [--rounds 6]

Both tune adapters of rank 8 on all linear layers of the blocks, on the same conversations of many lengths, of which the
answers count in the loss, with AdamW. Transformers pads them to the longest, as its collator does; ours packs them.
Tokens per second count the conversations' own tokens, without padding. Each contender is a process of its own, so that
neither uses the other's memory; they take turns, so that a machine that drifts drifts for all of them, and the ratio of
each round is what counts. Transformers runs in float32 and, where the processor has such products, under bfloat16
autocast; ours in the dtype that it chooses for this machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable

import torch
from turns import take_turns, work

RANK, VOCAB_SIZE, LEARNING_RATE = 8, 49_152, 2e-4
NUM_CONVERSATIONS, LENGTHS, ANSWER_SHARE = 12, (40, 200), 0.6


def conversations() -> list[tuple[list[int], int]]:
    """The token ids of conversations, and how many of them are the question's."""
    chance = random.Random(1)
    lengths = [chance.randint(*LENGTHS) for _ in range(NUM_CONVERSATIONS)]
    return [
        ([chance.randrange(1000, VOCAB_SIZE) for _ in range(length)], round(length * (1 - ANSWER_SHARE)))
        for length in lengths
    ]


def gptsmith(folder: str) -> Callable[[], object]:
    """A step of ours."""
    from gptsmith.base.memory import keep_freed_memory
    from gptsmith.convert.load import load
    from gptsmith.model.config import GPTConfig
    from gptsmith.model.device import choose_dtype
    from gptsmith.model.transform import initialize_from
    from gptsmith.text.chat_template import Encoded
    from gptsmith.train.objectives.sft import SftSettings
    from gptsmith.train.optimizers.adamw import AdamWSettings
    from gptsmith.train.samples import Sample, packed_batch
    from gptsmith.train.step import train_step

    keep_freed_memory()
    base = load(folder, device="cpu").model
    lora = {"kind": "lora", "rank": RANK, "alpha": 2.0 * RANK}
    model = initialize_from(base, GPTConfig.parse({**base.config.plain(), "linear": lora}), seed=1).train()
    del base
    model.compute_dtype = choose_dtype("auto", torch.device("cpu"))
    optimizer = AdamWSettings(learning_rate=LEARNING_RATE).build(model)
    samples = [
        Sample("", [Encoded(ids, [False] * asked + [True] * (len(ids) - asked))]) for ids, asked in conversations()
    ]
    batch = packed_batch([samples])
    return lambda: train_step(model, SftSettings(), optimizer, [batch], 1.0)


def peft(folder: str, *, bfloat16: bool) -> Callable[[], object]:
    """A step of Transformers' model with PEFT's adapters and PyTorch's fused AdamW."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), config).train()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.1, fused=True
    )
    rows = conversations()
    longest = max(len(ids) for ids, _ in rows)
    input_ids, labels = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), -100)
    mask = torch.zeros_like(input_ids)
    for row, (ids, asked) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        labels[row, asked : len(ids)] = torch.tensor(ids[asked:])
        mask[row, : len(ids)] = 1

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(input_ids=input_ids, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


CONTENDERS: dict[str, Callable[[str], Callable[[], object]]] = {
    "gptsmith": gptsmith,
    "peft float32": lambda folder: peft(folder, bfloat16=False),
    "peft bfloat16": lambda folder: peft(folder, bfloat16=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="SmolLM2-135M as a Hugging Face folder")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(CONTENDERS[arguments.work](arguments.folder))
        return
    from gptsmith.model.device import multiplies_bfloat16

    names = [name for name in CONTENDERS if "bfloat16" not in name or multiplies_bfloat16(torch.device("cpu"))]
    seconds, peak_bytes = take_turns(__file__, [arguments.folder], names, arguments.rounds)
    num_tokens = sum(len(ids) for ids, _ in conversations())
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times, seconds["gptsmith"], strict=True)]
        print(
            f"{name:14} {num_tokens / statistics.median(times):6.0f} tokens/s   "
            f"{statistics.median(ratios):5.2f} x our time ({min(ratios):.2f} to {max(ratios):.2f})   "
            f"{peak_bytes[name] / 1e9:.2f} GB (ours: {peak_bytes['gptsmith'] / peak_bytes[name]:.2f} of it)"
        )


if __name__ == "__main__":
    main()
