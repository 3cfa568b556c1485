"""The epsilon of noisy steps: numbers that others have computed, and the Gaussian mechanism that has an equation."""

from __future__ import annotations

import math

import pytest
import torch

from gptsmith.train.private.accountant import composed, epsilon, noise_multiplier_for, step_losses

OF_DP_ACCOUNTING = [
    (1.0, 0.01, 1000, 1e-5, 1.8282436455855091),
    (1.1, 256 / 60_000, 14_062, 1e-5, 2.381686002234784),
    (0.7, 0.05, 200, 1e-6, 12.11709903386505),
    (20.0, 0.2, 2000, 1e-5, 1.7641123288293663),
]
"""Noise multiplier, sampling rate, steps, delta, and the epsilon of the PLD accountant of dp-accounting 0.6.0."""


@pytest.mark.parametrize(("noise", "rate", "num_steps", "delta", "expected"), OF_DP_ACCOUNTING)
def test_epsilon_is_that_of_dp_accounting(
    noise: float, rate: float, num_steps: int, delta: float, expected: float
) -> None:
    assert epsilon(noise, rate, num_steps, delta) == pytest.approx(expected, rel=1e-6)


def gaussian_delta(mu: float, bound: float) -> float:
    """The delta of the Gaussian mechanism (Balle and Wang 2018, theorem 8)."""

    def below(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return below(mu / 2 - bound / mu) - math.exp(bound) * below(-mu / 2 - bound / mu)


@pytest.mark.parametrize(("noise", "num_steps", "known"), [(1.0, 1, 4.3772), (1.0, 100, 91.8173), (5.0, 100, 9.9973)])
def test_without_sampling_it_is_that_of_one_gaussian(noise: float, num_steps: int, known: float) -> None:
    found = epsilon(noise, 1.0, num_steps, 1e-5)
    assert found == pytest.approx(known, abs=5e-5)
    assert gaussian_delta(math.sqrt(num_steps) / noise, found) == pytest.approx(1e-5, rel=2e-3)


@pytest.mark.parametrize("removes", [True, False])
def test_no_epsilon_is_below_that_of_the_exact_curve_of_one_step(removes: bool) -> None:
    noise, rate = 0.8, 0.3
    losses = step_losses(noise, rate, removes=removes)
    assert float(losses.masses.sum()) + losses.infinite == pytest.approx(1.0, abs=1e-12)
    x = torch.linspace(-12, 13, 2_000_001, dtype=torch.float64)
    plain = torch.exp(-((x / noise) ** 2) / 2) / (noise * math.sqrt(2 * math.pi))
    mixed = (1 - rate) * plain + rate * torch.exp(-(((x - 1) / noise) ** 2) / 2) / (noise * math.sqrt(2 * math.pi))
    p, q = (mixed, plain) if removes else (plain, mixed)
    for bound in (0.1, 0.3):
        exact = float(torch.trapezoid((p - math.exp(bound) * q).clamp(min=0), x))
        if exact > 1e-6:
            assert losses.epsilon(exact) == pytest.approx(bound, abs=1e-6)
            assert losses.epsilon(exact) >= bound - 1e-9


def test_steps_add_up_as_a_plain_convolution_adds_them() -> None:
    losses = step_losses(3.0, 0.5, removes=True)
    twice = composed(losses, 2)
    mean = sum(losses.masses * (losses.first + torch.arange(len(losses.masses)))) * losses.spacing
    of_both = sum(twice.masses * (twice.first + torch.arange(len(twice.masses)))) * twice.spacing
    assert float(of_both) == pytest.approx(2 * float(mean), rel=1e-6)


def test_less_noise_more_steps_and_more_sampling_spend_more() -> None:
    usual = epsilon(1.0, 0.1, 50, 1e-5)
    assert usual < min(epsilon(0.9, 0.1, 50, 1e-5), epsilon(1.0, 0.12, 50, 1e-5), epsilon(1.0, 0.1, 60, 1e-5))
    assert epsilon(1.0, 0.1, 0, 1e-5) == 0
    assert epsilon(0.0, 0.1, 1, 1e-5) == math.inf


@pytest.mark.parametrize(("target", "rate", "num_steps"), [(3.0, 0.1, 100), (0.5, 0.02, 50), (1.0, 1.0, 20)])
def test_the_noise_for_an_epsilon_suffices_and_is_the_least(target: float, rate: float, num_steps: int) -> None:
    noise = noise_multiplier_for(target, rate, num_steps, 1e-5)
    assert epsilon(noise, rate, num_steps, 1e-5) <= target
    assert epsilon(noise / 1.002, rate, num_steps, 1e-5) > target
