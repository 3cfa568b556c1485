"""Every kind equals its equation, written out for one vector at a time. A kind without one fails by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.base.kinds import Kinds
from gptsmith.model import attention, feedforward, linear, norm, position
from gptsmith.model.layout import Layout
from gptsmith.model.position import Positions
from gptsmith.model.position.alibi import alibi_slopes
from tests.model.contracts import build, close

Vectors = tuple[Tensor, Tensor, Tensor]
"""A head's query (D), and the keys (S, D) and values (S, D) up to its own."""


def full(half: Any, head: int, vectors: Vectors) -> Tensor:
    q, k, v = vectors
    return (k @ q / len(q) ** 0.5).softmax(0) @ v


def with_sink(half: Any, head: int, vectors: Vectors) -> Tensor:
    q, k, v = vectors
    return torch.cat([k @ q / len(q) ** 0.5, half.sinks[head, None]]).softmax(0)[:-1] @ v


def sliding_window(half: Any, head: int, vectors: Vectors) -> Tensor:
    q, k, v = vectors
    return full(half, head, (q, k[-5:], v[-5:]))


def additive(half: Any, head: int, vectors: Vectors) -> Tensor:
    q, k, v = vectors
    return torch.stack([half.score[head] @ torch.tanh(q + key) for key in k]).softmax(0) @ v


def residual_query(half: Any, head: int, vectors: Vectors) -> Tensor:
    return full(half, head, vectors) + vectors[0]


