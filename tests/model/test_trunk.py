"""The settings of the trunk in which families differ: each keeps the contracts of attention, and computes what it
says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gptsmith
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.transform import merge_lora, quantize, with_adapters
from tests.model.contracts import ATTENTION_CHECKS, build, close, some_ids

TRUNKS: dict[str, dict[str, Any]] = {
    "output norms": {"norm_placement": "output"},
    "sandwich norms": {"norm_placement": "sandwich"},
    "post norms, parallel": {"norm_placement": "post", "parallel_residual": True},
    "parallel": {"parallel_residual": True, "norm": {"kind": "layernorm"}},
    "multipliers": {"embedding_multiplier": 3.0, "residual_multiplier": 0.3, "logits_scaling": 0.5},
    "scaled attention": {"attention": {"kind": "full", "scale": 0.7, "num_kv_heads": 2}},
    "capped logits": {"logits_cap": 0.5},
    "capped scores": {"attention": {"kind": "full", "num_kv_heads": 2, "score_cap": 0.8}},
    "capped scores with sinks": {
        "attention": {"kind": "sliding_window", "window_size": 5, "layers": [0], "score_cap": 0.8, "sinks": True},
        "position": {"kind": "alibi"},
    },
    "whole QK-norm": {"attention": {"kind": "full", "qk_norm": True, "qk_norm_per_head": False, "num_kv_heads": 2}},
    "partial rotary": {"position": {"kind": "rotary", "partial_rotary_factor": 0.5}},
    "local rotary": {"position": {"kind": "local_rotary", "local_base": 20.0, "local_layers": [0]}},
    "a layer without positions": {"position": {"kind": "rotary", "layers": [1]}},
}


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("check", ATTENTION_CHECKS)
def test_every_trunk_keeps_the_contract(trunk: str, check: Callable[[GPT], None]) -> None:
    check(build(**TRUNKS[trunk]))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_trunk_can_be_adapted_and_quantized(trunk: str) -> None:
    model, ids = build(**TRUNKS[trunk]), some_ids()
    adapted = with_adapters(model, LoraLinearSettings.parse({"rank": 2, "alpha": 4.0}))
    with torch.no_grad():
        plain = model(ids)
        close(adapted(ids), plain)
        for name, parameter in adapted.named_parameters():
            if "lora_b" in name:
                parameter.add_(0.1)
        assert (adapted(ids) - plain).abs().max() > 1e-3
        close(merge_lora(adapted)(ids), adapted(ids))
        rounded = quantize(model)(ids)
    assert 0 < (rounded - plain).abs().max() < 0.2 * plain.abs().max()


def test_sums_over_hidden_states_are_those_of_capped_logits() -> None:
    model, ids, targets = build(logits_cap=0.5), some_ids(), some_ids(seed=1)
    targets[0, :5] = IGNORED
    expected = model(ids).log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0][targets != IGNORED]
    for with_gradient in (True, False):
        with torch.set_grad_enabled(with_gradient):
            hidden = model.hidden(ids)
            close(model.cross_entropy(hidden, targets), -expected.sum())
            close(model.token_log_likelihoods(hidden, targets)[1], expected)


def test_nothing_multiplies_with_the_head_but_what_knows_the_cap_of_its_logits() -> None:
    """`GPT` gives logits and losses with their cap. Besides, distillation keeps a teacher's head with its cap, the
    likeliest token is the same without it, and an attribution knows it."""
    package = Path(gptsmith.__file__).parent
    using = {str(file.relative_to(package)) for file in package.rglob("*.py") if ".head_weight" in file.read_text()}
    assert using == {
        "explain/attribution.py", "model/gpt.py", "train/datasets/distillation.py", "train/known_answers.py",
        "train/objectives/distillation.py",
    }  # fmt: skip


@pytest.mark.parametrize("placement", ["pre", "post", "output", "sandwich"])
def test_a_new_model_of_every_placement_of_norms_begins_with_finite_gradients(placement: str) -> None:
    model = GPT(build(norm_placement=placement).config)
    model(some_ids()).logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # A norm behind outputs that begin at zero would multiply by 1 / sqrt(epsilon), a thousand.
        assert parameter.grad.to_dense().abs().max() < 100, name


def test_halves_that_are_parallel_read_the_same_stream() -> None:
    model = build(parallel_residual=True, num_layers=1, residual_multiplier=0.5)
    x = model.embedding(some_ids())
    block: Any = model.blocks[0]
    with torch.no_grad():
        fed = block.feedforward(block.feedforward_norm(x))
        found: list[Any] = []
        block.attention.register_forward_hook(lambda _module, _inputs, output: found.append(output))
        hidden = model.hidden(some_ids())
        close(hidden, model.final_norm(x + 0.5 * (found[0] + fed)))


def test_the_logits_of_a_scaled_model_are_divided() -> None:
    plain, scaled, ids = build(), build(logits_scaling=4.0), some_ids()
    with torch.no_grad():
        close(scaled(ids), plain(ids) / 4)


def test_local_layers_have_their_own_base() -> None:
    ids = some_ids()

    def logits(**position: Any) -> torch.Tensor:
        with torch.no_grad():
            return build(position=position, num_layers=1)(ids)

    both: dict[str, Any] = {"kind": "local_rotary", "base": 5000.0, "local_base": 20.0}
    close(logits(**both, local_layers=[0]), logits(kind="rotary", base=20.0))
    close(logits(**both, local_layers=[1]), logits(kind="rotary", base=5000.0))


def test_a_layer_without_positions_does_not_rotate() -> None:
    none, some, ids = build(position_kind="none"), build(position={"kind": "rotary", "layers": []}), some_ids()
    with torch.no_grad():
        close(some(ids), none(ids))
