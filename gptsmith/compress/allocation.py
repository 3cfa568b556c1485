"""The format of each matrix, so that the expected error is least for the bytes that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from gptsmith.base.console import meter
from gptsmith.compress.gptq import ordered_root
from gptsmith.compress.moments import Moments, output_curvature
from gptsmith.model.gpt import GPT
from gptsmith.model.kernels.block_formats import FORMATS
from gptsmith.model.kernels.block_rounding import NEAREST
from gptsmith.model.linear import linear_layers

CURVATURE_TOKENS = 2048
"""A mean of squares needs fewer tokens than the moments of inputs, and a backward pass takes longer."""
Costs = Mapping[str, Mapping[str, float]]
"""The divergence, in nats per token, that rounding each matrix is expected to add, by place and format."""


def allocate(costs: Costs, sizes: Mapping[str, int], num_bytes: int) -> dict[str, str]:
    """The format of each matrix: those with the fewest bytes, then again and again the change that saves most of the
    error for each byte that it adds and that there is room for.

    Args:
        costs: by place and format; a matrix takes only formats that it has a cost in.
        sizes: the weights of each matrix.
        num_bytes: the bytes of all of them together.
    """
    smallest = FORMATS["q4_0"]
    chosen = dict.fromkeys(costs, smallest.name)
    room = num_bytes - sum(smallest.row_bytes(sizes[place]) for place in chosen)
    while True:
        best, gain, price = None, 0.0, 0
        for place, now in chosen.items():
            for form, cost in costs[place].items():
                added = FORMATS[form].row_bytes(sizes[place]) - FORMATS[now].row_bytes(sizes[place])
                if 0 < added <= room and (saved := (costs[place][now] - cost) / added) > gain:
                    best, gain, price = (place, form), saved, added
        if best is None:
            return chosen
        chosen[best[0]] = best[1]
        room -= price


@torch.no_grad()
def expected_costs(
    model: GPT, matrices: Mapping[str, Tensor], windows: Sequence[Tensor], moments: Iterable[Moments]
) -> Costs:
    """What rounding each of a model's matrices by GPTQ is expected to cost.

    Half the sum, over all outputs, of the curvature times the expected squared error of the output. Rounding errors are
    spread evenly over a scale, and what GPTQ leaves of a column's squared error is 1 / U_jj^2 times it.

    Args:
        matrices: those that may be rounded (out, in), by place; a tied head is the embedding.
        windows: input ids (B, T) of a text to calibrate with.
        moments: those of this text.
    """
    curvature = output_curvature(model, _some(windows, CURVATURE_TOKENS))
    num_tokens = sum(input_ids.numel() for input_ids in windows)
    costs: dict[str, dict[str, float]] = {}
    last, left = None, torch.empty(0)  # layers that share an input come one after the other
    with meter("weighing", len(linear_layers(model))) as bar:
        for number, (place, found) in enumerate((each for some in moments for each in some.items()), 1):
            matrix = matrices.get("embedding" if model.config.tie_embeddings and place == "head" else place)
            if matrix is not None and found is not None:
                if found is not last:
                    last, left = found, _left_by_gptq(found) / num_tokens
                costs[place] = _costs(matrix, curvature[place], left)
            bar.update(number)
    if (vectors := matrices.get("embedding")) is not None:
        counts = torch.bincount(torch.cat([ids.flatten() for ids in windows]), minlength=len(vectors))
        looked_up = _costs(vectors, counts / num_tokens, curvature["embedding"])
        of_head = costs.pop("head", {}) if model.config.tie_embeddings else {}
        costs["embedding"] = {form: cost + of_head.get(form, 0.0) for form, cost in looked_up.items()}
    return {place: costs.get(place, dict.fromkeys(NEAREST, 0.0)) for place in matrices}


def _costs(matrix: Tensor, by_row: Tensor, by_column: Tensor) -> dict[str, float]:
    """Half the sum of the expected squared error of each weight of a matrix (out, in), times what an error counts in
    its row (out) and in its column (in), by format."""
    found = {}
    for name, nearest in NEAREST.items():
        form = FORMATS[name]
        scale = nearest(matrix.float().reshape(-1, form.block_size))[1].view(len(matrix), -1)  # (out, G)
        shares = by_column.view(-1, form.group_size).sum(dim=1)
        found[name] = float(by_row @ (scale.square() @ shares) / 24)
    return found


def _left_by_gptq(moments: Tensor) -> Tensor:
    """The squared error of an output that a squared error of 1 in each column (in) leaves."""
    order, root = ordered_root(moments, 32)
    return root.diagonal().square().float()[order.argsort()]


def _some(windows: Sequence[Tensor], num_tokens: int) -> list[Tensor]:
    """Rows from all over the windows, one at a time, with about so many tokens."""
    rows = [row for window in windows for row in torch.split(window, 1)]
    step = max(1, len(rows) * rows[0].numel() // num_tokens)
    return rows[::step]
