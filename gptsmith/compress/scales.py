"""Scales of groups of weights, searched so that the weighted error of rounding is least."""

from __future__ import annotations

import torch
from torch import Tensor

from gptsmith.model.kernels.block_rounding import Grid, inverse

STEPS = 9
"""Candidates on each side of the scale that just holds the largest weight, a tenth of an integer apart."""
RANGES = 21
"""Candidates for the range of a group with a minimum, from half an integer less than the whole to one more."""
GROUPS_AT_ONCE = 1 << 11
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
    ends = torch.linspace(low - 0.1 * STEPS, low + 0.1 * STEPS, 2 * STEPS + 1).to(weights)
    integers = _integers(weights, ends * inverse(largest), low, high)
    product = _sums(integers, importance * weights)
    fit = product * inverse(_sums(integers.square_(), importance))
    gain = (product * fit).nan_to_num(-1.0)  # the error is what it was without these weights, less this
    most, chosen = gain.max(dim=1, keepdim=True)
    scale = torch.where(most >= 0, fit.gather(1, chosen), 0.0)
    return scale, scale


def _from_minimum(weights: Tensor, importance: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Scales of ranges from the smallest weight, more or less, and then both by least squares."""
    smallest = weights.amin(dim=1, keepdim=True)
    above = weights - smallest
    span = above.amax(dim=1, keepdim=True)
    weighted = importance * above
    total, first = importance.sum(dim=1, keepdim=True), weighted.sum(dim=1, keepdim=True)
    ends = torch.linspace(grid.most - 0.5, grid.most + 1.0, RANGES).to(weights)
    integers = _integers(above, ends * inverse(span), grid.least, grid.most)
    one, product = _sums(integers, importance), _sums(integers, weighted)
    two = _sums(integers.square_(), importance)
    determinant = total * two - one.square()
    fit = (total * product - one * first) * inverse(determinant)
    low = (two * first - one * product) * inverse(determinant)
    gain = torch.where(determinant > 0, fit * product + low * first, -torch.inf)
    most, chosen = gain.max(dim=1, keepdim=True)
    scale, offset = (each.gather(1, chosen) for each in (fit, low))
    is_found = most > -torch.inf
    return torch.where(is_found, scale, span / grid.most), smallest + torch.where(is_found, offset, 0.0)


def _integers(weights: Tensor, factors: Tensor, low: float, high: float) -> Tensor:
    """The nearest integers (N, candidates, weights of a group) of weights times factors (N, candidates)."""
    return (weights[:, None] * factors[:, :, None]).round_().clamp_(low, high)


def _sums(integers: Tensor, shares: Tensor) -> Tensor:
    """The sums (N, candidates) over the weights of a group of integers times shares (N, weights of a group)."""
    return torch.bmm(integers, shares[:, :, None])[:, :, 0]
