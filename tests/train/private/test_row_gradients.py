"""Rows with adapters of their own: the gradients of a loop over units, for any lengths, in passes that stay small."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.private import row_gradients
from gptsmith.train.private.row_gradients import takes_rows, unit_gradients
from gptsmith.train.step import accumulate
from tests.model.contracts import build, some_ids

SFT = SftSettings()
LORA = {"kind": "lora", "rank": 2, "alpha": 4.0, "base": {"kind": "dense"}}


def model_of(**table: object) -> GPT:
    model = build("full", "rotary", num_layers=2, linear={**LORA, **table}).train()
    with torch.no_grad():
        for number, parameter in enumerate(each for each in model.parameters() if each.requires_grad):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)), alpha=0.1)
    return model


def units_of(lengths: Sequence[Sequence[int]]) -> list[list[Batch]]:
    """Units with rows of such lengths, in which some tokens are no targets and two sequences share a row."""
    units = []
    for number, rows in enumerate(lengths):
        ids = [some_ids(1, length + 1)[0].roll(number) for length in rows]
        batches = [Batch(each[None, :-1], each[None, 1:].clone(), torch.zeros(1, len(each) - 1).long()) for each in ids]
        for batch in batches:
            batch.targets[0, :2] = IGNORED
            assert batch.segments is not None
            batch.segments[0, 4:] = 1
        units.append(batches)
    return units


def by_loop(model: GPT, units: Sequence[Sequence[Batch]]) -> list[dict[str, torch.Tensor]]:
    found = []
    for batches in units:
        model.zero_grad(set_to_none=True)
        accumulate(model, SFT, batches)
        found.append({name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None})
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("tokens_per_pass", [8, 30, 4_096])
def test_each_units_gradient_is_that_of_its_own_mean_loss(
    tokens_per_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_gradients, "TOKENS_PER_PASS", tokens_per_pass)
    model, units = model_of(), units_of([[8], [5, 7], [6], [8]])
    expected = {norm_of(each): each for each in by_loop(model, units)}
    passes = list(unit_gradients(model, SFT, units))
    assert len(passes) == {8: 4, 30: 2, 4_096: 1}[tokens_per_pass]
    found = [{name: each[unit] for name, each in some.items()} for some in passes for unit in range(sizes(some))]
    assert len(found) == len(units)
    for one in found:
        other = min(expected.values(), key=lambda each: abs(norm_of(each) - norm_of(one)))
        assert one.keys() == other.keys()
        for name, gradient in one.items():
            torch.testing.assert_close(gradient, other[name], rtol=0, atol=1e-9)
    assert all(parameter.grad is None for parameter in model.parameters())


def sizes(gradients: dict[str, torch.Tensor]) -> int:
    return len(next(iter(gradients.values())))


def norm_of(gradients: dict[str, torch.Tensor]) -> float:
    return float(torch.cat([each.flatten() for each in gradients.values()]).norm())


def test_units_whose_rows_meet_or_whose_loss_is_no_mean_over_targets_are_read_one_by_one() -> None:
    ((batch,),) = units_of([[8]])
    assert takes_rows(model_of(), SFT, [batch])
    assert takes_rows(model_of(), NextTokenSettings(), [batch])
    assert not takes_rows(build(), SFT, [batch]), "all weights are trained"
    assert not takes_rows(model_of(targets=["attention.*", "head"]), SFT, [batch]), "the loss reads the head's matrix"
    experts = {"kind": "experts", "num_experts": 2, "experts_per_token": 1}
    assert not takes_rows(build("full", "rotary", linear=LORA, feedforward=experts), SFT, [batch])
    halved = Batch(batch.input_ids, batch.targets[:, :0], None)
    assert not takes_rows(model_of(), type("Odd", (SftSettings,), {"counts": lambda *_: {"sft": 3}})(), [halved])


def test_a_row_that_overflows_leaves_the_others_alone() -> None:
    model, units = model_of(), units_of([[8], [8]])
    (expected,) = by_loop(model, units[:1])
    with torch.no_grad():
        units[1][0].input_ids[:] = 7
        model.embedding.weight[7] = float("inf")
        units[0][0].input_ids[units[0][0].input_ids == 7] = 6
    (expected,) = by_loop(model, units[:1])
    (found,) = unit_gradients(model, SFT, units)
    for name, gradient in found.items():
        finite = gradient[gradient.flatten(1).isfinite().all(dim=1)]
        torch.testing.assert_close(finite[0], expected[name], rtol=0, atol=1e-9)
