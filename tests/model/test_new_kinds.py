"""A kind is one file: nothing else is touched."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gptsmith.base.assignments import with_assignments
from gptsmith.base.kinds import Kinds
from gptsmith.model import attention, feedforward, linear, norm, position
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.model.layout import Layout
from gptsmith.model.position import Positions
from gptsmith.model.presets import preset
from gptsmith.train.run_settings import RunSettings
from tests.dropped_kind import dropped_kind
from tests.model.contracts import ATTENTION_CHECKS, CONTEXT, MODEL_CHECKS, build

NEW = Path(__file__).parent / "new_kinds"
KINDS: dict[str, Kinds] = {
    "attention": attention.KINDS, "feedforward": feedforward.KINDS, "linear": linear.KINDS, "norm": norm.KINDS,
}  # fmt: skip
FILES = sorted((path.parent.name, path.stem) for path in NEW.glob("*/*.py"))


@pytest.fixture(scope="module", params=FILES, ids="-".join)
def new_kind(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The room and the name of a kind that has just been written."""
    room, name = request.param
    with dropped_kind(KINDS[room].package, NEW / room / f"{name}.py"):
        yield room, name


@pytest.fixture(scope="module")
def make_settings() -> ModuleType:
    """The program that writes docs/settings.md."""
    path = Path(__file__).parents[2] / "docs" / "make_settings.py"
    spec = importlib.util.spec_from_file_location("make_settings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("check", MODEL_CHECKS)
def test_a_new_kind_keeps_the_contract(new_kind: tuple[str, str], check: Callable[[GPT], None]) -> None:
    room, name = new_kind
    check(build(**{room: {"kind": name}}))


def test_a_new_kind_is_a_setting(new_kind: tuple[str, str], make_settings: ModuleType) -> None:
    room, name = new_kind
    assert name in KINDS[room].names()
    assert KINDS[room].validate(name).kind == name
    table = with_assignments({"model": preset("smith", vocab_size=50).plain()}, [f"model.{room}={name}"])
    config = GPTConfig.parse(table["model"])
    assert getattr(config, room).kind == name
    assert GPTConfig.parse(config.plain()) == config
    assert cost(config).num_parameters == sum(parameter.numel() for parameter in GPT(config).parameters())
    assert f"### `model.{room}.kind = {name}`" in make_settings.page()
    assert f'"{name}"' in str(RunSettings.model_json_schema()).replace("'", '"')


def test_a_new_kind_begins_like_every_other(new_kind: tuple[str, str]) -> None:
    """Its output projections are zero, and the first loss is near ln V."""
    room, name = new_kind
    model = GPT(preset("smith", vocab_size=50, embed_dim=64, num_layers=2, **{room: name}), seed=1)
    with torch.no_grad():
        logits = model(torch.arange(50)[None])
        assert logits.abs().max() < 0.1
        for block in model.blocks:
            assert not block.attention.output.weight.any()
            assert not block.feedforward.output.weight.any()


@pytest.mark.parametrize("position_kind", position.KINDS.names())
@pytest.mark.parametrize("check", ATTENTION_CHECKS)
@pytest.mark.parametrize("name", [name for room, name in FILES if room == "attention"])
def test_a_new_attention_works_with_every_position(name: str, position_kind: str, check: Callable[[GPT], None]) -> None:
    with dropped_kind(attention.__name__, NEW / "attention" / f"{name}.py"):
        check(build(position_kind=position_kind, attention={"kind": name}))


def test_the_shape_of_the_cache_is_the_attentions_own() -> None:
    with dropped_kind(attention.__name__, NEW / "attention" / "latent.py"):
        config = build(attention={"kind": "latent", "latent_dim": 6}).config
        cache = Cache(config, 2, CONTEXT)
        assert cache.keys[0].shape == (2, 1, CONTEXT, 6)
        assert cache.values[0].shape == (2, 1, CONTEXT, 8)
        assert cost(config).cache_bytes_per_token == 4 * 2 * (6 + 8)


def test_a_new_kind_is_gone_afterwards() -> None:
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
    positions = Positions.of(model.position, Layout.causal(12, x.device))
    torch.testing.assert_close(half(x, positions, None), half.output(found.view(1, 12, 32)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["latent", "output_gate"])
def test_a_new_attention_is_decoded_with_int8_matmul(name: str) -> None:
    """Its layers are fused where they are called together, whatever they read."""
    with dropped_kind(attention.__name__, NEW / "attention" / f"{name}.py"):
        model = build(attention={"kind": name}, linear="int8")
        ids = torch.arange(12)[None]
        with torch.no_grad():
            exact = model(ids)
            model.config.linear.prepare_for_decoding(model)
            found = model(ids)
    assert 0 < float((found - exact).abs().mean()) < 0.2 * float(exact.std())
