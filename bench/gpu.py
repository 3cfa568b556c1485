"""The program on a GPU: whether it computes as the CPU does, and how fast it trains and generates, beside Transformers.

    python bench/gpu.py [--device cuda] [--text FILE] [--small] [PART ...]

Parts, in this order, each alone if named:

    agreement   logits, gradients and greedy tokens of every kind of attention and position, on the GPU and on the CPU
    step        a training step of GPT-2 124M by micro-batch, tokens per second, MFU and memory; Transformers' beside it
    generation  tokens per second of GPT-2 124M with 1, 16 and 64 sequences; Transformers' `generate` beside it
    pretrain    a run of a minute on TEXT as anybody starts it: what the plan said and what came

A part that fails says so and the next one starts. Rates are medians, in pairs within one process; MFU refers to the
bfloat16 product of 8,192 cubed that this very GPU does in this very run.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import gptsmith
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers import OptimizerSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.optimizers.muon import MuonSettings
from gptsmith.train.step import backward, train_step

ATTENTION = ("full", "sliding_window", "additive", "residual_query")
POSITION = ("none", "sinusoidal", "learned", "rotary", "alibi")
GREEDY = SamplingSettings(temperature=0)
NUM_TOKENS = 128


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(device: torch.device, act: Callable[[], object], rounds: int, warm_up: int = 3) -> float:
    """The median time of `act`, after some that are not counted."""
    times = []
    for number in range(warm_up + rounds):
        synchronize(device)
        started = time.perf_counter()
        act()
        synchronize(device)
        if number >= warm_up:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


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


def agreement(device: torch.device, small: bool, text: Path | None) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    ids = torch.randint(97, (3, 65), generator=torch.Generator().manual_seed(0))
    for attention in ATTENTION:
        for position in POSITION:
            table = {
                "vocab_size": 97,
                "context_length": 160,
                "embed_dim": 64,
                "num_layers": 2,
                "num_heads": 4,
                "attention": {"kind": attention},
                "position": {"kind": position},
            }
            try:
                config = GPTConfig.parse(table)
                both, gradients, tokens = [], [], []
                for place in (torch.device("cpu"), device):
                    model = GPT(config, seed=1)
                    with torch.no_grad():  # the start has zeros that would hide a difference
                        generator = torch.Generator().manual_seed(2)
                        for parameter in model.parameters():
                            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
                    model = model.to(place)
                    batch = Batch(ids[:, :-1].contiguous().to(place), ids[:, 1:].contiguous().to(place))
                    both.append(model(batch.input_ids).detach().cpu().float())
                    backward(model, NextTokenSettings(), [batch])
                    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
                    gradients.append(torch.cat([gradient.to_dense().flatten().cpu() for gradient in found]))
                    tokens.append(greedy(model.eval(), 3, 64))
                difference = float((both[0] - both[1]).abs().max())
                apart = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
                same = sum(a == b for a, b in zip(*tokens, strict=True))
                print(
                    f"{attention:15} {position:10} logits {difference:.1e}  gradient {apart:.1e}  greedy texts {same}/3"
                )
            except Exception as error:
                print(f"{attention:15} {position:10} FAILED {type(error).__name__}: {str(error)[:200]}")


def peak_rate(device: torch.device, small: bool) -> float:
    """FLOPs per second of a large bfloat16 product."""
    size = 512 if small else 8192
    a, b = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds_of(device, lambda: a @ b, 20)


def step(device: torch.device, small: bool, text: Path | None) -> None:
    rate = peak_rate(device, small)
    length, rows_tried = (128, (1,)) if small else (1024, (8, 16, 32, 64))
    print(f"bfloat16 products: {rate / 1e12:.0f} TFLOP/s")
    config = preset("gpt2", context_length=length)
    flops = cost(config).training_flops_per_token

    def report(name: str, rows: int, act: Callable[[], object]) -> None:
        try:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = seconds_of(device, act, 1 if small else 8)
            tokens_per_second = rows * length / seconds
            memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
            print(
                f"{name:28} {rows:3} x {length}: {tokens_per_second:9,.0f} tokens/s   "
                f"MFU {tokens_per_second * flops / rate:.1%}   {memory:.1f} GB",
                flush=True,
            )
        except Exception as error:
            print(f"{name:28} {rows:3} x {length}: FAILED {type(error).__name__}: {str(error)[:160]}", flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def ours(optimizer: OptimizerSettings, rows: int, compiled: bool) -> Callable[[], object]:
        model = GPT(config).to(device)
        model.compute_dtype = torch.bfloat16
        mover = optimizer.build(model)
        ids = torch.randint(50257, (rows, length + 1), generator=torch.Generator().manual_seed(0)).to(device)
        batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        if compiled:
            for block in model.blocks:
                block.compile()
        return lambda: train_step(model, NextTokenSettings(), mover, [batch], 1.0)

    def theirs(rows: int) -> Callable[[], object]:
        from transformers import GPT2Config, GPT2LMHeadModel

        none = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        model = GPT2LMHeadModel(GPT2Config(**none)).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1, fused=True)
        ids = torch.randint(50257, (rows, length), generator=torch.Generator().manual_seed(0)).to(device)

        def act() -> None:
            with torch.autocast(device.type, torch.bfloat16):
                loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return act

    for rows in rows_tried:
        report("ours, AdamW", rows, ours(AdamWSettings(learning_rate=6e-4), rows, False))
        report("ours, Muon", rows, ours(MuonSettings(), rows, False))
        report("Transformers, AdamW", rows, theirs(rows))
    if not small:
        report("ours, AdamW, compiled", 32, ours(AdamWSettings(learning_rate=6e-4), 32, True))


def generation(device: torch.device, small: bool, text: Path | None) -> None:
    num_tokens = 8 if small else NUM_TOKENS
    for dtype in (torch.float32, torch.bfloat16):
        model = GPT(preset("gpt2"), seed=1).eval().to(device, dtype)
        for count in (1, 2) if small else (1, 16, 64):
            seconds = seconds_of(device, partial(greedy, model, count, num_tokens), 1 if small else 3, 1)
            print(f"ours, {dtype}, {count} sequences: {count * num_tokens / seconds:,.0f} tokens/s", flush=True)
    from transformers import GPT2Config, GPT2LMHeadModel

    for dtype in (torch.float32, torch.bfloat16):
        peer: Any = GPT2LMHeadModel(GPT2Config()).eval().to(device, dtype)
        for count in (1, 2) if small else (1, 16, 64):
            ids = torch.randint(50257, (count, 16), device=device)
            kept = {"max_new_tokens": num_tokens, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
            seconds = seconds_of(device, partial(peer.generate, ids, **kept), 1 if small else 3, 1)
            print(f"Transformers, {dtype}, {count} sequences: {count * num_tokens / seconds:,.0f} tokens/s", flush=True)


def pretrain(device: torch.device, small: bool, text: Path | None) -> None:
    if text is None:
        print("pretrain: no --text")
        return
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (0.5,) if small else (1.0,):
            run = Path(folder) / f"run-{minutes}"
            started = time.perf_counter()
            result = gptsmith.pretrain([text], out=run, minutes=minutes, device=device.type)
            took_s = time.perf_counter() - started
            print({key: value for key, value in result.items() if key != "run"})
            print(f"asked {60 * minutes:.0f} s, took {took_s:.1f} s")
            print((run / "plan.json").read_text(encoding="utf-8"))
            loaded = gptsmith.load(run)
            print(repr(loaded.generate("ROMEO:", max_tokens=40, seed=1)))


PARTS = {"agreement": agreement, "step": step, "generation": generation, "pretrain": pretrain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--small", action="store_true", help="sizes that a CPU can do, to try the script itself")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}")
    failed = []
    for part in arguments.parts or PARTS:
        print(f"\n== {part}", flush=True)
        started = time.perf_counter()
        try:
            PARTS[part](device, arguments.small, arguments.text)
        except Exception:
            traceback.print_exc(limit=-6)
            failed.append(part)
        print(f"({time.perf_counter() - started:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
