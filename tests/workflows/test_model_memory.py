"""The memory that a model takes, said before it is loaded: as real runs take it, and where there is too little."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.convert import load as loading
from gptsmith.convert.huggingface import ModelFolder
from gptsmith.convert.open import open_model
from gptsmith.convert.serving_memory import ServingMemory
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.memory import PROCESS_BYTES, RUNTIME_BYTES, KeptBytes, kept_by_shape, recorded_kept, weight_bytes
from gptsmith.train import finetuning
from gptsmith.train.planning import memory as planned_memory
from gptsmith.train.planning.memory import MEMORY_SHARE
from gptsmith.train.planning.model_memory import ModelMemory
from tests.convert.folders import write_model

LARGE = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 1408}
MEASURED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_embd": 512, "n_layer": 12, "n_head": 8}),
    "llama": ("llama2", LARGE),
    "qwen3": ("qwen3", {**LARGE, "head_dim": 64}),
}
PROGRAM = """
import gc, json, sys
from pathlib import Path
import gptsmith
from gptsmith.base.memory import give_back_freed_memory

found = {}
for folder in sys.argv[1:]:
    gc.collect()
    give_back_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    gptsmith.chat(folder, max_tokens=8, seed=1, engine="torch").say("one")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    found[Path(folder).name] = 1024 * int(line.split()[1])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a peak begin anew")
