"""GPTQ (Frantar et al. 2022): matrices rounded column by column, each error made good by the columns to come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.compress.forms import in_forms
from gptsmith.compress.moments import Moments
from gptsmith.compress.scales import searched_scales
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import BlockFormat, Groups
from gptsmith.model.kernels.block_rounding import GRIDS, Grid, inverse, pack_groups, require_fitting
from gptsmith.model.linear import linear_layers
from gptsmith.model.linear.grouped import Grouped

DAMPING = 0.01
"""Of the mean diagonal of the moments, added to it."""


@torch.no_grad()
def gptq_model(model: GPT, forms: Mapping[str, str], moments: Iterable[Moments]) -> GPT:
    """A model with its matrices in block formats, so rounded that their products with a text's inputs change least.

    Args:
        model: a dense model.
        forms: the format of the matrix at each place; others stay. A tied head is the embedding, which is
            rounded for what it does as the head. Another embedding's rows are rounded each for itself.
        moments: those of the text, as `input_moments` finds them.

    Raises:
        UserError: a format cannot hold a matrix, or an input is not finite.
    """
    made = in_forms(model, forms)
    there, tied = linear_layers(model), model.config.tie_embeddings
    with meter("rounding", len(there)) as bar:
        num_done = 0
        for some in moments:
            holders = {place: made.get_submodule("embedding" if tied and place == "head" else place) for place in some}
            blocks = {place: holder for place, holder in holders.items() if isinstance(holder, Grouped)}
            for places in _of_the_same_inputs(some, blocks):
                form, weights = blocks[places[0]].form, [there[place].matrix() for place in places]
                rows = pack_groups(gptq(torch.cat(weights), some[places[0]], form), form)
                for place, part in zip(places, torch.split(rows, [len(weight) for weight in weights]), strict=True):
                    blocks[place].weight.copy_(part)
            bar.update(num_done := num_done + len(some))
    if isinstance(made.embedding, Grouped) and not tied:
        form = made.embedding.form
        made.embedding.weight.copy_(pack_groups(searched(model.embedding.matrix(), form), form))
    return made


def _of_the_same_inputs(moments: Moments, blocks: Mapping[str, Grouped]) -> Iterable[list[str]]:
    """The places that share their moments and their format: rows are rounded each for itself, so that these are rounded
    as one matrix."""
    places: dict[tuple[int | str, str], list[str]] = {}
    for place, holder in blocks.items():
        inputs = place if moments[place] is None else id(moments[place])
        places.setdefault((inputs, holder.form.name), []).append(place)
    return places.values()


def searched(weight: Tensor, form: BlockFormat, importance: Tensor | None = None) -> Groups:
    """The groups (out, G, 32) of a format nearest to a matrix (out, in), under searched scales.

    Args:
        importance: how much an error in each column counts (in); all the same if None.

    Raises:
        UserError: the format cannot hold the matrix.
    """
    require_fitting(weight, form)
    grid, (out_dim, in_dim) = GRIDS[form.name], weight.shape
    by_group = weight.float().reshape(-1, form.group_size)
    share = weight.new_ones(in_dim) if importance is None else importance
    share = share.view(1, -1, form.group_size).expand(out_dim, -1, -1).reshape(by_group.shape)
    scale, offset = searched_scales(by_group, share, grid)
    integers = grid.nearest_integers(by_group, scale, offset).to(torch.uint8)
    lead = out_dim, in_dim // form.group_size
    return Groups(integers.view(*lead, -1), scale.view(lead), offset.view(lead))


@torch.no_grad()
def gptq(weight: Tensor, moments: Tensor | None, form: BlockFormat) -> Groups:
    """The groups (out, G, 32) of a format whose products with inputs are close to those of a matrix (out, in).

    Groups whose inputs are largest are rounded first, and so are their columns: they have most columns left to make
    good their errors. The scales of a group are searched when its first column comes.

    Args:
        moments: X'X (in, in) of the inputs X (N, in); None if there were none.

    Raises:
        UserError: the format cannot hold the matrix, or the moments are not finite.
    """
    if moments is None:
        return searched(weight, form)
    require_fitting(weight, form)
    grid, size = GRIDS[form.name], form.group_size
    order, root = ordered_root(moments, size)
    factor = torch.linalg.solve_triangular(root, torch.eye(len(root), dtype=root.dtype).to(root), upper=True).float()
    left = weight.float().T[order]  # (in, out): what the columns that are not rounded yet should become
    integers = torch.empty(left.shape, dtype=torch.uint8, device=left.device)
    scales, offsets = [], []
    for start in range(0, len(order), size):
        group = slice(start, start + size)
        own, columns = factor[group, group], left[group]
        found = searched_scales(columns.T.contiguous(), own.diagonal().square().reciprocal(), grid)
        scale, offset = (each[:, 0] for each in found)  # (out)
        integers[group], errors = _rounded_in_turn(columns, own, scale, offset, grid)
        left[start + size :].addmm_(factor[group, start + size :].T, errors, alpha=-1)
        scales.append(scale)
        offsets.append(offset)
    places = (order[::size] // size).argsort()
    return Groups(
        integers[order.argsort()].T.reshape(len(weight), -1, size),
        torch.stack(scales, dim=1)[:, places],
        torch.stack(offsets, dim=1)[:, places],
    )


def _rounded_in_turn(
    columns: Tensor, factor: Tensor, scale: Tensor, offset: Tensor, grid: Grid
) -> tuple[Tensor, Tensor]:
    """The integers, uint8, of the columns of a group, and their errors (size, out), each divided by its place on the
    diagonal. The columns, one in each row (size, out), make good the errors of those before.

    Args:
        factor: their part (size, size) of the Cholesky factor.
        scale: of each output (out), and so `offset`.
    """
    integers, errors = torch.empty_like(columns, dtype=torch.uint8), torch.empty_like(columns)
    steps, diagonal = inverse(scale), factor.diagonal().tolist()
    for number, column in enumerate(columns):
        chosen = (column - offset).mul_(steps).round_().clamp_(grid.least, grid.most)
        integers[number] = chosen
        errors[number] = column.sub(chosen.mul_(scale).add_(offset)).div_(diagonal[number])
        columns[number + 1 :].addr_(factor[number, number + 1 :], errors[number], alpha=-1)
    return integers, errors


def ordered_root(moments: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """The order (in) in which columns are rounded, whole groups and those with the largest inputs first; and the upper
    root R (in, in) of the damped moments RR' in this order, float64. Its inverse is the Cholesky factor of theirs.

    Raises:
        UserError: the moments are not finite.
    """
    by_group = moments.diagonal().view(-1, group_size)  # (G, group_size)
    groups = by_group.sum(dim=1).argsort(descending=True, stable=True)
    within = by_group.argsort(dim=1, descending=True, stable=True)
    order = (groups[:, None] * group_size + within[groups]).flatten()
    damped = moments[order][:, order].double()
    mean = damped.diagonal().mean()
    if not bool(mean.isfinite()):
        raise UserError("a layer's inputs are not finite on the calibration text, so that it cannot be calibrated")
    damped.diagonal().add_(DAMPING * mean if mean > 0 else 1.0)
    return order, torch.linalg.cholesky(damped.flip(0, 1)).flip(0, 1)
