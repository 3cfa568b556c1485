"""The program on a GPU in under six minutes: whether it computes as the CPU does, and how fast it trains and writes.

    python bench/gpu.py [--device cuda] [--small] [PART ...]

Parts, in this order, each alone if named:

    agreement  logits, gradients and greedy tokens of every kind of attention and position, on the GPU and on the CPU
    step       a training step of GPT-2 124M: AdamW, Muon, compiled blocks, and Transformers' beside them
    lora       LoRA of a model of a billion parameters in bfloat16 (Llama 3.2 1B's shape), random weights
    decode     GPT-2 124M writing 1, 16 and 64 texts; Transformers' `generate` beside it

At the end one table. A part that fails says so and the next one starts; none starts after the time that is left for it.
Rates are medians after a warm-up. MFU refers to the bfloat16 product that this very GPU does in this very run, decoding
to the rate at which it reads memory: a token of one text needs all weights once.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.compiling import missing_for_compiling
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT, empty_model
from gptsmith.model.presets import preset
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers import OptimizerSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.optimizers.muon import MuonSettings
from gptsmith.train.step import backward, train_step

LIMIT_S = 340.0
"""After it no part begins."""
ATTENTION = ("full", "sliding_window", "additive", "residual_query")
POSITION = ("none", "sinusoidal", "learned", "rotary", "alibi")
GREEDY = SamplingSettings(temperature=0)
TINY: dict[str, Any] = {"vocab_size": 97, "context_length": 32, "embed_dim": 16, "num_layers": 1, "num_heads": 2}
LLAMA_1B: dict[str, Any] = {
    "vocab_size": 128_256, "context_length": 1024, "embed_dim": 2048, "num_layers": 16, "num_heads": 32,
    "attention": {"kind": "full", "num_kv_heads": 8}, "position": {"kind": "rotary"}, "norm": {"kind": "rmsnorm"},
    "feedforward": {"kind": "gated", "hidden_dim": 8192}, "tie_embeddings": True,
}  # fmt: skip


@dataclass
class Bench:
    """What is measured where, and the rows of the table so far.

    Attributes:
        small: whether sizes are such that a CPU does all parts in a second, to try the script itself.
    """

    device: torch.device
    small: bool
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def say(self, *cells: str) -> None:
        """Adds a row to the table, and shows it."""
        self.rows.append(cells)
        print("   ".join(cells), flush=True)

    def seconds_of(self, act: Callable[[], object], rounds: int = 8, warm_up: int = 3) -> float:
        """The median time of `act`, after some that are not counted."""
        rounds, warm_up = (1, 0) if self.small else (rounds, warm_up)
        times = []
        for number in range(warm_up + rounds):
            self.wait()
            started = time.perf_counter()
            act()
            self.wait()
            if number >= warm_up:
                times.append(time.perf_counter() - started)
        return statistics.median(times)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def product_rate(self) -> float:
        """FLOPs per second of a large bfloat16 product."""
        size = 64 if self.small else 8192
        a, b = (torch.randn(size, size, device=self.device).to(torch.bfloat16) for _ in range(2))
        return 2 * size**3 / self.seconds_of(lambda: a @ b, 20)

    def read_rate(self) -> float:
        """Bytes per second that are read from memory, in a sum of two gigabytes."""
        numbers = torch.ones((1 << 10) if self.small else (1 << 29), device=self.device)
        return numbers.nbytes / self.seconds_of(numbers.sum, 20)

    def memory(self) -> str:
        """The most memory since the last call, and forgets what is no longer needed."""
        gc.collect()
        if self.device.type != "cuda":
            return ""
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return f"{peak / 1e9:.1f} GB"

    def try_step(self, name: str, flops: float, num_tokens: int, make: Callable[[], Callable[[], object]]) -> None:
        """Times training steps, and adds their row; one that fails adds why."""
        rate = self.product_rate()
        try:
            seconds = self.seconds_of(make())
            share = f"{num_tokens * flops / seconds / rate:.1%} MFU"
            self.say(name, f"{num_tokens / seconds:,.0f} tokens/s", share, self.memory())
        except Exception as error:
            self.say(name, "FAILED", type(error).__name__, str(error)[:120])
            self.memory()


def greedy(model: GPT, num_sequences: int, num_tokens: int, prompt: int = 16) -> list[list[int]]:
    """The likeliest tokens after random prompts, all decoded together."""
    engine = Engine(model, settings=EngineSettings(max_num_seqs=num_sequences, num_speculative_tokens=0))
    written: list[list[int]] = [[] for _ in range(num_sequences)]
    for number, ids in enumerate(written):
        generator = torch.Generator().manual_seed(number)
        prompt_ids = torch.randint(model.config.vocab_size, (prompt,), generator=generator).tolist()
        request = Request(prompt_ids, num_tokens, GREEDY, ignore_end=True)
        engine.submit(request, lambda chunk, ids=ids: ids.extend(token.id for token in chunk.tokens))
    while engine.has_work:
        engine.step()
    engine.close()
    return written


def random_batch(vocab_size: int, rows: int, length: int, device: torch.device) -> Batch:
    ids = torch.randint(vocab_size, (rows, length + 1), generator=torch.Generator().manual_seed(0)).to(device)
    return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())


def agreement(bench: Bench) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    kinds = [(attention, position) for attention in ATTENTION for position in POSITION]
    for attention, position in kinds[:1] if bench.small else kinds:
        table = {**TINY, "attention": {"kind": attention}, "position": {"kind": position}}
        config = GPTConfig.parse({**table, "context_length": 160, "embed_dim": 64, "num_layers": 2, "num_heads": 4})
        name = f"agreement: {attention}, {position}"
        try:
            num_tokens = 4 if bench.small else 64
            found = [_computed(config, place, num_tokens) for place in (torch.device("cpu"), bench.device)]
        except Exception as error:
            bench.say(name, "FAILED", type(error).__name__, str(error)[:120])
            continue
        (logits, gradient, texts), (other_logits, other_gradient, other_texts) = found
        apart = float((gradient - other_gradient).norm() / gradient.norm())
        same = sum(a == b for a, b in zip(texts, other_texts, strict=True))
        difference = float((logits - other_logits).abs().max())
        bench.say(name, f"logits {difference:.1e}", f"gradient {apart:.1e}", f"texts {same}/{len(texts)}")


def _computed(
    config: GPTConfig, place: torch.device, num_tokens: int
) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Logits, gradient and greedy texts of a model, computed in a place."""
    model = GPT(config, seed=1)
    with torch.no_grad():  # the start has zeros that would hide a difference
        generator = torch.Generator().manual_seed(2)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model = model.to(place)
    batch = random_batch(config.vocab_size, 3, 64, place)
    logits = model(batch.input_ids).detach().cpu().float()
    backward(model, NextTokenSettings(), [batch])
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    gradient = torch.cat([each.to_dense().flatten().cpu() for each in found])
    return logits, gradient, greedy(model.eval(), 3, num_tokens)


