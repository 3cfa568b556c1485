"""Dropout drops the fraction that it names, each element for itself, and keeps the mean."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.model.kernels.dropout import Dropout

N = 200_000


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_fraction_is_dropped_and_the_others_make_up_for_it(fraction: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = Dropout(fraction)(torch.ones(N, dtype=dtype)).double()
    dropped = (found == 0).double().mean().item()
    assert abs(dropped - fraction) < 5 * math.sqrt(fraction * (1 - fraction) / N)
    (kept,) = found[found != 0].unique().tolist()
    assert kept == pytest.approx(1 / (1 - fraction), rel=4e-3 if dtype == torch.bfloat16 else 2e-4)


def test_nearly_all_can_be_dropped() -> None:
    found = Dropout(1 - 1e-7)(torch.ones(1_000))
    assert found.isfinite().all()
    assert (found == 0).sum() > 900


def test_elements_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(1)
    dropped = (Dropout(0.3)(torch.ones(N)) == 0).double() - 0.3
    for distance in (1, 2, 3, 4, 5, 8, 64):
        correlation = (dropped[distance:] * dropped[:-distance]).mean().item() / (0.3 * 0.7)
        assert abs(correlation) < 5 / math.sqrt(N)


def test_the_gradient_passes_where_the_value_did() -> None:
    torch.manual_seed(2)
    x = torch.randn(7, 5, 3, dtype=torch.float64, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


@given(st.lists(st.integers(0, 5), max_size=3), st.integers(0, 2**31))
def test_the_same_seed_drops_the_same(shape: list[int], seed: int) -> None:
    x, dropout = torch.ones(shape), Dropout(0.5)
    torch.manual_seed(seed)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(seed)
    assert first.shape == x.shape
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout(x), second)


def test_nothing_is_dropped_outside_of_training_or_without_a_fraction() -> None:
    x = torch.ones(100)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
