"""The (epsilon, delta) of training with noise: the privacy loss distribution of the Poisson-sampled Gaussian mechanism,
composed over the steps.

Every rounding goes to the safe side: the epsilon that comes out is never below the true one. See Meiser and Mohammadi
2018 for the distribution, Doroshenko et al. 2022 for a grid that costs almost nothing, Koskela et al. 2020 for the FFT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

SPACING, MOST_CELLS = 1e-4, 1 << 19
"""Of the grid of a step's privacy losses, in nats: finer where units are sampled so seldom that losses are as small,
coarser where the losses reach far."""
PRECISION = 1e-3
"""Of a noise multiplier that is looked for."""
TAIL_DEVIATIONS = 9.0
"""A Gaussian's mass further out than so many standard deviations, 1e-19, counts as lost to the adversary."""
TAIL_MASS = 1e-15
"""The mass of the composed distribution that may be left out at each end; it counts as lost, too."""
LEAST_NOISE = 0.05
"""Less noise than that is taken for none."""


@dataclass(frozen=True)
class Losses:
    """Privacy losses ln(P/Q) and their masses under P: `masses[i]` at `(first + i) * spacing`, and the rest at
    infinity."""

    first: int
    masses: Tensor
    infinite: float
    spacing: float

    def epsilon(self, delta: float) -> float:
        """The least epsilon >= 0 with E[(1 - exp(epsilon - loss))+] <= delta; infinite if there is none."""
        if self.infinite >= delta:
            return math.inf
        losses = (self.first + torch.arange(len(self.masses), dtype=torch.float64)) * self.spacing
        above = self.masses.flip(0).cumsum(0).flip(0)
        weighted = (self.masses * torch.exp(-losses)).flip(0).cumsum(0).flip(0)
        deltas = self.infinite + above - torch.exp(losses) * weighted  # at each loss of the grid, falling
        enough = int((deltas > delta).sum())
        if enough == len(losses):
            return math.inf
        found = math.log(max(float(above[enough]) + self.infinite - delta, 1e-300) / float(weighted[enough]))
        return max(found, 0.0)


@cache
def epsilon(noise_multiplier: float, sampling_rate: float, num_steps: int, delta: float) -> float:
    """The epsilon of so many steps for adding or removing one unit.

    Args:
        noise_multiplier: the noise's standard deviation over the most that one unit can move the sum.
        sampling_rate: the probability with which each unit is in a step.
    """
    if num_steps == 0:
        return 0.0
    if noise_multiplier < LEAST_NOISE:
        return math.inf
    ways = (True, False) if sampling_rate < 1 else (True,)  # without sampling, adding and removing are mirror images
    steps = (step_losses(noise_multiplier, sampling_rate, removes=removes) for removes in ways)
    return max(composed(losses, num_steps).epsilon(delta) for losses in steps)


def noise_multiplier_for(target: float, sampling_rate: float, num_steps: int, delta: float) -> float:
    """The least noise multiplier, but for a thousandth, with which so many steps stay at or below an epsilon."""

    def spent(noise: float) -> float:
        return epsilon(noise, sampling_rate, num_steps, delta)

    low = high = 1.0
    while spent(high) > target:
        low, high = high, 2 * high
    while spent(low) <= target:
        low, high = low / 2, low
    while high > low * (1 + PRECISION):
        # Epsilon is about a power of the noise: the next guesses lie on either side of where that meets the target.
        share = 0.5
        if math.isfinite(spent(low)) and spent(high) > 0:
            share = math.log(spent(low) / target) / math.log(spent(low) / spent(high))
        guess = low * (high / low) ** min(max(share, 0.02), 0.98)
        for noise in (guess / (1 + PRECISION / 3), guess * (1 + PRECISION / 3)):
            if low < noise < high:
                low, high = (low, noise) if spent(noise) <= target else (noise, high)
    return high


