"""Plans for many GPUs, against arithmetic by hand, and against published runs in a table of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.errors import ConfigurationError
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.memory import PROCESS_BYTES, RUNTIME_BYTES
from gptsmith.model.presets import preset
from gptsmith.train.planning.cluster import COMPUTE_SHARE, GPUS, RESERVED_BYTES, plan_on_gpus

PAGE = Path(__file__).parents[2] / "docs" / "parallel.md"


def llama(layers: int, width: int, heads: int, kv_heads: int, hidden: int, vocabulary: int, context: int) -> GPTConfig:
    """The shape of a Llama."""
    return GPTConfig.parse(
        {
            "vocab_size": vocabulary, "context_length": context, "embed_dim": width, "num_layers": layers,
            "num_heads": heads, "attention": {"kind": "full", "num_kv_heads": kv_heads},
            "position": {"kind": "rotary"}, "feedforward": {"kind": "gated", "hidden_dim": hidden},
            "norm": {"kind": "rmsnorm"}, "tie_embeddings": False,
        },
        "a Llama",
    )  # fmt: skip


LLAMA_7B = (32, 4096, 32, 32, 11008, 32000)
PUBLISHED: dict[str, tuple[GPTConfig, str, int, float, int, float]] = {
    "LLaMA 7B": (llama(*LLAMA_7B, 2048), "a100", 2048, 1e12, 2048, 82_432),
    "LLaMA 13B": (llama(40, 5120, 40, 40, 13824, 32000, 2048), "a100", 2048, 1e12, 2048, 135_168),
    "LLaMA 65B": (llama(80, 8192, 64, 64, 22016, 32000, 2048), "a100", 2048, 1.4e12, 2048, 1_022_362),
    "Llama 2 7B": (llama(*LLAMA_7B, 4096), "a100", 1024, 2e12, 1024, 184_320),
    "Llama 2 13B": (llama(40, 5120, 40, 40, 13824, 32000, 4096), "a100", 1024, 2e12, 1024, 368_640),
    "Llama 3.1 8B": (llama(32, 4096, 32, 8, 14336, 128256, 8192), "h100", 2048, 15e12, 2048, 1_460_000),
    "OLMo 3 7B": (llama(32, 4096, 32, 32, 11008, 100278, 8192), "h100", 512, 5.93e12, 512, 234_000),
    "GPT-3 175B": (preset("gpt3-175b"), "a100", 1024, 300e9, 2048, 34 * 24 * 1024),
}
"""Shape, GPU, how many, tokens, sequences per step, and GPU hours: Touvron et al. 2023 (two papers), the model card of
Llama 3.1, the report of OLMo 3, and Narayanan et al. 2021, who trained GPT-3's shape by tensors and pipelines."""


def best(figures: dict[str, Any]) -> dict[str, Any]:
    return next(way for way in figures["ways"] if way["name"] == figures["best"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_documentation_compares_plans_with_published_runs(name: str) -> None:
    shape, gpu, count, tokens, batch_size, hours = PUBLISHED[name]
    figures = plan_on_gpus(shape, gpu=gpu, num_gpus=count, num_tokens=tokens, batch_size=batch_size)
    way = best(figures)
    row = (
        f"| {name} | {count:,} {gpu} | {tokens / 1e12:g}T | {hours:,.0f} | {way['gpu_hours']:,.0f} | "
        f"{way['name']} of {way['shard_size']:,} | {way['network_share']:.0%} | {way['gpu_hours'] / hours:.2f} |"
    )
    assert row in PAGE.read_text(encoding="utf-8"), row


def test_where_the_network_is_hidden_plans_are_near_published_runs() -> None:
    for name in ("LLaMA 7B", "LLaMA 13B", "Llama 2 7B", "Llama 2 13B"):
        shape, gpu, count, tokens, batch_size, hours = PUBLISHED[name]
        figures = plan_on_gpus(shape, gpu=gpu, num_gpus=count, num_tokens=tokens, batch_size=batch_size)
        assert best(figures)["gpu_hours"] == pytest.approx(hours, rel=0.2)


def test_gpt3_takes_the_operations_that_were_published() -> None:
    assert 300e9 * cost(preset("gpt3-175b")).training_flops_per_token == pytest.approx(3.14e23, rel=0.03)


def test_one_gpu_computes_without_waiting() -> None:
    shape = preset("gpt2")
    figures = plan_on_gpus(shape, gpu="a100", num_gpus=1, num_tokens=1e9, batch_size=8)
    (way,) = figures["ways"]
    flops = 8 * 1024 * cost(shape).training_flops_per_token
    assert way["seconds_per_step"] == pytest.approx(flops / (GPUS["a100"].flops_per_s * COMPUTE_SHARE))
    assert way["mfu"] == pytest.approx(COMPUTE_SHARE)
    assert way["memory_bytes_per_gpu"] > RESERVED_BYTES + 16 * cost(shape).num_parameters
    assert way["hours"] * 3600 == pytest.approx(figures["num_steps"] * way["seconds_per_step"])


def test_more_gpus_take_less_time_and_never_fewer_gpu_hours() -> None:
    plans = [
        best(plan_on_gpus(preset("gpt3-1.3b"), gpu="h100", num_gpus=n, num_tokens=1e10, batch_size=512))
        for n in (8, 64, 512)
    ]
    assert [way["hours"] for way in plans] == sorted((way["hours"] for way in plans), reverse=True)
    assert [way["gpu_hours"] for way in plans] == sorted(way["gpu_hours"] for way in plans)


def test_a_process_takes_the_memory_of_its_host_that_a_checkpoint_of_its_share_does() -> None:
    shape = preset("gpt3-6.7b")
    ways = {way["name"]: way for way in plan_on_gpus(shape, gpu="h100", num_gpus=64, batch_size=512)["ways"]}
    copied = 12 * cost(shape).num_parameters  # weights and two moments
    at_rest = PROCESS_BYTES + RUNTIME_BYTES
    for name, shards in (("ddp", 1), ("fsdp", 64), ("hsdp", ways["hsdp"]["shard_size"])):
        assert ways[name]["host_memory_bytes_per_gpu"] == pytest.approx(at_rest + copied / shards, rel=0.02)


def test_a_model_that_fits_nowhere_has_no_best_way() -> None:
    figures = plan_on_gpus(preset("gpt3-175b"), gpu="rtx4090", num_gpus=8, num_tokens=1e9)
    assert figures["best"] is None
    assert not any(way["fits"] for way in figures["ways"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"gpu": "h10"}, "no such GPU: h10 .*h100"),
        ({"batch_size": 100}, "64 GPUs cannot share a batch of 100 evenly: make it 64 or 128"),
        ({"preset": "smith"}, "a known shape: name one, such as --preset gpt3-13b"),
        ({"minutes": 5}, "plans on paper.* leave --minutes out"),
        ({"sources": ["text"]}, "plans on paper.* leave text out"),
    ],
)
def test_what_cannot_be_planned_is_said(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        gptsmith.plan(**{"preset": "gpt3-13b", "gpus": 64, **arguments})


def test_a_shape_of_our_default_is_planned_as_any_other() -> None:
    figures = gptsmith.plan(gpus=16, gpu="h100", tokens="2B", settings=["model.embed_dim=2048", "model.num_layers=16"])
    assert figures["best"] == "ddp"
    with pytest.raises(ConfigurationError, match="--tokens goes with --gpus"):
        gptsmith.plan("text", minutes=1, tokens="2B")
