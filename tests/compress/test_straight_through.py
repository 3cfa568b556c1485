"""Weights in blocks that are trained as if they were not rounded."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.compress.forms import in_forms, roundable
from gptsmith.compress.straight_through import stored, trainable
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_rounding import GRIDS
from gptsmith.model.linear.grouped import packed_weights
from gptsmith.model.presets import preset
from gptsmith.model.transform import dequantize, quantize

SHAPE: dict[str, Any] = {"num_layers": 1, "embed_dim": 64, "vocab_size": 30, "num_heads": 2, "context_length": 8}
TEXT = torch.randint(30, (2, 8), generator=torch.Generator().manual_seed(3))


def rounded(model: GPT, form: str) -> GPT:
    """A model with all matrices that a block format can hold in it."""
    return in_forms(model, dict.fromkeys(roundable(model), form))


def dense(*, tied: bool) -> GPT:
    model = GPT(preset("gpt2", **SHAPE, tie_embeddings=tied)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("tied", [False, True])
def test_before_training_nothing_changes_and_after_it_the_rounded_model_is_what_was_trained(
    name: str, tied: bool
) -> None:
    before = dense(tied=tied)
    model = rounded(before, name)
    student = trainable(model, before)
    assert all(torch.equal(own, stored(student, model).get_parameter(n)) for n, own in model.named_parameters())
    torch.testing.assert_close(student(TEXT), model(TEXT), rtol=1e-4, atol=1e-4)
    moved = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=moved))
    after = stored(student, model)
    torch.testing.assert_close(after(TEXT), student(TEXT), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after(TEXT), model(TEXT), atol=1e-2)
    assert after.config == model.config
    for place, layer in packed_weights(after).items():
        assert torch.equal(layer.form.scales(layer.weight), layer.form.scales(model.get_parameter(place)))


def test_weights_begin_where_they_were_unless_they_were_rounded_to_another_number_than_the_nearest() -> None:
    before = dense(tied=False)
    model = rounded(before, "q4_1")
    name = "blocks.0.attention.query.weight"
    assert (trainable(model, before).get_parameter(name) == before.get_parameter(name)).float().mean() > 0.95
    far = dense(tied=False)
    with torch.no_grad():
        far.get_parameter(name).add_(1.0)
    student = trainable(model, far)
    assert torch.equal(stored(student, model).get_parameter(name), model.get_parameter(name))
    assert (student.get_parameter(name) == dequantize(model).get_parameter(name)).float().mean() > 0.9


@pytest.mark.parametrize("tied", [False, True])
def test_the_gradient_is_that_of_the_rounded_weights(tied: bool) -> None:
    """Every weight gets the gradient that it would have if the model were dense with the rounded values."""
    before = dense(tied=tied)
    model = rounded(before, "q4_0")
    student, twin = trainable(model, before), dequantize(model)
    for each in (student, twin):
        each.cross_entropy(each.hidden(TEXT), TEXT.roll(1)).backward()
    for name, parameter in twin.named_parameters():
        expected, found = parameter.grad, student.get_parameter(name).grad
        assert expected is not None
        assert found is not None
        torch.testing.assert_close(found.to_dense(), expected.to_dense(), rtol=1e-3, atol=1e-4)


def test_nothing_is_dropped_out() -> None:
    """The original's own probabilities would be beyond reach."""
    model = GPT(preset("gpt2", **SHAPE, dropout=0.5))
    assert torch.equal(trainable(model, model).train()(TEXT), model.eval()(TEXT))


def test_other_kinds_of_weights_are_refused() -> None:
    with pytest.raises(UserError, match="weights of the kind int8 cannot be healed"):
        trainable(quantize(dense(tied=False)), dense(tied=False))
