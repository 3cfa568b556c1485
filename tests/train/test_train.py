"""Steps, schedule, optimizers and losses."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gptsmith.model.gpt import GPT
from gptsmith.model.kernels import cross_entropy
from gptsmith.model.kernels.cross_entropy import linear_cross_entropy, plain_cross_entropy
from gptsmith.model.presets import preset
from gptsmith.run.stored_tensors import StoredTensors, save_tensors
from gptsmith.train import optimizers
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers import Optimizer
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.optimizers.muon import MuonSettings, orthogonalized
from gptsmith.train.schedule import ScheduleSettings, lr_multiplier
from gptsmith.train.step import accumulate, train_step

OBJECTIVE = NextTokenSettings()


def tiny(preset_name: str = "smith", **changes: object) -> GPT:
    table = {"vocab_size": 40, "context_length": 12, "embed_dim": 32, "num_layers": 2, "num_heads": 2, "head_dim": 16}
    return GPT(preset(preset_name, **{**table, "attention": {"num_kv_heads": 1}, **changes})).double()


def a_batch(rows: int, seed: int = 0, masked: int = 0) -> Batch:
    ids = torch.randint(40, (rows, 13), generator=torch.Generator().manual_seed(seed))
    targets = ids[:, 1:].clone()
    for row in range(rows):
        targets[row, : (row * masked) % 11] = -100
    return Batch(ids[:, :-1], targets)


@pytest.mark.parametrize("tied", [False, True])
def test_gradient_accumulation_equals_the_large_batch(tied: bool) -> None:
    whole = a_batch(6, masked=3)
    parts = [Batch(whole.input_ids[a:b], whole.targets[a:b]) for a, b in [(0, 1), (1, 4), (4, 6)]]
    one, many = (tiny(init="gpt2", tie_embeddings=tied) for _ in range(2))
    losses = accumulate(one, OBJECTIVE, [whole]), accumulate(many, OBJECTIVE, parts)
    assert abs(losses[0] - losses[1]) < 1e-12
    for (name, a), b in zip(one.named_parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12, msg=name)


def test_the_loss_is_the_mean_over_what_is_asked() -> None:
    model, batch = tiny(init="gpt2"), a_batch(3, masked=4)
    logits = model(batch.input_ids).flatten(0, 1)
    expected = nn.functional.cross_entropy(logits, batch.targets.flatten(), ignore_index=-100)
    assert abs(accumulate(model, OBJECTIVE, [batch]) - expected.item()) < 1e-12


@pytest.mark.parametrize("sizes", [(1, 1, 40), (5, 2, 40), (100, 100, 40), (4, 4, 64), (100, 100, 64)])
def test_cross_entropy_by_blocks_equals_the_plain_one(sizes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy.BlockSizes, "of", lambda vocab_size, device: cross_entropy.BlockSizes(*sizes))
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(40, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(40, (3, 5), generator=generator)
    targets[1, 2:] = -100
    fast = linear_cross_entropy(hidden, weight, targets)
    plain = plain_cross_entropy(hidden.flatten(0, 1), weight, targets.flatten())
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)
    fast_gradients = torch.autograd.grad(2.5 * fast, (hidden, weight))
    plain_gradients = torch.autograd.grad(2.5 * plain, (hidden, weight))
    for ours, theirs in zip(fast_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("vocab_size", [1, 97, 50257, 200_000_000])
def test_on_a_gpu_rows_of_logits_are_aligned_and_no_part_of_a_block_stands_alone(vocab_size: int) -> None:
    sizes = cross_entropy.BlockSizes.of(vocab_size, torch.device("cuda"))
    assert sizes.part == sizes.block >= 1
    assert sizes.stride % 64 == 0
    assert vocab_size <= sizes.stride < vocab_size + 64


def test_the_learning_rate_rises_stays_and_falls() -> None:
    settings = ScheduleSettings(warmup_steps=4, decay_fraction=0.5, min_lr_ratio=0.1)
    shares = [lr_multiplier(step, 100, settings) for step in range(100)]
    assert shares[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert shares[10:49] == [1.0] * 39
    assert shares[99] == pytest.approx(0.1)
    assert shares[74] == pytest.approx(0.1 + 0.9 * 0.5)
    assert all(later <= earlier for earlier, later in itertools.pairwise(shares[5:]))


def test_orthogonalized_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 8, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = orthogonalized(matrices)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.3
    torch.testing.assert_close(orthogonalized(matrices.mT), result.mT)
    torch.testing.assert_close(orthogonalized(matrices[1:2]), result[1:2])
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    ours_left, _, ours_right = torch.linalg.svd(result, full_matrices=False)
    torch.testing.assert_close((left @ right) @ result.mT, ((left @ right) @ result.mT).mT, rtol=0, atol=1e-6)
    assert ours_left.shape == left.shape
    assert ours_right.shape == right.shape


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
@pytest.mark.parametrize("name", ["smith", "gpt2", "gpt1"])
def test_every_parameter_is_in_exactly_one_group(kind: str, name: str) -> None:
    model = tiny(name, attention={"kind": "additive"})
    optimizer = optimizers.KINDS.validate(kind).build(model)
    held = [id(p) for part in optimizer.parts for group in part.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_a_parameter_that_is_left_out_or_held_twice_is_noticed() -> None:
    model = nn.Linear(3, 3)
    for parameters in ([model.weight], [model.weight, model.bias, model.weight]):
        parts = [torch.optim.SGD([p], lr=0.1) for p in parameters]
        with pytest.raises(AssertionError, match="exactly one group"):
            Optimizer(model, parts)


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
def test_an_optimizer_goes_on_as_if_it_had_not_stopped(kind: str, tmp_path: Path) -> None:
    settings = optimizers.KINDS.validate(kind)
    whole = tiny().float()
    optimizer = settings.build(whole)
    for step in range(3):
        train_step(whole, OBJECTIVE, optimizer, [a_batch(4, step)], 1.0)
    halted = copy.deepcopy(whole)
    save_tensors(tmp_path / "state.safetensors", optimizer.state())
    again = settings.build(halted)
    again.load_state(StoredTensors([tmp_path / "state.safetensors"]))
    for step in range(3, 6):
        assert train_step(whole, OBJECTIVE, optimizer, [a_batch(4, step)], 0.5) == train_step(
            halted, OBJECTIVE, again, [a_batch(4, step)], 0.5
        )
    for a, b in zip(whole.parameters(), halted.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", optimizers.KINDS.names())
def test_a_batch_can_be_learnt_by_heart(kind: str) -> None:
    model, batch = tiny().float(), a_batch(2)
    optimizer = optimizers.KINDS.validate({"kind": kind, "learning_rate": 0.02}).build(model)
    losses = [train_step(model, OBJECTIVE, optimizer, [batch], 1.0).loss for _ in range(150)]
    assert losses[0] > 3
    assert losses[-1] < 0.1


def test_adamw_decays_matrices_only() -> None:
    optimizer = AdamWSettings(weight_decay=0.3).build(tiny())
    for group in optimizer.parts[0].param_groups:
        assert {p.dim() >= 2 for p in group["params"]} == {group["weight_decay"] == 0.3}


def test_muon_keeps_to_the_matrices_of_the_blocks() -> None:
    model = tiny()
    muon = MuonSettings().build(model).parts[0]
    held = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in held}
    assert names == {n for n, p in model.named_parameters() if n.startswith("blocks") and p.dim() == 2}


def test_a_step_of_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from gptsmith.model.presets import preset\n"
        "from gptsmith.model.gpt import GPT\n"
        "from gptsmith.train.batch import Batch\n"
        "from gptsmith.train.objectives.next_token import NextTokenSettings\n"
        "from gptsmith.train.optimizers.muon import MuonSettings\n"
        "from gptsmith.train.step import train_step\n"
        "model = GPT(preset('smith', vocab_size=8, context_length=4, embed_dim=16, attention={'num_kv_heads': 4}))\n"
        "ids = torch.zeros(1, 4, dtype=torch.long)\n"
        "train_step(model, NextTokenSettings(), MuonSettings().build(model), [Batch(ids, ids)], 1.0)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
