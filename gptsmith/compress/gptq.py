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
from gptsmith.model.kernels.block_rounding import GRIDS, pack_groups, require_fitting
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
        for number, (place, found) in enumerate((each for some in moments for each in some.items()), 1):
            holder = made.get_submodule("embedding" if tied and place == "head" else place)
            if isinstance(holder, Grouped):
                holder.weight.copy_(pack_groups(gptq(there[place].matrix(), found, holder.form), holder.form))
            bar.update(number)
    if isinstance(made.embedding, Grouped) and not tied:
        form = made.embedding.form
        made.embedding.weight.copy_(pack_groups(searched(model.embedding.matrix(), form), form))
    return made


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
    left = weight.float()[:, order]  # what the columns that are not rounded yet should become
    integers = torch.empty(left.shape, dtype=torch.uint8, device=left.device)
    scales, offsets = [], []
    for start in range(0, len(order), size):
        group = slice(start, start + size)
        own, columns = factor[group, group], left[:, group].contiguous()
        scale, offset = searched_scales(columns, own.diagonal().square().reciprocal(), grid)
        errors = torch.empty_like(columns)
        for column in range(size):
            wanted = columns[:, column : column + 1]
            chosen = grid.nearest_integers(wanted, scale, offset)
            error = (wanted - (chosen * scale + offset)) / own[column, column]
            integers[:, start + column], errors[:, column] = chosen[:, 0].to(torch.uint8), error[:, 0]
            columns[:, column + 1 :] -= error * own[column, column + 1 :]
        left[:, start + size :] -= errors @ factor[group, start + size :]
        scales.append(scale)
        offsets.append(offset)
    places = (order[::size] // size).argsort()
    return Groups(
        integers[:, order.argsort()].view(len(weight), -1, size),
        torch.cat(scales, dim=1)[:, places],
        torch.cat(offsets, dim=1)[:, places],
    )


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
