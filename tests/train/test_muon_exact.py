"""Muon against PyTorch's own, each in the other's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptsmith.train.optimizers import muon
from gptsmith.train.optimizers.muon import Muon, orthogonalized

SHAPES = [(24, 16), (16, 24), (20, 20), (24, 16)]


def step_both(num_steps: int) -> tuple[list[nn.Parameter], list[nn.Parameter], list[torch.Tensor]]:
    """Matrices of three shapes, moved by ours and by PyTorch's Muon along the same gradients; where they started."""
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    ours, theirs = ([nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}
    mine, golden = Muon(ours, **options), torch.optim.Muon(theirs, **options, nesterov=True, adjust_lr_fn="original")
    for _ in range(num_steps):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator, dtype=torch.float64)
            b.grad = a.grad.clone()
        mine.step()
        golden.step()
    return ours, theirs, starts


def test_everything_around_the_orthogonal_step_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum, look-ahead, decay and the rate of tall matrices, to the last digits."""
    monkeypatch.setattr(
        torch.optim._muon, "_zeropower_via_newtonschulz", lambda grad, *_: orthogonalized(grad[None])[0]
    )
    for a, b, start in zip(*step_both(4), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        assert (a - start).norm() > 1


def test_the_orthogonal_step_in_bfloat16_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "multiplies_bfloat16", lambda _: True)
    for a, b, start in zip(*step_both(1), strict=True):
        assert (a - b).norm() / (b - start).norm() < 0.02


def test_matrices_together_equal_matrices_alone() -> None:
    ours, _, _ = step_both(3)
    generator = torch.Generator().manual_seed(0)
    alone = [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in SHAPES]
    steps = [Muon([parameter], 0.1, 0.9, 0.2) for parameter in alone]
    for _ in range(3):
        for parameter, optimizer in zip(alone, steps, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            optimizer.step()
    for a, b in zip(ours, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_matrix_without_a_gradient_stays() -> None:
    moved, kept = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    optimizer = Muon([moved, kept], 0.1, 0.9, 0.2)
    moved.grad = torch.eye(4)
    optimizer.step()
    assert torch.equal(kept, torch.ones(4, 4))
    assert not torch.equal(moved, torch.ones(4, 4))
    moved.grad = None
    optimizer.step()


def test_a_zero_gradient_gives_no_nan() -> None:
    assert torch.equal(orthogonalized(torch.zeros(1, 4, 6)), torch.zeros(1, 4, 6))
