"""The private step: clipped per unit, in every kind of model as a plain loop over single rows has it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.model import attention, position
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.private.step import clip_scales, set_private_gradients
from gptsmith.train.step import train_step
from tests.model.contracts import build, some_ids

OBJECTIVE = NextTokenSettings()
LORA = {"kind": "lora", "rank": 2, "alpha": 4.0, "base": {"kind": "dense"}}


def no_noise(name: str, like: Tensor) -> Tensor:
    raise AssertionError("no noise was asked for")


def gradients(model: GPT, units: Sequence[Sequence[Batch]], clip_norm: float, expected: float = 4.0) -> list[Tensor]:
    set_private_gradients(
        model, OBJECTIVE, units, clip_norm=clip_norm, noise_multiplier=0.0, expected_units=expected, noise=no_noise
    )
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def row(ids: Tensor) -> Batch:
    return Batch(ids[None, :-1], ids[None, 1:])


def by_hand(model: GPT, rows: Sequence[Tensor], clip_norm: float, expected: float = 4.0) -> list[Tensor]:
    """The sum of the clipped gradients of single rows by autograd alone, with the logits written out."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in trained]
    for ids in rows:
        loss = functional.cross_entropy(model(ids[None, :-1])[0], ids[1:])
        found = torch.autograd.grad(loss, trained, allow_unused=True)
        dense = [torch.zeros_like(p) if g is None else g.to_dense() for g, p in zip(found, trained, strict=True)]
        norm = torch.sqrt(sum((each**2).sum() for each in dense))
        for one, each in zip(total, dense, strict=True):
            one += each * min(1.0, clip_norm / float(norm))
    return [each / expected for each in total]


EVERY_KIND = [(*kinds, False, "dense") for kinds in itertools.product(attention.KINDS.names(), position.KINDS.names())]
EVERY_FORM = [
    (kind, "rotary", tied, linear)
    for kind in attention.KINDS.names()
    for tied, linear in ((True, "dense"), (False, "lora"), (True, "lora"))
]


@pytest.mark.parametrize(("attention_kind", "position_kind", "tied", "linear"), EVERY_KIND + EVERY_FORM)
def test_clipped_gradients_are_those_of_a_loop_over_rows(
    attention_kind: str, position_kind: str, tied: bool, linear: str
) -> None:
    table = {"num_layers": 1, "tie_embeddings": tied, "linear": LORA if linear == "lora" else "dense"}
    model, rows = build(attention_kind, position_kind, **table).train(), some_ids(2, 8)
    found, expected = gradients(model, [[row(ids)] for ids in rows], 0.5), by_hand(model, rows, 0.5)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_the_windows_of_a_unit_are_added_before_it_is_clipped() -> None:
    model, ids = build(), some_ids(2, 11)
    together = gradients(model, [[row(ids[0]), row(ids[1])]], clip_norm=0.5, expected=1.0)
    assert torch.linalg.vector_norm(torch.cat([each.flatten() for each in together])) == pytest.approx(0.5)
    losses = [functional.cross_entropy(model(each[None, :-1])[0], each[1:]) for each in ids]
    whole = torch.autograd.grad(sum(losses) / 2, list(model.parameters()))
    norm = torch.sqrt(sum((each**2).sum() for each in whole))
    for one, other in zip(together, whole, strict=True):
        torch.testing.assert_close(one, other * 0.5 / norm, rtol=0, atol=1e-9)


def test_without_clipping_and_noise_the_step_is_an_ordinary_one() -> None:
    ids = some_ids(4, 11)
    private, usual = build(), build()
    optimizer = AdamWSettings().build(private)
    gradients(private, [[row(each)] for each in ids], clip_norm=1e9)
    optimizer.step(1.0)
    batch = Batch(ids[:, :-1], ids[:, 1:])
    train_step(usual, OBJECTIVE, AdamWSettings().build(usual), [batch], 1.0)
    for one, other in zip(private.parameters(), usual.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_no_unit_moves_the_sum_by_more_than_the_clipping_norm() -> None:
    model, ids = build(), some_ids(3, 11)
    with_it = gradients(model, [[row(each)] for each in ids], clip_norm=0.3, expected=1.0)
    without = gradients(model, [[row(each)] for each in ids[:2]], clip_norm=0.3, expected=1.0)
    moved = torch.cat([(one - other).flatten() for one, other in zip(with_it, without, strict=True)])
    assert torch.linalg.vector_norm(moved) == pytest.approx(0.3)


def test_noise_has_its_standard_deviation_whatever_units_there_are() -> None:
    def noise(name: str, like: Tensor) -> Tensor:
        return torch.ones_like(like)

    model = build()
    set_private_gradients(
        model, OBJECTIVE, [], clip_norm=0.5, noise_multiplier=3.0, expected_units=10.0, noise=noise
    )  # a step without units is a step of noise
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 0.15))


@pytest.mark.parametrize(
    ("norm", "scale"), [(2.0, 0.25), (0.4, 1.0), (0.0, 0.0), (float("nan"), 0.0), (float("inf"), 0.0)]
)
def test_a_gradient_that_is_not_finite_counts_for_nothing(norm: float, scale: float) -> None:
    gradients = {"a": torch.tensor([[[norm, 0.0]], [[0.0, 0.3]]]), "b": torch.tensor([[0.0], [0.4]])}
    assert clip_scales(gradients, 0.5).tolist() == pytest.approx([scale, 1.0])


def test_a_unit_that_overflows_leaves_the_others_alone() -> None:
    model, ids = build(), some_ids(2, 11)
    with torch.no_grad():
        model.embedding.weight[ids[1]] = float("inf")
        model.embedding.weight[ids[0]] = 0.1
    found = gradients(model, [[row(ids[0])], [row(ids[1])]], clip_norm=0.5)
    assert all(bool(each.isfinite().all()) for each in found)
