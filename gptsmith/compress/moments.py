"""What a text makes of the layers of a model: the moments of their inputs, and how much each output matters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gptsmith.model.gpt import GPT
from gptsmith.model.linear import linear_layers
from gptsmith.model.shared_copy import shared_copy

Moments = dict[str, Tensor | None]
"""X'X (in, in) of the inputs X of linear layers, by place; None of a layer that had none, such as an expert that no
token was sent to. Layers that have the same input share a tensor."""
PRODUCT_ROWS = 256
"""A symmetric product is computed by so many rows, from the diagonal on: nearly half of it is not."""


@torch.no_grad()
def input_moments(model: GPT, windows: Sequence[Tensor]) -> Iterator[Moments]:
    """The moments that a text makes: those of one block after the other, then the head's. No more than those of a block
    are kept at a time.

    Args:
        windows: input ids (B, T).
    """
    states = [model.first_state(input_ids) for input_ids in windows]
    for number, block in enumerate(model.blocks):
        watched = shared_copy(block)
        moments = _watch_inputs(watched)
        states = [(watched(x, positions, None), positions) for x, positions in states]
        for total in {id(each): each for each in moments.values()}.values():
            _mirror(total)
        yield {f"blocks.{number}.{place}": moments.get(place) for place in linear_layers(block)}
    total = states[0][0].new_zeros(2 * [model.config.embed_dim])
    for x, _ in states:
        _add_product(total, model.finished(x).flatten(0, 1))
    _mirror(total)
    yield {"head": total}


def _add_product(total: Tensor, rows: Tensor) -> None:
    """Adds X'X of some rows X (N, in) to a sum (in, in), but for a part below the diagonal: `_mirror` completes it."""
    for start in range(0, len(total), PRODUCT_ROWS):
        some = rows[:, start : start + PRODUCT_ROWS]
        total[start : start + PRODUCT_ROWS, start:].addmm_(some.T, rows[:, start:])


def _mirror(total: Tensor) -> None:
    """Completes a symmetric matrix, whose upper half is there."""
    total.triu_().add_(total.triu(1).T)


def _watch_inputs(block: nn.Module) -> dict[str, Tensor]:
    """The moments (in, in) of the inputs that the block's linear layers get from now on, their upper half: there once
    they get some."""
    moments: dict[str, Tensor] = {}
    fed_by: dict[str, str] = {}
    """The first layer with the same input."""
    last: tuple[Tensor | None, str] = (None, "")

    def watch(place: str, x: Tensor) -> None:
        nonlocal last
        if x is last[0] and fed_by.setdefault(place, last[1]) == last[1]:
            moments[place] = moments[last[1]]
            return
        last, fed_by[place] = (x, place), place
        if place not in moments:
            moments[place] = x.new_zeros(x.shape[-1], x.shape[-1])
        _add_product(moments[place], x.flatten(0, -2))

    for place, layer in linear_layers(block).items():
        layer.register_forward_pre_hook(lambda _, given, place=place: watch(place, given[0]))
    return moments


@torch.enable_grad()
def output_curvature(model: GPT, windows: Sequence[Tensor], *, seed: int = 0) -> dict[str, Tensor]:
    """How fast the divergence of a model's predictions from what they were grows with the square of an error in each
    output (out) of its linear layers, by place, and in each coordinate of its embedding: the mean over tokens of the
    squared gradient of -ln p(y), where y is drawn from the predictions themselves (the diagonal of Fisher's
    information, whose half is that of the divergence).

    Args:
        windows: input ids (B, T).
    """
    sums: dict[str, Tensor] = {}
    generator = torch.Generator(model.device).manual_seed(seed)
    embedded: list[Tensor] = []

    def start(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        embedded[:] = [output.detach().requires_grad_()]
        return embedded[0]

    def add(place: str, gradient: Tensor) -> None:
        squares = gradient.detach().flatten(0, -2).square().sum(dim=0)
        sums[place] = sums[place] + squares if place in sums else squares

    def watch(place: str, output: Tensor) -> None:
        output.register_hook(lambda gradient: add(place, gradient))  # type: ignore[no-untyped-call]

    watched = shared_copy(model)
    watched.embedding.register_forward_hook(start)
    for place, layer in linear_layers(watched).items():
        layer.register_forward_hook(lambda _, __, output, place=place: watch(place, output))
    for input_ids in windows:
        logits = watched(input_ids).flatten(0, 1)  # (N, V)
        with torch.no_grad():
            noise = torch.empty_like(logits).exponential_(generator=generator)
            drawn = (logits.softmax(dim=1) / noise).argmax(dim=1)
        loss = nn.functional.cross_entropy(logits, drawn, reduction="sum")
        add("embedding", torch.autograd.grad(loss, embedded[0])[0])
    num_tokens = sum(input_ids.numel() for input_ids in windows)
    return {place: total / num_tokens for place, total in sums.items()}
