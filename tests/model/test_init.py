"""First weights, as the two recipes say."""

from __future__ import annotations

import pytest
import torch

from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset

SHAPE = {"num_layers": 8, "embed_dim": 128, "num_heads": 2, "head_dim": 64, "vocab_size": 400, "context_length": 64}


@pytest.mark.parametrize("name", ["gpt1", "gpt2", "gpt3-125m"])
def test_gpt2s_recipe(name: str) -> None:
    for parameter_name, parameter in GPT(preset(name, **SHAPE)).named_parameters():
        if parameter_name.endswith("bias"):
            assert parameter.abs().max() == 0
        elif "norm" in parameter_name:
            assert (parameter == 1).all()
        else:
            back = "output" in parameter_name
            assert parameter.std().item() == pytest.approx(0.02 / 4 if back else 0.02, rel=0.05), parameter_name


def test_the_default_recipe() -> None:
    model = GPT(preset("smith", **SHAPE))
    for name, parameter in model.named_parameters():
        if "output" in name:
            assert parameter.abs().max() == 0
        elif "norm" in name:
            assert (parameter == 1).all()
        elif name.startswith("blocks"):
            assert parameter.std().item() == pytest.approx(128**-0.5, rel=0.05), name
            assert parameter.abs().max().item() <= (3 / 128) ** 0.5
    assert model.embedding.weight.std().item() == pytest.approx(1, rel=0.05)
    assert model.head.weight.std().item() == pytest.approx(0.001, rel=0.05)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    torch.manual_seed(1)
    one = GPT(preset("smith", **SHAPE), seed=3).state_dict()
    torch.manual_seed(2)
    two = GPT(preset("smith", **SHAPE), seed=3).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
