"""Muon against PyTorch's own, each in the other's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptsmith.train.optimizers import muon
from gptsmith.train.optimizers.muon import QUINTICS, Muon, orthogonalized

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


@pytest.mark.parametrize("shape", [(3, 12, 30), (3, 30, 12), (2, 16, 16)])
def test_an_orthogonal_step_applies_the_quintics_to_the_singular_values(shape: tuple[int, ...]) -> None:
    """The plain twin: one quintic after the other, of values below the fourth root of the norm of (X X')^2."""
    matrices = 1e-3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    values = values / (1.01 * (values**8).sum(dim=1, keepdim=True) ** (1 / 8))
    for a, b, c in QUINTICS:
        values = a * values + b * values**3 + c * values**5
    expected = left @ torch.diag_embed(values) @ right
    torch.testing.assert_close(orthogonalized(matrices), expected, rtol=0, atol=1e-10)


def test_the_quintics_bring_singular_values_near_one() -> None:
    x = torch.cat((torch.logspace(-2, 0, 2000), torch.linspace(0.01, 1, 2000))).double()
    for a, b, c in QUINTICS:
        x = a * x + b * x**3 + c * x**5
    assert x.min() > 0.72
    assert x.max() < 1.28


def test_an_orthogonal_step_in_bfloat16_is_that_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "is_bfloat16_faster", lambda _: True)
    matrices = torch.randn(4, 48, 120, generator=torch.Generator().manual_seed(0))
    exact = orthogonalized(matrices.double())
    assert 0.001 < (orthogonalized(matrices) - exact).norm() / exact.norm() < 0.1


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
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        zeros = torch.zeros(1, 4, 6, dtype=dtype)
        assert torch.equal(orthogonalized(zeros), zeros)


def test_a_gradient_that_is_almost_zero_is_made_orthogonal() -> None:
    matrices = 1e-20 * torch.randn(1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert orthogonalized(matrices).isfinite().all()
