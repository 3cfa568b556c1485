"""Optimizers of models that are trained in part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.train import optimizers
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.optimizers.muon import MuonSettings
from gptsmith.train.step import train_step


def tiny(**linear: object) -> GPT:
    shape = {"vocab_size": 40, "context_length": 12, "embed_dim": 32, "num_layers": 2, "num_heads": 2, "head_dim": 16}
    return GPT(preset("smith", **shape, linear={"kind": "lora", "rank": 2, **linear}, init="gpt2"))


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
@pytest.mark.parametrize("base", ["dense", "int8"])
def test_adapters_learn_and_nothing_else_moves(kind: str, base: str) -> None:
    model = tiny(base=base, targets=["attention.*", "feedforward.*", "head"])
    optimizer = optimizers.KINDS.validate({"kind": kind, "learning_rate": 0.02}).build(model)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    ids = torch.randint(40, (4, 13), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:, :-1], ids[:, 1:])
    losses = [train_step(model, NextTokenSettings(), optimizer, [batch], 1.0).loss for _ in range(30)]
    assert losses[-1] < losses[0] - 0.2
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if name.endswith(("lora_a", "lora_b"))}
    assert {name.rpartition("/")[0] for name in optimizer.state()} == moved


def test_muon_takes_the_matrices_of_adapters() -> None:
    model = tiny(targets=["attention.*", "head"])
    muon, adamw = MuonSettings().build(model).parts
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    assert held == {name for name in names.values() if name.startswith("blocks.") and "lora" in name}
    assert {names[id(p)] for group in adamw.param_groups for p in group["params"]} == {"head.lora_a", "head.lora_b"}


def test_muon_alone_and_adamw_alone_are_enough() -> None:
    assert len(MuonSettings().build(tiny()).parts) == 1
    assert len(MuonSettings().build(tiny(targets=["head"])).parts) == 1


def test_a_frozen_parameter_in_a_group_is_noticed() -> None:
    model = nn.Linear(3, 3)
    model.weight.requires_grad_(False)
    with pytest.raises(AssertionError, match="exactly one group"):
        Optimizer(model, [torch.optim.SGD(model.parameters(), lr=0.1)])


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
def test_a_model_with_nothing_to_train_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match="nothing to train: all of its parameters are frozen"):
        optimizers.KINDS.validate(kind).build(tiny().requires_grad_(False))
