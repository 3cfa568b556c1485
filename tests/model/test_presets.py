"""The published shapes, what they cost, and how they start."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gptsmith.base.errors import UserError
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.model.presets import PRESETS, preset

EXACT = {
    "gpt1": 116_534_784,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}
PUBLISHED = {
    "gpt3-125m": 125e6, "gpt3-350m": 350e6, "gpt3-760m": 760e6, "gpt3-1.3b": 1.3e9,
    "gpt3-2.7b": 2.7e9, "gpt3-6.7b": 6.7e9, "gpt3-13b": 13e9, "gpt3-175b": 175e9,
}  # fmt: skip

GPT_OSS = {"gpt-oss-20b": (20.91, 3.61), "gpt-oss-120b": (116.83, 5.13)}
"""Billions of parameters, and of those that are active (OpenAI 2025, table 1)."""


@pytest.mark.parametrize("name", EXACT)
def test_gpt1_and_gpt2_have_the_published_count(name: str) -> None:
    assert cost(preset(name)).num_parameters == EXACT[name]


@pytest.mark.parametrize("name", GPT_OSS)
def test_gpt_oss_has_the_published_counts(name: str) -> None:
    total, active = GPT_OSS[name]
    known = cost(preset(name))
    assert (round(known.num_parameters / 1e9, 2), round(known.num_active_parameters / 1e9, 2)) == (total, active)
    # Half of the layers see 128 tokens, the others all, in 64 heads of 64.
    shape = preset(name)
    seen = shape.num_layers // 2 * (128 + shape.context_length)
    assert known.decoding_flops_per_token == 2 * known.num_matrix_parameters + 4 * 64 * 64 * seen


@pytest.mark.parametrize("name", PUBLISHED)
def test_gpt3_is_within_three_percent(name: str) -> None:
    assert abs(cost(preset(name)).num_parameters / PUBLISHED[name] - 1) < 0.03
    assert preset(name).context_length == 2048
    assert preset(name).attention.kind == "sliding_window"


def test_every_preset_is_tested() -> None:
    assert {"smith"} | EXACT.keys() | PUBLISHED.keys() | GPT_OSS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_the_first_loss_is_that_of_guessing(name: str) -> None:
    small = {
        "num_layers": 2,
        "context_length": 32,
        "vocab_size": 1000,
        "embed_dim": 128,
        "num_heads": 2,
        "head_dim": 64,
    }
    if name in GPT_OSS:
        small |= {"attention": {"num_kv_heads": 1}, "feedforward": {"hidden_dim": 64}}
    model = GPT(preset(name, **small))
    ids = torch.randint(1000, (4, 33), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() / math.log(1000) - 1) < 0.05


def test_the_same_seed_gives_the_same_weights() -> None:
    small = preset("smith", num_layers=1)
    one, same, other = GPT(small, seed=1), GPT(small, seed=1), GPT(small, seed=2)
    assert torch.equal(one.embedding.weight, same.embedding.weight)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


def test_an_unknown_preset_is_refused_with_the_list() -> None:
    with pytest.raises(UserError, match=r"did you mean gpt2-xl\?.*gpt3-175b"):
        preset("gpt2-xxl")


@pytest.mark.parametrize("name", ["smith", "gpt2"])
def test_cost_counts_what_the_products_do(name: str) -> None:
    config = preset(name, num_layers=2, context_length=64, vocab_size=500, embed_dim=128, num_heads=2, head_dim=64)
    model = GPT(config)
    assert cost(config).num_parameters == sum(p.numel() for p in model.parameters())
    ids = torch.zeros(1, 64, dtype=torch.long)
    # The plain kernel, because the counter does not know the others of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids)
    products = 2 * cost(config).num_matrix_parameters * 64
    attention = 2 * 4 * 64 * 64 * 128  # two layers, scores and mix, all keys
    assert counter.get_total_flops() == products + attention
    assert cost(config).training_flops_per_token == 3 * (products + attention / 2) / 64

    cache = Cache(config, 1, 64)
    with torch.no_grad():
        model(ids[:, :63], cache=cache)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(ids[:, :1], cache=cache)
    assert counter.get_total_flops() == cost(config).decoding_flops_per_token
    assert 4 * (cache.keys[0].numel() + cache.values[0].numel()) * 2 == cost(config).cache_bytes_per_token * 64
    assert cost(config).weight_bytes == sum(p.numel() * p.element_size() for p in model.parameters())
