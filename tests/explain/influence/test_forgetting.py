"""One step of forgetting lowers what is forgotten, more than chance, and leaves the model as it is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.influence.forgetting import ForgettingModel, Target
from gptsmith.explain.testing import RANDOM_CHOICES, compared, verdict_on
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT

EOS = 0
TARGET = Target((EOS, 3, 5), (7, 9, 11))
OWN = [2, 3, 5, 7, 9, 11, 4]


def model_of(**settings: object) -> GPT:
    shape = {"vocab_size": 60, "embed_dim": 16, "num_layers": 2, "num_heads": 2, "context_length": 16}
    return GPT(GPTConfig.parse({**shape, **settings}, "model"), seed=1).eval()


@pytest.fixture(scope="module")
def model() -> GPT:
    return model_of()


def others(count: int) -> list[list[int]]:
    generator = np.random.Generator(np.random.PCG64(3))
    return [generator.integers(12, 60, len(OWN)).tolist() for _ in range(count)]


def test_the_passage_itself_falls_more_than_others_and_the_model_stays_as_it_is(model: GPT) -> None:
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    forgetting = ForgettingModel(model, TARGET)
    drop = forgetting.drop((EOS,), OWN)
    random = [forgetting.drop((EOS,), each) for each in others(RANDOM_CHOICES)]
    assert drop > max(random)
    assert verdict_on([compared("forget", 1, [drop, *random])]) == "holds"
    assert forgetting.drop((EOS,), OWN) == drop  # each step is from the same weights
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_small_step_falls_by_what_the_gradients_say(model: GPT) -> None:
    step = 1e-4
    twin = copy.deepcopy(model).double()
    twin.compute_dtype = torch.float64

    def likelihood(before: tuple[int, ...], ids: tuple[int, ...]) -> torch.Tensor:
        logits = twin(torch.tensor([[*before, *ids[:-1]]]))[0, len(before) - 1 :]
        return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).sum()

    parameters = [*twin.parameters()]
    of_target, of_passage = (
        torch.autograd.grad(likelihood(*each), parameters)
        for each in ((TARGET.prompt_ids, TARGET.ids), ((EOS,), tuple(OWN)))
    )
    expected = sum(
        float((one.to_dense() * other.to_dense()).sum() * weight.detach().norm() / other.to_dense().norm())
        for weight, one, other in zip(parameters, of_target, of_passage, strict=True)
        if other.to_dense().norm() > 0
    )
    drop = ForgettingModel(model, TARGET, step=step).drop((EOS,), OWN)
    assert drop == pytest.approx(step * expected, rel=0.05)


def test_a_passage_longer_than_the_context_is_forgotten_as_far_as_it_fits(model: GPT) -> None:
    assert ForgettingModel(model, TARGET).drop((EOS,), OWN * 9) != 0


def test_adapters_take_the_step_where_weights_are_frozen() -> None:
    adapted = model_of(linear={"kind": "lora", "rank": 2, "alpha": 4.0, "base": {"kind": "int8"}})
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    assert ForgettingModel(adapted, TARGET).drop((EOS,), OWN) > 0


def test_what_cannot_be_tested_is_said(model: GPT) -> None:
    with pytest.raises(UserError, match="weights of the kind int8 take no step"):
        ForgettingModel(model_of(linear={"kind": "int8"}), TARGET)
    with pytest.raises(UserError, match="have 20 tokens, and the model's context holds 16"):
        ForgettingModel(model, Target((EOS,), (1,) * 20))