@pytest.mark.story
def test_what_is_said_is_within_a_fifth_of_what_real_chats_take(tmp_path: Path) -> None:
    for name, (kind, config) in MEASURED.items():
        write_model(kind, tmp_path / name, **config)
    folders = [str(tmp_path / name) for name in MEASURED]
    run = subprocess.run([sys.executable, "-c", PROGRAM, *folders], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    for name, peak_bytes in json.loads(run.stdout).items():
        opened = open_model(tmp_path / name)
        memory = ModelMemory(name, opened.config, opened.stored_parameters, None)
        assert memory.serving["auto"].peak_bytes(8) == pytest.approx(peak_bytes, rel=0.2), name


SHAPE: dict[str, Any] = {
    "vocab_size": 64, "context_length": 64, "embed_dim": 32, "num_layers": 10, "num_heads": 4,
    "feedforward": {"kind": "gated", "hidden_dim": 48},
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "gpt2": {"feedforward": "mlp", "norm": "layernorm", "position": "learned", "attention": "full"},
    "grouped": {"attention": {"kind": "full", "num_kv_heads": 2}, "tie_embeddings": True},
    "alibi": {"attention": "full", "position": "alibi"},
    "window": {"attention": {"kind": "sliding_window", "window_size": 16}},
    "lora": {"linear": {"kind": "lora", "rank": 2}},
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_pass_keeps_is_known_without_memory_for_it(name: str, dtype: torch.dtype) -> None:
    config = GPTConfig.parse({**SHAPE, **VARIANTS[name]})
    model = GPT(config).train()
    model.compute_dtype = dtype
    with recorded_kept(model) as kept:
        output = model.hidden(torch.zeros(2, 48, dtype=torch.long))
    del output
    found = kept_by_shape(config, 2, 48, dtype)
    assert found.per_token * 96 == pytest.approx(kept.num_bytes(of_weights=False), rel=0.02)
    assert found.of_weights == pytest.approx(kept.num_bytes(of_weights=True), rel=0.02)


def test_of_a_model_that_looks_at_its_numbers_an_estimate_is_taken() -> None:
    config = GPTConfig.parse({**SHAPE, "feedforward": {"kind": "experts", "num_experts": 4}})
    model = GPT(config).train()
    with recorded_kept(model) as kept:
        output = model.hidden(torch.zeros(2, 48, dtype=torch.long))
    del output
    found = kept_by_shape(config, 2, 48, torch.float32)
    assert found == KeptBytes(found.per_token, 0)
    assert 0.5 < found.per_token * 96 / kept.num_bytes(of_weights=False) < 1.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    write_model("llama2", folder, hidden_size=256, intermediate_size=512, num_attention_heads=8)
    return folder


def test_weights_are_as_large_as_said(folder: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        loaded = gptsmith.load(folder, dtype=dtype)
        assert weight_bytes(loaded.config, getattr(torch, dtype)) == sum(p.nbytes for p in loaded.model.parameters())


def free(monkeypatch: pytest.MonkeyPatch, num_bytes: float) -> None:
    monkeypatch.setattr(loading, "free_bytes", lambda _: int(num_bytes))
    monkeypatch.setattr(finetuning, "free_memory_bytes", lambda: int(num_bytes))
    monkeypatch.setattr(ModelFolder, "model", lambda _: pytest.fail("weights were read"))


@pytest.mark.parametrize("verb", [("chat",), ("serve",), ("generate", "a")], ids=lambda verb: verb[0])
def test_too_little_memory_is_said_before_a_weight_is_read(
    call: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    needed = ServingMemory.of(open_model(folder).config, torch.float32).added_bytes(64)
    free(monkeypatch, needed - 1)
    found = call(verb[0], folder, *verb[1:])
    assert found.code == 2
    assert re.search(r"takes 110 MB of memory in float32, and 110 MB are free: give --dtype bfloat16", found.err)
    free(monkeypatch, RUNTIME_BYTES + 4e6)
    assert "quantize it where there is more memory (gptsmith compress" in call(verb[0], folder, *verb[1:]).err
    free(monkeypatch, RUNTIME_BYTES + 2e5)
    assert re.search(
        "are free: end other programs, or take a smaller model: 0 million", call(verb[0], folder, *verb[1:]).err
    )


def test_tuning_names_the_nearest_that_fits(
    call: Callable[..., Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_memory, "PROGRAM_BYTES", 0)  # not every processor computes in bfloat16
    examples = tmp_path / "examples.jsonl"
    examples.write_text('{"prompt": "a", "completion": "b"}\n' * 20, encoding="utf-8")
    for num_bytes, advice in ((380e6, "give --lora 8, with which it takes"), (100e6, "tune a smaller model than")):
        free(monkeypatch, num_bytes / 0.9)
        found = call("finetune", folder, examples, "--out", tmp_path / "tuned")
        assert re.search(
            rf"so takes \d+ MB of memory at the least, and {num_bytes / 1e6:.0f} MB can be had here: ", found.err
        )
        assert advice in found.err
        assert found.code == 2
    assert not (tmp_path / "tuned").exists()


def test_info_says_it_in_words_and_in_numbers(call: Callable[..., Any], folder: Path) -> None:
    figures = call("info", folder, "--json").object["memory"]
    assert figures["chat_bytes"]["bfloat16"] < figures["chat_bytes"]["float32"] == figures["chat_bytes"]["auto"]
    assert figures["tuning_bytes"]["lora"] < figures["tuning_bytes"]["all_weights"]
    text = call("info", folder).out
    assert all(remark in text for remark in figures["remarks"][:2])
    assert "KV cache" in text
    assert "--lora 8 with gradient checkpointing" in text


def test_the_nearest_that_fits_this_machine_is_named(folder: Path) -> None:
    def last_remark(num_bytes: float) -> str:
        return list(replace(memory, free=int(num_bytes)).remarks())[-1]

    memory = ModelMemory(str(folder), open_model(folder).config, {"float32": 1}, None)
    needed = {name: (size - PROCESS_BYTES) / MEMORY_SHARE for name, size in memory.tuning_bytes.items()}
    assert "too little to talk to it: " in last_remark(RUNTIME_BYTES)
    least = needed["lora_with_checkpointing"]
    assert "enough to talk to it, and too little to tune it so: the nearest is" in last_remark(0.99 * least)
    assert "to tune it with --lora 8 with gradient checkpointing" in last_remark(1.01 * least)
    assert "and to tune all of it" in last_remark(1.01 * needed["all_weights"])
