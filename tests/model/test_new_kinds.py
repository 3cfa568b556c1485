"""A kind is one file: nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from gptsmith.model import attention, position
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from tests.dropped_kind import dropped_kind
from tests.model.contracts import ATTENTION_CHECKS, CONTEXT, build

NEW = Path(__file__).parent / "new_kinds"


@pytest.fixture(params=["latent", "output_gate"])
def new_attention(request: pytest.FixtureRequest) -> Iterator[str]:
    with dropped_kind(attention.__name__, NEW / "attention" / f"{request.param}.py"):
        yield request.param


@pytest.mark.parametrize("position_kind", position.KINDS.names())
@pytest.mark.parametrize("check", ATTENTION_CHECKS)
def test_a_new_attention_keeps_the_contract(
    new_attention: str, position_kind: str, check: Callable[[GPT], None]
) -> None:
    check(build(position_kind=position_kind, attention={"kind": new_attention}))


def test_the_shape_of_the_cache_is_the_attentions_own() -> None:
    with dropped_kind(attention.__name__, NEW / "attention" / "latent.py"):
        config = build(attention={"kind": "latent", "latent_dim": 6}).config
        cache = Cache(config, 2, CONTEXT)
        assert cache.keys[0].shape == (2, 1, CONTEXT, 6)
        assert cache.values[0].shape == (2, 1, CONTEXT, 8)
        assert cost(config).cache_bytes_per_token == 4 * 2 * (6 + 8)


def test_a_kind_that_was_dropped_in_is_gone_afterwards() -> None:
    with dropped_kind(attention.__name__, NEW / "attention" / "latent.py"):
        assert "latent" in attention.KINDS.names()
    assert "latent" not in attention.KINDS.names()
    assert not hasattr(attention, "latent")


def test_latent_attention_equals_its_equation() -> None:
    with dropped_kind(attention.__name__, NEW / "attention" / "latent.py"):
        model = build(position_kind="none", attention={"kind": "latent"})
    half = model.blocks[1].attention
    x = torch.randn(1, 12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    latent, shared = half.latent(x), half.position_key(x)[0]
    q, q_position, k, v = (
        y.view(12, 4, 8) for y in (half.query(x), half.position_query(x), half.key(latent), half.value(latent))
    )
    found = torch.zeros(12, 4, 8, dtype=torch.float64)
    for head in range(4):
        for t in range(12):
            scores = [q[t, head] @ k[s, head] + q_position[t, head] @ shared[s] for s in range(t + 1)]
            found[t, head] = (torch.stack(scores) / 16**0.5).softmax(0) @ v[: t + 1, head]
    from gptsmith.model.layout import Layout
    from gptsmith.model.position import Positions

    positions = Positions.of(model.position, Layout.causal(12, x.device))
    torch.testing.assert_close(half(x, positions, None), half.output(found.view(1, 12, 32)), rtol=0, atol=1e-10)