ATTENTION: dict[str, Callable[[Any, int, Vectors], Tensor]] = {
    "full": full, "sliding_window": sliding_window, "additive": additive, "residual_query": residual_query,
}  # fmt: skip
"""What one query of one head finds."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "gelu_tanh": lambda x: x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: x.clamp(min=0),
    "relu2": lambda x: x.clamp(min=0) ** 2,
    "swiglu": lambda x: x * torch.sigmoid(x),
    "geglu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "geglu_tanh": lambda x: x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
}


def gated(half: Any, name: str, x: Tensor) -> Tensor:
    gate, inner = half.gate(x), half.input(x)
    if name == "swiglu_oai":
        gate, inner = gate.clamp(max=7), inner.clamp(-7, 7)
        return half.output((inner + 1) * gate * torch.sigmoid(1.702 * gate))
    return half.output(ACTIVATIONS[name](gate) * inner)


def mlp(half: Any, name: str, x: Tensor) -> Tensor:
    return half.output(ACTIVATIONS[name](half.input(x)))


def experts(half: Any, name: str, x: Tensor) -> Tensor:
    """Token by token, and expert by expert."""

    def output(token: Tensor) -> Tensor:
        probabilities = half.router(token).softmax(0)
        best = probabilities.argsort(descending=True)[:2].tolist()
        whole = torch.stack([probabilities[e] for e in best]).sum() if half.renormalizes else 1.0
        computed = gated if hasattr(half.experts[0], "gate") else mlp
        return torch.stack([probabilities[e] / whole * computed(half.experts[e], name, token) for e in best]).sum(0)

    return torch.stack([torch.stack([output(token) for token in row]) for row in x])


GATES, PLAIN = ("swiglu", "geglu", "geglu_tanh", "swiglu_oai"), ("gelu", "gelu_tanh", "relu", "relu2")
FEEDFORWARD: dict[str, tuple[tuple[str, ...], Callable[[Any, str, Tensor], Tensor]]] = {
    "mlp": (PLAIN, mlp), "experts": ((*GATES, *PLAIN), experts), "gated": (GATES, gated),
}  # fmt: skip
"""The activations of a kind, and what it makes of x."""

NORM: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "layernorm": lambda half, x: (
        (x - x.mean()) / ((x - x.mean()).square().mean() + 1e-5) ** 0.5 * half.weight + half.bias
    ),
    "rmsnorm": lambda half, x: x / (x.square().mean() + 1e-6) ** 0.5 * half.weight,
}


def q8_0(layer: Any, x: Tensor) -> Tensor:
    """A row is blocks of 34 bytes: a scale, float16, and 32 integers."""
    blocks = layer.weight.view(len(layer.weight), -1, 34)
    scale, integers = blocks[..., :2].contiguous().view(torch.float16), blocks[..., 2:].contiguous().view(torch.int8)
    return x @ (scale.double() * integers).flatten(1).T + layer.bias


LINEAR: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "dense": lambda layer, x: x @ layer.weight.T + layer.bias,
    "grouped": q8_0,
    "int8": lambda layer, x: x @ (layer.weight * layer.scale[:, None]).T + layer.bias,
    "lora": lambda layer, x: x @ layer.base.weight.T + layer.base.bias + 16 / 8 * (x @ layer.lora_a.T) @ layer.lora_b.T,
}


def rotated(x: Tensor, at: int, base: float = 100_000.0) -> Tensor:
    """A vector (D) whose pairs (i, i + D / 2) are turned by at / base^(2 i / D)."""
    half = len(x) // 2
    pairs = torch.complex(x[:half], x[half:])
    angles = at / base ** (torch.arange(half, dtype=torch.float64) / half)
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag])


def sinusoidal(kind: Any, x: Tensor, at: int) -> Tensor:
    waves = [math.sin if dim % 2 == 0 else math.cos for dim in range(len(x))]
    angles = [at / 10_000 ** (dim // 2 * 2 / len(x)) for dim in range(len(x))]
    return x + torch.tensor([wave(angle) for wave, angle in zip(waves, angles, strict=True)], dtype=x.dtype)


def unchanged(kind: Any, x: Tensor, at: int) -> Tensor:
    return x


def no_bias(head: int, distance: int) -> float:
    return 0.0


Moments = tuple[Callable[[Any, Tensor, int], Tensor], Callable[[Any, Tensor, int], Tensor], Callable[[int, int], float]]
POSITION: dict[str, Moments] = {
    "none": (unchanged, unchanged, no_bias),
    "learned": (lambda kind, x, at: x + kind.embedding.weight[at], unchanged, no_bias),
    "sinusoidal": (sinusoidal, unchanged, no_bias),
    "rotary": (unchanged, lambda kind, x, at: rotated(x, at), no_bias),
    "local_rotary": (unchanged, lambda kind, x, at: rotated(x, at, base=1e6), no_bias),  # no layer is local
    "alibi": (unchanged, unchanged, lambda head, distance: -alibi_slopes(4)[head] * distance),
}
"""What a kind adds to the embedding (C) of a token, makes of its query or key (D), and adds to a head's score."""


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kinds", "equations"),
    [
        (attention.KINDS, ATTENTION), (feedforward.KINDS, FEEDFORWARD), (norm.KINDS, NORM), (linear.KINDS, LINEAR),
        (position.KINDS, POSITION),
    ],
    ids=lambda value: value.noun if isinstance(value, Kinds) else "",
)  # fmt: skip
def test_every_kind_has_an_equation(kinds: Kinds, equations: dict[str, Any]) -> None:
    assert [name for name in kinds.names() if name not in equations] == [], "write its equation in this file"


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_equals_its_equation(kind: str) -> None:
    table: dict = {"kind": kind}
    if kind == "sliding_window":
        table["window_size"] = 5
    model = build(attention=table, position={"kind": "none"})
    half = model.blocks[1].attention
    x = drawn(1, 12, 32)
    q, k, v = (layer(x)[0].view(12, 4, 8).transpose(0, 1) for layer in (half.query, half.key, half.value))
    found = [[ATTENTION[kind](half, h, (q[h, t], k[h, : t + 1], v[h, : t + 1])) for h in range(4)] for t in range(12)]
    expected = half.output(torch.stack([torch.cat(heads) for heads in found]))
    close(half(x, Positions.of(model.position, Layout.causal(12, x.device)), None)[0], expected)


@pytest.mark.parametrize("with_mask", [False, True])
def test_attention_with_capped_scores_equals_its_equation(with_mask: bool) -> None:
    table = {"kind": "full", "num_kv_heads": 2, "score_cap": 0.8, "scale": 0.5}
    model = build(attention=table, position={"kind": "none"})
    half = model.blocks[1].attention
    x = drawn(1, 12, 32)
    q = half.query(x)[0].view(12, 4, 8).transpose(0, 1)
    k, v = (layer(x)[0].view(12, 2, 8).transpose(0, 1).repeat_interleave(2, dim=0) for layer in (half.key, half.value))
    scores = [[0.8 * torch.tanh(k[h, : t + 1] @ q[h, t] * 0.5 / 0.8) for h in range(4)] for t in range(12)]
    found = [[scores[t][h].softmax(0) @ v[h, : t + 1] for h in range(4)] for t in range(12)]
    expected = half.output(torch.stack([torch.cat(heads) for heads in found]))
    layout = Layout.causal(12, x.device, attention_mask=torch.ones(1, 12) if with_mask else None)
    close(half(x, Positions.of(model.position, layout), None)[0], expected)
    with torch.no_grad():
        close(half(x, Positions.of(model.position, layout), None)[0], expected)


