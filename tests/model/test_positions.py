"""Positions against their papers."""

from __future__ import annotations

import math

import torch

from gptsmith.model.position.alibi import alibi_slopes
from gptsmith.model.position.rotary import RotaryPosition
from gptsmith.model.position.sinusoidal import sinusoidal_encoding


def test_sinusoidal_equals_section_3_5() -> None:
    encoding = sinusoidal_encoding(torch.arange(50), 16)
    for p in range(50):
        for i in range(8):
            angle = p / 10000 ** (2 * i / 16)
            assert abs(encoding[p, 2 * i].item() - math.sin(angle)) < 1e-12
            assert abs(encoding[p, 2 * i + 1].item() - math.cos(angle)) < 1e-12


def test_alibi_slopes_are_the_papers() -> None:
    assert alibi_slopes(8) == [2**-n for n in range(1, 9)]
    twelve = alibi_slopes(12)
    assert twelve[:8] == alibi_slopes(8)
    assert twelve[8:] == [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]


def test_rotated_scores_depend_on_distance_only() -> None:
    rotary = RotaryPosition(16, 10_000.0)
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def score(query_at: int, key_at: int) -> float:
        turned_q = rotary.rotate(q, rotary.rotation(torch.tensor([query_at])), 0)
        turned_k = rotary.rotate(k, rotary.rotation(torch.tensor([key_at])), 0)
        return (turned_q @ turned_k.mT).item()

    assert abs(score(3, 1) - score(103, 101)) < 1e-4
    assert abs(score(3, 1) - score(3, 2)) > 1e-3
    assert abs(score(5, 5) - (q @ k.mT).item()) < 1e-4