def our_step(
    config: GPTConfig, optimizer: OptimizerSettings, rows: int, device: torch.device, *, compiles: bool = False
) -> Callable[[], object]:
    model = GPT(config).to(device)
    model.compute_dtype = torch.bfloat16
    model.use_compiled_blocks(compiles)
    mover = optimizer.build(model)
    batch = random_batch(config.vocab_size, rows, config.context_length, device)
    return lambda: train_step(model, NextTokenSettings(), mover, [batch], 1.0)


def their_step(rows: int, length: int, device: torch.device) -> Callable[[], object]:
    from transformers import GPT2Config, GPT2LMHeadModel

    none = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**none)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1, fused=True)
    ids = random_batch(50257, rows, length, device).input_ids

    def act() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return act


def step(bench: Bench) -> None:
    config = GPTConfig.parse(TINY) if bench.small else preset("gpt2", context_length=1024)
    rows, flops = (1 if bench.small else 32), cost(config).training_flops_per_token
    num_tokens = rows * config.context_length
    contenders: dict[str, Callable[[], Callable[[], object]]] = {
        "AdamW": partial(our_step, config, AdamWSettings(learning_rate=6e-4), rows, bench.device),
        "Muon": partial(our_step, config, MuonSettings(), rows, bench.device),
    }
    if not bench.small and missing_for_compiling(bench.device) is None:
        adamw = AdamWSettings(learning_rate=6e-4)
        contenders["AdamW, compiled"] = partial(our_step, config, adamw, rows, bench.device, compiles=True)
    if not bench.small:
        contenders["Transformers, AdamW"] = partial(their_step, rows, config.context_length, bench.device)
    for name, make in contenders.items():
        bench.try_step(f"step 124M, {rows} x {config.context_length}: {name}", flops, num_tokens, make)