def step_losses(noise: float, rate: float, *, removes: bool) -> Losses:
    """The losses of one step, from P = (1 - q) N(0, s^2) + q N(1, s^2) to Q = N(0, s^2) if a unit is removed, from Q to
    P if it is added.

    The mass between two losses of the grid is shared between them so that its probabilities under both P and Q stay:
    that makes the two distributions easier to tell apart, never harder.
    """
    ends = torch.tensor([-TAIL_DEVIATIONS * noise, 1 + TAIL_DEVIATIONS * noise], dtype=torch.float64)
    lowest, highest = sorted(_loss(ends, noise, rate, removes=removes).tolist())
    spacing = max(min(SPACING, rate / 10), (highest - lowest) / MOST_CELLS)
    first, last = math.floor(lowest / spacing), math.ceil(highest / spacing)
    grid = torch.arange(first, last + 1, dtype=torch.float64) * spacing
    places = _place(grid, noise, rate, removes=removes)
    of_plain, shifted = _masses(places / noise), _masses((places - (1 if removes else -1)) / noise)
    of_mixture = (1 - rate) * of_plain + rate * shifted
    p, q = (of_mixture, of_plain) if removes else (of_plain, of_mixture)
    # p and q have a mass below the grid, one per cell, and one above.
    upper = ((p[1:-1] - torch.exp(grid[:-1]) * q[1:-1]) / -math.expm1(-spacing)).clamp(min=0).minimum(p[1:-1])
    masses = torch.zeros_like(grid)
    masses[0] = p[0]
    masses[:-1] += p[1:-1] - upper
    masses[1:] += upper
    return Losses(first, masses, float(p[-1]), spacing)


def composed(losses: Losses, num_steps: int) -> Losses:
    """The losses of so many independent steps together, by the FFT on a ring that holds all but `TAIL_MASS` of them at
    either end (Chernoff's bound)."""
    grid = (losses.first + torch.arange(len(losses.masses), dtype=torch.float64)) * losses.spacing
    highest, lowest = (_chernoff(losses.masses, sign * grid, num_steps) * sign for sign in (1, -1))
    first, last = math.floor(lowest / losses.spacing), math.ceil(highest / losses.spacing)
    size = 1 << (last - first + 1).bit_length()
    ring = torch.zeros(size, dtype=torch.float64)
    ring.index_add_(0, (losses.first + torch.arange(len(losses.masses))) % size, losses.masses)
    together = torch.fft.irfft(torch.fft.rfft(ring) ** num_steps, n=size).clamp(min=0)
    masses = together[(first + torch.arange(last - first + 1)) % size]
    lost = -math.expm1(num_steps * math.log1p(-losses.infinite)) + 2 * TAIL_MASS
    return Losses(first, masses, lost, losses.spacing)


def _chernoff(masses: Tensor, losses: Tensor, num_steps: int) -> float:
    """A number that the sum of so many losses exceeds with a probability of at most `TAIL_MASS`."""
    slopes = torch.logspace(-3, 3, 61, dtype=torch.float64).tolist()
    kept = masses > 0
    logs, values = masses[kept].log(), losses[kept]
    least = min(
        (num_steps * float(torch.logsumexp(logs + slope * values, 0)) - math.log(TAIL_MASS)) / slope for slope in slopes
    )
    return min(least, num_steps * float(values.max()))


def _loss(places: Tensor, noise: float, rate: float, *, removes: bool) -> Tensor:
    """ln(P/Q) at places of the noisy sum."""
    exponent = (2 * places - 1) / (2 * noise**2)
    inside = torch.tensor(math.log1p(-rate) if rate < 1 else -math.inf, dtype=torch.float64)
    loss = torch.logaddexp(inside, math.log(rate) + exponent)
    return loss if removes else -loss


def _place(losses: Tensor, noise: float, rate: float, *, removes: bool) -> Tensor:
    """Where the loss has these values, and infinity where it has none. Where a unit is added, the line is mirrored, so
    that losses rise along it there too."""
    wanted = losses if removes else -losses
    over = (torch.expm1(wanted) + rate) / rate  # (e^loss - (1 - q)) / q
    places = noise**2 * over.clamp(min=0).log() + 0.5
    return places if removes else -places


def _masses(places: Tensor) -> Tensor:
    """The masses of a standard Gaussian below the first of sorted places, between them, and above the last: exact in
    both tails."""
    below, above = torch.special.ndtr(places), torch.special.ndtr(-places)
    between = torch.where(places[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return torch.cat([below[:1], between, above[-1:]]).clamp(min=0)
