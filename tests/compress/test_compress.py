"""Kinds of compression, and how a difference is measured."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn

from gptsmith.base.errors import UserError
from gptsmith.compress import difference as compress_difference
from gptsmith.compress.difference import Difference, counted_states, difference
from gptsmith.compress.material import Material
from gptsmith.compress.methods import KINDS, MethodSettings, compressed, method_of
from gptsmith.compress.methods.heal import HealMethodSettings
from gptsmith.compress.methods.mixed import MixedMethodSettings
from gptsmith.compress.methods.prune import PruneMethodSettings
from gptsmith.convert.open import OpenedModel
from gptsmith.model.gpt import GPT, meta_model
from gptsmith.model.presets import preset

SHAPE = {"num_layers": 2, "embed_dim": 64, "vocab_size": 30, "num_heads": 2, "head_dim": 32, "context_length": 16}


def material_of(model: GPT) -> Material:
    return Material(cast(OpenedModel, SimpleNamespace(config=model.config)), model)


@pytest.mark.parametrize("kind", sorted({*KINDS.names()} - {"prune", "heal", "mixed"}))
def test_every_method_makes_a_smaller_model_and_leaves_the_first_as_it_was(kind: str) -> None:
    model = GPT(preset("smith", **SHAPE)).eval()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    small = compressed(model, [KINDS.validate(kind)], material_of(model))
    assert sum(p.nbytes for p in small.parameters()) < 0.5 * sum(p.nbytes for p in model.parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert KINDS.validate(kind).kind == kind


def test_kinds_say_by_which_words_they_are_asked_for() -> None:
    words = {word: kind for kind in KINDS.names() for word in KINDS.settings(kind).names()}
    assert words == {"int8": "int8", **dict.fromkeys(("q4_0", "q4_1", "q5_0", "q5_1", "q8_0"), "round")}
    assert all(method_of(word).name == word for word in words)
    with pytest.raises(UserError, match=r"--to 'mixed': no such compression \(allowed: int8, q4_0, "):
        method_of("mixed")


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(UserError, match=r"no such kind of method: int9 .*int8"):
        KINDS.validate("int9")


class Says(nn.Module):
    """Hidden states that were written down, which are logits."""

    config = SimpleNamespace(vocab_size=2)

    def __init__(self, *states: list[list[float]]) -> None:
        super().__init__()
        self.states = torch.tensor(states)

    def hidden(self, input_ids: Tensor) -> Tensor:
        return self.states[input_ids[:, 0]]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


@pytest.mark.parametrize("at_once", [1, 4, 1000])
def test_a_difference_counts_what_counts(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress_difference, "LOGITS_AT_ONCE", at_once)
    before = Says([[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 1.0]])
    after = Says([[1.0, 0.0], [0.5, 0.25]], [[0.0, 9.0], [0.0, 1.5]])
    first = torch.tensor([[0, 0]]), torch.tensor([[True, True]])
    second = torch.tensor([[1, 1]]), torch.tensor([[False, True]])
    gap = difference(before, after, [first, second])
    # Of six logits 0.5, 0.75 and 0.5 moved; of three positions one changed its mind.
    nats = torch.nn.functional.kl_div(
        after.states[[0, 0, 1], [0, 1, 1]].log_softmax(1), before.states[[0, 0, 1], [0, 1, 1]].softmax(1),
        reduction="batchmean",
    )  # fmt: skip
    assert gap == Difference(0.75, pytest.approx(1.75 / 6), pytest.approx(float(nats)), pytest.approx(2 / 3), 3)
    assert difference(before, before, [first]) == Difference(0.0, 0.0, 0.0, 1.0, 2)


def test_methods_are_applied_one_after_the_other_and_the_original_stays() -> None:
    """The second gets what the first made, and both see the original."""

    class Adds(MethodSettings):
        kind: Literal["adds"] = "adds"
        amount: float

        def compress(self, model: GPT, material: Material) -> GPT:
            assert material.original is original
            made = deepcopy(model)
            with torch.no_grad():
                made.embedding.weight.mul_(2).add_(self.amount)
            material.findings[f"adds {self.amount}"] = self.amount
            return made

    original = GPT(preset("smith", **SHAPE)).eval()
    material = material_of(original)
    last = compressed(original, [Adds(amount=1.0), Adds(amount=3.0)], material)
    torch.testing.assert_close(last.embedding.weight, 4 * original.embedding.weight + 5)
    assert list(material.findings) == ["adds 1.0", "adds 3.0"]


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ([PruneMethodSettings(num_layers=1), MixedMethodSettings(num_bytes=1000)], "the least possible is"),
        ([PruneMethodSettings(num_layers=1), KINDS.validate("int8"), HealMethodSettings()], "int8 cannot be healed"),
        ([KINDS.validate("int8"), MixedMethodSettings()], "those of this model are int8 already"),
        ([KINDS.validate("round"), PruneMethodSettings(num_layers=3)], "this model has 2, so from 1 to 1 can stay"),
    ],
)
def test_what_a_later_method_refuses_is_said_before_an_earlier_one_begins(
    methods: list[MethodSettings], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in methods:
        monkeypatch.setattr(type(method), "compress", lambda *_: pytest.fail("it has begun"))
    model = GPT(preset("smith", **SHAPE)).eval()
    with pytest.raises(UserError, match=says):
        compressed(model, methods, material_of(model))


@pytest.mark.parametrize("odd", [{}, {"attention": {"kind": "sliding_window", "window_size": 3}}])
def test_a_method_knows_the_shape_that_it_will_make(odd: dict[str, Any]) -> None:
    """So that a budget of bytes is that of what is left when layers and units are gone."""
    model = GPT(preset("smith", **SHAPE, **odd)).eval()
    text = torch.zeros(1, 16, dtype=torch.long)
    material = cast(Material, SimpleNamespace(calibration_windows=lambda: [text], findings={}))
    prune = PruneMethodSettings(num_layers=1, feedforward=64)
    shape, made = prune.require(model.config, material), prune.compress(model, material)
    assert (shape.num_layers, shape.feedforward) == (1, made.config.feedforward)
    assert meta_model(shape).num_parameters == made.num_parameters < model.num_parameters
    one, other = (KINDS.validate(kind).require(shape, material).linear.kind for kind in ("int8", "round"))
    assert (one, other) == ("int8", "grouped")


def test_the_difference_from_states_that_are_known_is_the_same() -> None:
    before, after = (GPT(preset("smith", **SHAPE), seed=seed).eval() for seed in (1, 2))
    ids = torch.arange(24).view(3, 8) % before.config.vocab_size
    windows = [(ids, ids % 3 > 0), (ids[:1], ids[:1] % 2 > 0)]
    known = counted_states(before, windows)
    assert difference(before, after, windows, known) == difference(before, after, windows)
    with pytest.raises(IndexError):
        difference(before, after, windows, known[:1])
