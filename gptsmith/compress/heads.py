"""How far what each attention head finds has moved in a smaller model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from gptsmith.model.gpt import GPT
from gptsmith.model.taps import record, tapped

HEADS = "blocks.{}.attention.heads"


@torch.inference_mode()
def head_changes(
    before: GPT, after: GPT, layers: Sequence[int], windows: Iterable[tuple[Tensor, Tensor]]
) -> list[list[float]]:
    """The size of the difference of what each head finds, as a share of the size of what it found before (L, H), for
    the layers of `after`. What earlier layers changed is part of it.

    Args:
        layers: the layer of `before` that each layer of `after` was.
        windows: input ids (B, T), at least one, and which of the positions count (B, T).
    """
    moved, sizes = torch.zeros(2, len(layers), after.config.num_heads, dtype=torch.float64)
    for input_ids, counts in windows:
        found = record(before, input_ids, [HEADS.format(layer) for layer in layers])

        def compare(number: int, now: Tensor, was: dict[str, Tensor] = found, counts: Tensor = counts) -> None:
            old = was.pop(HEADS.format(layers[number]))
            moved[number] += _squares(now - old, counts)
            sizes[number] += _squares(old, counts)

        with tapped(after, {HEADS.format(n): partial(compare, n) for n in range(len(layers))}) as watched:
            watched.hidden(input_ids)
    shares: list[list[float]] = (moved / sizes.clamp(min=torch.finfo(torch.float64).tiny)).sqrt().tolist()
    return shares


def _squares(heads: Tensor, counts: Tensor) -> Tensor:
    """The sum of squares (H) of vectors (B, H, T, D) at the positions that count (B, T)."""
    return heads.transpose(1, 2)[counts].double().square().sum(dim=(0, 2)).cpu()
