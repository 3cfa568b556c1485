"""One engine for all texts of a model, and another one once the model has changed."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from gptsmith.generate.api import Completion, generate_batch, generate_batch_with
from gptsmith.generate.engine import Engine
from gptsmith.generate.kept_engine import KeptEngine
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.tokenizers import KINDS

TOKENIZER = KINDS.validate("bytes").train(list, 0)
PROMPTS = [TOKENIZER.encode(text) for text in ("the smith", "nails of iron")]
HOT = SamplingSettings(temperature=1.5)


def a_model() -> GPT:
    table = {"vocab_size": TOKENIZER.vocab_size, "context_length": 64, "init": "gpt2"}
    model = GPT(preset("smith", **table, embed_dim=32, num_layers=2, num_heads=2, head_dim=16), seed=5)
    with torch.no_grad():
        model.head.weight.mul_(20)
    return model.eval()


def texts(engine: Engine) -> list[Completion]:
    return generate_batch_with(engine, PROMPTS, max_tokens=12, sampling=HOT, seeds=[1, 2])


def fresh(model: GPT) -> list[Completion]:
    return generate_batch(model, TOKENIZER, PROMPTS, max_tokens=12, sampling=HOT, seeds=[1, 2])


def test_an_unchanged_model_keeps_its_engine_and_no_text_depends_on_those_before_it() -> None:
    model, kept = a_model(), KeptEngine(TOKENIZER)
    first = texts(kept.of(model))
    engine = kept.of(model)
    assert texts(engine) == first == fresh(model)
    assert kept.of(model) is engine
    assert engine.figures().num_cached_tokens == 0
    assert engine.figures().kv_cache_bytes == 0


@torch.no_grad()
def step(model: GPT) -> None:
    model.blocks[1].feedforward.input.weight.add_(0.3)


@torch.no_grad()
def in_inference_mode(model: GPT) -> None:
    with torch.inference_mode():
        model.head.weight.mul_(-1)


def move(model: GPT) -> None:
    model.head.weight.data = model.head.weight.data.flip(0)


def replace(model: GPT) -> None:
    model.head.weight = nn.Parameter(model.head.weight.flip(0))


def hook(model: GPT) -> None:
    model.blocks[0].register_forward_hook(lambda module, inputs, output: -output)


def compute_in_float64(model: GPT) -> None:
    model.compute_dtype = torch.float64


@pytest.mark.parametrize("change", [step, in_inference_mode, move, replace, hook, compute_in_float64])
def test_a_changed_model_gets_another_engine(change: Callable[[GPT], None]) -> None:
    model, kept = a_model(), KeptEngine(TOKENIZER)
    before = kept.of(model)
    first = texts(before)
    change(model)
    after = kept.of(model)
    assert after is not before
    assert texts(after) == fresh(model)
    if change is not compute_in_float64:
        assert texts(after) != first


def test_a_forked_process_gets_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept = a_model(), KeptEngine(TOKENIZER)
    before = kept.of(model)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert kept.of(model) is not before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_in_the_middle_of_another_threads_use_leaves_no_lock_behind() -> None:
    model, kept = a_model(), KeptEngine(TOKENIZER)
    with kept._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks beside threads
        process = os.fork()
        if process == 0:
            signal.alarm(20)
            os._exit(0 if kept._lock.acquire(timeout=0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert kept.of(model)


def test_several_threads_share_it() -> None:
    model, kept = a_model(), KeptEngine(TOKENIZER)
    expected = fresh(model)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: texts(kept.of(model)), range(8)))
    assert [[each.ids for each in one] for one in found] == [[each.ids for each in expected]] * 8


def test_a_text_that_was_left_is_ended_and_forgotten() -> None:
    model, kept = a_model(), KeptEngine(TOKENIZER)
    engine = kept.of(model)

    def leave(_: int) -> None:
        raise KeyboardInterrupt

    prompts = [PROMPTS[0], [65] * 60]  # the second fills its context soon
    with pytest.raises(KeyboardInterrupt):
        generate_batch_with(engine, prompts, max_tokens=40, sampling=HOT, seeds=[1, 2], observe=leave)
    assert engine.has_work
    assert kept.of(model) is engine
    assert not engine.has_work
    assert texts(engine) == fresh(model)
    assert engine.figures().num_cached_tokens == 0
