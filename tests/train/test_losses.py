"""Sums, counts and weights of a loss, and their gradients at the edges."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import nn

from gptsmith.base.kinds import Kinds
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels import cross_entropy
from gptsmith.model.kernels.cross_entropy import linear_cross_entropy, plain_cross_entropy, token_log_likelihoods
from gptsmith.model.presets import preset
from gptsmith.train import objectives, optimizers
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import Dataset, DatasetInputs
from gptsmith.train.objectives import ObjectiveSettings, Term
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.schedule import ScheduleSettings, lr_multiplier
from gptsmith.train.step import accumulate, backward, train_step

SHAPE = {"num_layers": 1, "embed_dim": 32, "vocab_size": 20, "num_heads": 2, "head_dim": 16, "context_length": 8}


def small() -> GPT:
    return GPT(preset("smith", **SHAPE, init="gpt2")).double()


@pytest.mark.parametrize("kinds", [objectives.KINDS, optimizers.KINDS], ids=lambda kinds: kinds.package)
def test_a_file_is_a_kind_of_its_name(kinds: Kinds) -> None:
    for name in kinds.names():
        assert kinds.validate(name).kind == name


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("sizes", [(1, 1, 20), (3, 1, 20), (100, 100, 64)])
def test_gradients_are_those_of_finite_differences(
    sizes: Any, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy.BlockSizes, "of", lambda vocab_size, device: cross_entropy.BlockSizes(*sizes))
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(20, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.tensor([3, -100, 0, 19, 3])
    assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, targets, cap), (hidden, weight))
    ours, plain = (each(hidden, weight, targets, cap) for each in (linear_cross_entropy, plain_cross_entropy))
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)


def drawn_rows(num_rows: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (B, 7, 4), a head's weight (20, 4) and targets (B, 7), of which some ask nothing."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(num_rows, 7, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(20, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(20, (num_rows, 7), generator=generator)
    targets[0, :5] = targets[1] = -100
    return hidden, weight, targets


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("sizes", [(1, 1, 20), (4, 3, 20), (100, 100, 64)])
def test_log_likelihoods_in_blocks_are_those_of_all_logits_at_once(
    sizes: Any, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy.BlockSizes, "of", lambda vocab_size, device: cross_entropy.BlockSizes(*sizes))
    hidden, weight, targets = drawn_rows()
    rows, values = token_log_likelihoods(hidden, weight, targets, cap)
    logits = hidden @ weight.T if cap is None else cap * torch.tanh(hidden @ weight.T / cap)
    expected = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0][targets >= 0]
    assert rows.tolist() == [0] * 2 + [2] * 7
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(token_log_likelihoods(hidden, weight, targets, cap)[1], values)
    upstream = torch.linspace(-1, 2, len(values), dtype=torch.float64)  # each token's own, as objectives weigh them
    both = (torch.autograd.grad(each, (hidden, weight), upstream) for each in (values, expected))
    for ours, plain in zip(*both, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)


def test_log_likelihoods_keep_no_logits_for_the_backward_pass() -> None:
    hidden, weight, targets = drawn_rows(9)
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape) or tensor, lambda x: x):
        values = token_log_likelihoods(hidden, weight, targets)[1]
    assert kept
    assert all(shape.numel() < len(values) * len(weight) for shape in kept)


def test_bfloat16_hidden_states_keep_a_float32_loss_and_weight_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 16, generator=generator).bfloat16().requires_grad_()
    weight = torch.randn(20, 16, generator=generator).bfloat16().float().requires_grad_()
    targets = torch.randint(20, (64,), generator=generator)
    loss = linear_cross_entropy(hidden, weight, targets)
    loss.backward()
    exact_hidden, exact_weight = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    exact = nn.functional.cross_entropy(exact_hidden @ exact_weight.T, targets, reduction="sum")
    exact.backward()
    assert (loss.dtype, weight.grad.dtype, hidden.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    for ours, theirs in ((hidden.grad, exact_hidden.grad), (weight.grad, exact_weight.grad)):
        assert (ours.double() - theirs).norm() / theirs.norm() < 0.02


def test_a_fixed_head_gets_no_gradient_and_costs_none() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([3, 1, 0, 19, 3])
    linear_cross_entropy(hidden, weight, targets).backward()
    fixed = hidden.grad.clone()
    hidden.grad = None
    linear_cross_entropy(hidden, weight.requires_grad_(), targets).backward()
    torch.testing.assert_close(hidden.grad, fixed, rtol=0, atol=1e-12)
    kept = linear_cross_entropy(hidden, weight.detach(), targets).grad_fn.saved_tensors
    assert kept[1] is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_target_that_is_all_but_impossible_has_a_finite_loss(dtype: torch.dtype) -> None:
    """Its probability is no number of this dtype, or one in its subnormal range; beside it a likely target."""
    logits = torch.tensor([[0.0, -2000.0, 1.0], [0.0, -87.5, -2.0], [0.5, 0.25, 0.0]], dtype=dtype)
    for rows in (slice(0, 3), slice(2, 3)):
        targets = torch.tensor([1, 1, 0])[rows]
        found = cross_entropy._to_gradient(logits[rows], targets, torch.empty_like(logits[rows]))
        expected = torch.log_softmax(logits[rows].double(), dim=1).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-3 if dtype == torch.bfloat16 else 1e-6)


def test_a_batch_that_asks_nothing_moves_nothing() -> None:
    model = small()
    ids = torch.zeros(2, 8, dtype=torch.long)
    assert accumulate(model, NextTokenSettings(), [Batch(ids, torch.full_like(ids, -100))]) == 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in model.parameters())


def test_a_target_beyond_the_vocabulary_is_an_error() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        linear_cross_entropy(torch.zeros(2, 4, requires_grad=True), torch.zeros(20, 4), torch.tensor([1, 20]))


class TwoTerms(ObjectiveSettings):
    """Next-token loss over first rows and over last rows, the second a quarter as heavy."""

    kind: Literal["two"] = "two"

    def dataset(self, inputs: DatasetInputs) -> Dataset:
        raise NotImplementedError("it is given its batches")

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"first": len(batch.input_ids), "last": int((batch.targets != -100).sum())}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        counts = self.counts(batch)
        squares = model(batch.input_ids).square().mean(dim=(1, 2)).sum()
        nats = linear_cross_entropy(model.hidden(batch.input_ids), model.head_weight, batch.targets)
        return {"first": Term(squares, counts["first"]), "last": Term(nats, counts["last"], weight=0.25)}


def test_each_term_is_divided_by_its_own_count_over_all_batches() -> None:
    ids = torch.randint(20, (5, 9), generator=torch.Generator().manual_seed(0))
    inputs, targets = ids[:, :-1], ids[:, 1:].clone()
    targets[0, 1:] = -100
    parts = [Batch(inputs[a:b], targets[a:b]) for a, b in ((0, 1), (1, 5))]
    model, plain = small(), small()
    loss = accumulate(model, TwoTerms(), parts)
    logits = plain(inputs)
    expected = logits.square().mean() + 0.25 * nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
def test_a_step_moves_every_parameter_and_clears_its_gradient(kind: str) -> None:
    model = small()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ids = torch.arange(18).view(2, 9)
    optimizer = optimizers.KINDS.validate(kind).build(model)
    train_step(model, NextTokenSettings(), optimizer, [Batch(ids[:, :-1], ids[:, 1:])], 1.0)
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])] == []
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("limit", [None, 1e9, 0.25])
def test_gradients_are_clipped_to_a_norm_and_the_norm_before_is_recorded(limit: float | None) -> None:
    ids = torch.arange(18).view(2, 9)
    batches = [Batch(ids[:, :-1], ids[:, 1:])]
    model = small()
    backward(model, NextTokenSettings(), batches)
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    norm = torch.stack([gradient.norm() for gradient in whole.values()]).norm().item()
    model.zero_grad()
    share = 1.0 if limit in (None, 1e9) else limit / norm
    seen: dict[str, torch.Tensor] = {}

    class Look:
        def step(self, lr_multiplier: float) -> None:
            seen.update({name: parameter.grad.clone() for name, parameter in model.named_parameters()})

    step = train_step(model, NextTokenSettings(), Look(), batches, 1.0, max_gradient_norm=limit)
    assert step.gradient_norm == pytest.approx(norm)
    for name, gradient in whole.items():
        torch.testing.assert_close(seen[name], gradient * share)


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
def test_the_rate_is_a_share_of_each_groups_full_rate(kind: str) -> None:
    optimizer = optimizers.KINDS.validate(kind).build(small())
    full = [group["lr"] for part in optimizer.parts for group in part.param_groups]
    for share in (0.5, 0.25):
        optimizer.step(share)
        assert [g["lr"] for part in optimizer.parts for g in part.param_groups] == [share * rate for rate in full]
    assert min(full) > 0


@pytest.mark.parametrize(
    ("settings", "num_steps", "expected"),
    [
        ({"warmup_steps": 0, "decay_fraction": 0.0}, 3, [1, 1, 1]),
        ({"warmup_steps": 0, "decay_fraction": 1.0, "min_lr_ratio": 0.0}, 5, [0.8, 0.6, 0.4, 0.2, 0]),
        ({"warmup_steps": 1, "decay_fraction": 0.5, "min_lr_ratio": 0.1}, 4, [0.5, 0.55 + 0.45, 0.55, 0.1]),
        ({"warmup_steps": 20, "decay_fraction": 0.6, "min_lr_ratio": 0.05}, 1, [1 / 21]),
    ],
)
def test_known_schedules(settings: dict, num_steps: int, expected: list[float]) -> None:
    shares = [lr_multiplier(step, num_steps, ScheduleSettings(**settings)) for step in range(num_steps)]
    assert shares == pytest.approx(expected)
