"""Scales of groups of weights, searched so that the weighted error of rounding is least."""

from __future__ import annotations

import torch
from torch import Tensor

from gptsmith.model.kernels.block_rounding import Grid, inverse

STEPS = 9
"""Candidates on each side of the scale that just holds the largest weight, a tenth of an integer apart."""
RANGES = 21
"""Candidates for the range of a group with a minimum, from half an integer less than the whole to one more."""
GROUPS_AT_ONCE = 1 << 12
"""So many stay in a processor's cache."""


def searched_scales(weights: Tensor, importance: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scales and offsets (N, 1) under which the sum of `importance` times the squared error of each group is least,
    as far as some candidates for the scale and least squares for each tell. They are float16's numbers, in float32.

    Args:
        weights: (N, weights of a group).
        importance: how much the error of each weight counts (N or 1, weights of a group); none is negative.
    """
    importance = importance.expand_as(weights)
    search = _around_zero if grid.zero is not None else _from_minimum
    some = zip(torch.split(weights, GROUPS_AT_ONCE), torch.split(importance, GROUPS_AT_ONCE), strict=True)
    parts = [search(*each, grid) for each in some]
    scale, offset = (torch.cat(each).half().float() for each in zip(*parts, strict=True))
    return scale, grid.offset(scale, offset)


def _around_zero(weights: Tensor, importance: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scales whose largest weight by size gets the least integer, more or less, and then fit by least squares."""
    assert grid.zero is not None
    low, high = grid.least - grid.zero, grid.most - grid.zero
    largest = weights.gather(1, weights.abs().argmax(dim=1, keepdim=True))
    weighted = importance * weights
    best = torch.full_like(largest, -1.0)
    scale = torch.zeros_like(largest)
    for step in range(-STEPS, STEPS + 1):
        integers = (weights * inverse(largest / (low - 0.1 * step))).round_().clamp_(low, high)
        product = (weighted * integers).sum(dim=1, keepdim=True)
        square = (importance * integers.square_()).sum(dim=1, keepdim=True)
        fit = product * inverse(square)
        gain = product * fit  # the error is what it was without these weights, less this
        better = gain > best
        best, scale = torch.where(better, gain, best), torch.where(better, fit, scale)
    return scale, scale


def _from_minimum(weights: Tensor, importance: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scales of ranges from the smallest weight, more or less, and then both by least squares."""
    smallest = weights.amin(dim=1, keepdim=True)
    span = weights.amax(dim=1, keepdim=True) - smallest
    weighted = importance * weights
    total, first = importance.sum(dim=1, keepdim=True), weighted.sum(dim=1, keepdim=True)
    energy = (weighted * weights).sum(dim=1, keepdim=True)
    scale, offset = span / grid.most, smallest
    least = torch.full_like(span, torch.inf)
    for step in range(RANGES):
        width = grid.most - 0.5 + 1.5 * step / (RANGES - 1)
        integers = ((weights - smallest) * inverse(span / width)).round_().clamp_(grid.least, grid.most)
        shares = importance * integers
        one = shares.sum(dim=1, keepdim=True)
        two = shares.mul_(integers).sum(dim=1, keepdim=True)
        product = (weighted * integers).sum(dim=1, keepdim=True)
        determinant = total * two - one.square()
        fit = (total * product - one * first) * inverse(determinant)
        low = (two * first - one * product) * inverse(determinant)
        error = torch.where(determinant > 0, energy - fit * product - low * first, torch.inf)
        better = error < least
        least = torch.where(better, error, least)
        scale, offset = torch.where(better, fit, scale), torch.where(better, low, offset)
    return scale, offset
