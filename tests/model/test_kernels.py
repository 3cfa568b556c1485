"""Attention, norm and rotation with gradients written out, against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gptsmith.model.kernels import additive, attention, norm, rotary


def leaves(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    for mine, golden in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(theirs, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(mine, golden, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("length", [2, 7, 16, 37])
@pytest.mark.parametrize("keep", [True, False])
def test_causal_attention_is_pytorchs(
    num_heads: int, num_kv_heads: int, length: int, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "QUERY_BLOCK", 16)
    monkeypatch.setattr(attention, "MAX_KEPT_PATTERN", 1 << 24 if keep else 0)
    inputs = leaves((2, length, num_heads, 8), (2, num_kv_heads, length, 8), (2, num_kv_heads, length, 8))
    queries, keys, values = inputs[0].transpose(1, 2), inputs[1], inputs[2]
    ours = attention.causal_attention(queries, keys, values)
    theirs = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    assert_same(ours, theirs, inputs)


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(4, 4), (4, 2)])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("cap", [None, 0.7])
def test_causal_attention_with_sinks_and_a_cap_is_the_plain_one(
    num_heads: int, num_kv_heads: int, keep: bool, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "QUERY_BLOCK", 16)
    monkeypatch.setattr(attention, "MAX_KEPT_PATTERN", 1 << 24 if keep else 0)
    inputs = leaves((2, num_heads, 37, 8), (2, num_kv_heads, 37, 8), (2, num_kv_heads, 37, 8), (num_heads,))
    later = torch.full((37, 37), float("-inf"), dtype=torch.float64).triu(1)
    plain = attention.plain_attention(*inputs[:3], later, inputs[3], cap)
    assert_same(attention.causal_attention(*inputs, cap), plain, inputs)
    plain = attention.plain_attention(*inputs[:3], later, None, cap)
    assert_same(attention.causal_attention(*inputs[:3], None, cap), plain, inputs[:3])


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(4, 4), (4, 2)])
@pytest.mark.parametrize("num_queries", [1, 12, 80])
def test_masked_attention_is_the_formula(num_heads: int, num_kv_heads: int, num_queries: int) -> None:
    num_keys = 100
    cache = torch.randn(2, 3, num_kv_heads, 128, 8, generator=torch.Generator().manual_seed(0))
    keys, values = cache[:, 1:2, :, :num_keys]  # a part of a larger cache
    queries = torch.randn(1, num_heads, num_queries, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)[None, None]
    found = attention.masked_attention(queries, keys, values, mask)
    groups = num_heads // num_kv_heads
    shared_keys, shared_values = (shared.repeat_interleave(groups, dim=1) for shared in (keys, values))
    scores = (queries @ shared_keys.mT / 8**0.5).masked_fill(~mask, float("-inf"))
    torch.testing.assert_close(found, scores.softmax(dim=-1) @ shared_values, rtol=1e-5, atol=1e-5)
    sinks = torch.linspace(-1, 2, num_heads)
    with_sinks = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(1, -1, num_queries, 1)], dim=-1)
    torch.testing.assert_close(
        attention.masked_attention(queries, keys, values, mask, sinks),
        with_sinks.softmax(dim=-1)[..., :-1] @ shared_values,
        rtol=1e-5,
        atol=1e-5,
    )
    capped = (0.7 * torch.tanh(queries @ shared_keys.mT / 8**0.5 / 0.7)).masked_fill(~mask, float("-inf"))
    torch.testing.assert_close(
        attention.masked_attention(queries, keys, values, mask, cap=0.7),
        capped.softmax(dim=-1) @ shared_values,
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_large_pattern_is_computed_again_with_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = leaves((1, 2, 40, 8), (1, 2, 40, 8), (1, 2, 40, 8))
    computed = []
    plain = attention._pattern
    monkeypatch.setattr(attention, "_pattern", lambda *of: computed.append(of) or plain(*of))
    for limit in (1 << 24, 0):
        monkeypatch.setattr(attention, "MAX_KEPT_PATTERN", limit)
        attention.causal_attention(*inputs).sum().backward()
    assert len(computed) == 3


def test_rms_norm_is_pytorchs() -> None:
    x, weight = inputs = leaves((3, 5, 16), (16,))
    assert_same(norm.rms_norm(x, weight, 1e-3), functional.rms_norm(x, (16,), weight, 1e-3), inputs)
    with torch.no_grad():
        torch.testing.assert_close(norm.rms_norm(x, weight, 1e-3), functional.rms_norm(x, (16,), weight, 1e-3))


def test_a_turn_is_a_rotation_of_pairs_and_its_gradient_the_turn_back() -> None:
    (x,) = inputs = leaves((2, 3, 5, 8))
    angles = torch.linspace(0, 3, 20, dtype=torch.float64).view(5, 4)
    cos, sin = torch.cat([angles.cos()] * 2, dim=-1), torch.cat([-angles.sin(), angles.sin()], dim=-1)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    assert_same(rotary.apply_rotary(x, cos, sin), torch.cat([pairs.real, pairs.imag], dim=-1), inputs)


def test_bfloat16_stays_near_float32() -> None:
    queries, keys, values = (x.detach().bfloat16() for x in leaves((2, 4, 300, 64), (2, 2, 300, 64), (2, 2, 300, 64)))
    ours = attention.causal_attention(queries, keys, values).float()
    theirs = functional.scaled_dot_product_attention(
        queries.float(), keys.float(), values.float(), is_causal=True, enable_gqa=True
    )
    assert (ours - theirs).abs().max() < 0.02


def plain_additive(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, score: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    hidden = torch.tanh(queries[:, :, None] + keys[:, None])  # (N, T, S, D)
    return ((hidden * score[:, None, None]).sum(dim=3) + bias).softmax(dim=2) @ values


@pytest.mark.parametrize("size", [1.0, 25.0])
@pytest.mark.parametrize("block", [1, 300, 1 << 20])
@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (1, 9), (13, 13), (5, 11)])
@pytest.mark.parametrize("is_causal", [True, False])
def test_additive_attention_by_blocks_is_the_plain_one(
    size: float, block: int, num_queries: int, num_keys: int, is_causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(additive, "CPU_BLOCK", block)
    inputs = leaves((3, num_queries, 4), (3, num_keys, 4), (3, num_keys, 5), (3, 4))
    queries, keys, values, score = inputs
    hidden = torch.ones(num_queries, num_keys).triu(num_keys - num_queries + 1).bool()
    bias = torch.zeros(3, num_queries, num_keys, dtype=torch.float64).masked_fill(hidden, float("-inf"))
    if not is_causal:
        bias = bias + torch.arange(num_keys) / 7
    ours = additive.additive_attention(size * queries, size * keys, values, score, None if is_causal else bias)
    assert_same(ours, plain_additive(size * queries, size * keys, values, score, bias), inputs)


def test_additive_attention_of_huge_queries_is_finite() -> None:
    queries, keys = torch.full((1, 2, 2), 300.0), torch.full((1, 2, 2), -300.0)
    values, score = torch.tensor([[[1.0], [3.0]]]), torch.ones(1, 2)
    attended = additive.additive_attention(queries, keys, values, score, None)
    torch.testing.assert_close(attended, torch.tensor([[[1.0], [2.0]]]))
    half = additive.additive_attention(queries.bfloat16(), keys.bfloat16(), values.bfloat16(), score, None)
    assert half.dtype == torch.bfloat16