def test_capped_logits_equal_their_equation() -> None:
    plain, capped, ids = build(), build(logits_cap=0.5), torch.arange(12)[None]
    close(capped(ids), 0.5 * torch.tanh(plain(ids) / 0.5))
    assert capped(ids).abs().max() < 0.5 < plain(ids).abs().max()


@pytest.mark.parametrize("with_mask", [False, True])
def test_attention_with_sinks_equals_its_equation(with_mask: bool) -> None:
    model = build(attention={"kind": "full", "num_kv_heads": 2, "sinks": True}, position={"kind": "none"})
    half = model.blocks[1].attention
    x = drawn(1, 12, 32)
    q = half.query(x)[0].view(12, 4, 8).transpose(0, 1)
    k, v = (layer(x)[0].view(12, 2, 8).transpose(0, 1).repeat_interleave(2, dim=0) for layer in (half.key, half.value))
    found = [[with_sink(half, h, (q[h, t], k[h, : t + 1], v[h, : t + 1])) for h in range(4)] for t in range(12)]
    expected = half.output(torch.stack([torch.cat(heads) for heads in found]))
    mask = torch.ones(1, 12) if with_mask else None
    layout = Layout.causal(12, x.device, attention_mask=mask)
    close(half(x, Positions.of(model.position, layout), None)[0], expected)
    with torch.no_grad():
        close(half(x, Positions.of(model.position, layout), None)[0], expected)


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize(
    ("kind", "activation"), [(kind, name) for kind in FEEDFORWARD for name in FEEDFORWARD[kind][0]]
)
def test_feedforward_equals_its_equation_and_learns(placement: str, kind: str, activation: str) -> None:
    model = build(feedforward={"kind": kind, "activation": activation, "bias": True}, norm_placement=placement)
    half, x = model.blocks[0].feedforward, torch.linspace(-9, 9, 32 * 3, dtype=torch.float64).view(1, 3, 32)
    close(half(x), FEEDFORWARD[kind][1](half, activation, x), atol=1e-12)
    model(torch.arange(16)[None]).mean().backward()
    assert all(parameter.grad is not None for parameter in half.parameters())


@pytest.mark.parametrize("kind", NORM)
def test_norm_equals_its_equation(kind: str) -> None:
    half, x = build(norm_kind=kind).blocks[0].attention_norm, drawn(5, 32)
    close(half(x), torch.stack([NORM[kind](half, row) for row in x]), atol=1e-12)


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_equals_its_equation(kind: str) -> None:
    model = build(linear={"kind": kind}, attention={"kind": "full", "bias": True})
    layer, x = model.blocks[0].attention.query, drawn(5, 32)
    close(layer(x), LINEAR[kind](layer, x), atol=1e-12)


@pytest.mark.parametrize("kind", POSITION)
def test_position_equals_its_equation(kind: str) -> None:
    """From the second block's input to its output, with all three moments."""
    embed, rotate, bias = POSITION[kind]
    model = build(position_kind=kind, attention={"kind": "full"})
    ids = torch.arange(10)
    embeddings, half = model.embedding.weight[ids], model.blocks[0].attention
    close(model.position.embed(embeddings[None], ids)[0],
          torch.stack([embed(model.position, x, at) for at, x in enumerate(embeddings)]), atol=1e-12)  # fmt: skip
    x = drawn(1, 10, 32)
    heads = [layer(x)[0].view(10, 4, 8) for layer in (half.query, half.key, half.value)]
    found = torch.zeros(10, 4, 8, dtype=torch.float64)
    for h in range(4):
        q, k = ([rotate(model.position, y, at) for at, y in enumerate(part[:, h])] for part in heads[:2])
        for t in range(10):
            scores = torch.stack([q[t] @ k[s] / 8**0.5 + bias(h, t - s) for s in range(t + 1)])
            found[t, h] = functional.softmax(scores, dim=0) @ heads[2][: t + 1, h]
    positions = Positions.of(model.position, Layout.causal(10, x.device))
    # Angles are computed in float32, as other programs do.
    close(half(x, positions, None)[0], half.output(found.view(10, 32)), atol=1e-5 if "rotary" in kind else 1e-7)