def lora(bench: Bench) -> None:
    table = {**(TINY if bench.small else LLAMA_1B), "linear": {"kind": "lora", "rank": 8}}
    config, rows = GPTConfig.parse(table), 8

    def make() -> Callable[[], object]:
        with torch.no_grad():
            model = empty_model(config, bench.device).to(torch.bfloat16)
            for parameter in model.parameters():
                parameter.normal_(std=0.02)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        model.compute_dtype = torch.bfloat16
        mover = AdamWSettings(learning_rate=1e-4).build(model)
        batch = random_batch(config.vocab_size, rows, config.context_length, bench.device)
        return lambda: train_step(model, NextTokenSettings(), mover, [batch], 1.0)

    flops, num_tokens = cost(config).training_flops_per_token, rows * config.context_length
    bench.try_step(f"LoRA of 1B, {rows} x {config.context_length}", flops, num_tokens, make)


def decode(bench: Bench) -> None:
    num_tokens, counts = (4, (1, 2)) if bench.small else (128, (1, 16, 64))
    config = GPTConfig.parse(TINY) if bench.small else preset("gpt2")
    read_rate = bench.read_rate()
    for dtype in (torch.float32, torch.bfloat16):
        model = GPT(config, seed=1).eval().to(bench.device, dtype)
        weights = sum(parameter.nbytes for parameter in model.blocks.parameters()) + model.head_weight.nbytes
        for count in counts:
            seconds = bench.seconds_of(partial(greedy, model, count, num_tokens), 3, 1)
            share = f"{weights * num_tokens / seconds / read_rate:.0%} of memory's rate"
            rate = f"{count * num_tokens / seconds:,.0f} tokens/s"
            bench.say(f"decode 124M, {count} texts, {str(dtype)[6:]}", rate, share, bench.memory())
    if bench.small:
        return
    from transformers import GPT2Config, GPT2LMHeadModel

    peer: Any = GPT2LMHeadModel(GPT2Config()).eval().to(bench.device, torch.bfloat16)
    kept = {"max_new_tokens": num_tokens, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    for count in counts:
        ids = torch.randint(50257, (count, 16), device=bench.device)
        seconds = bench.seconds_of(partial(peer.generate, ids, **kept), 3, 1)
        rate = f"{count * num_tokens / seconds:,.0f} tokens/s"
        bench.say(f"decode 124M, {count} texts, Transformers, bfloat16", rate, "", bench.memory())


PARTS: dict[str, Callable[[Bench], None]] = {"agreement": agreement, "step": step, "lora": lora, "decode": decode}


def main(words: Sequence[str] | None = None) -> list[tuple[str, ...]]:
    """Runs the parts that are named, and gives the rows of the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU can do, to try the script itself")
    arguments = parser.parse_args(words)
    bench = Bench(torch.device(arguments.device), arguments.small)
    name = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
    print(f"{name}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}")
    started = time.perf_counter()
    bench.say("products", f"{bench.product_rate() / 1e12:.1f} TFLOP/s in bfloat16", "", "")
    bench.say("memory", f"{bench.read_rate() / 1e9:,.0f} GB/s", "", bench.memory())
    for part in arguments.parts or PARTS:
        if time.perf_counter() - started > LIMIT_S:
            bench.say(part, "FAILED", f"not begun after {LIMIT_S:.0f} s", "")
            continue
        try:
            PARTS[part](bench)
        except Exception:
            traceback.print_exc(limit=-6)
            bench.say(part, "FAILED", "see above", bench.memory())
    print(f"\n{name}: {time.perf_counter() - started:.0f} s in all\n")
    for cells in (("what", "rate", "share", "memory"), ("---",) * 4, *bench.rows):
        print(f"| {' | '.join(cells)} |")
    return bench.rows


if __name__ == "__main__":
    if any("FAILED" in row for row in main()):
        sys.exit(1)
