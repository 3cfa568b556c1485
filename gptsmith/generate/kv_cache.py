"""The keys and values of many sequences, each in a slot of its own, and passes over segments of several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.model.config import GPTConfig
from gptsmith.model.kv_cache import empty_layers
from gptsmith.model.layout import Layout, Span, causal_mask


@dataclass(frozen=True)
class Segment:
    """Tokens that one pass reads of one sequence: those at the positions from `start` on."""

    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


class SlotCache:
    """Room for `num_slots` sequences of up to `capacity` tokens in every layer, on contiguous memory.

    `plan` says which tokens the next pass reads: those of the first segment, then those of the next, all in one row.
    """

    def __init__(
        self, config: GPTConfig, num_slots: int, capacity: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.keys, self.values = empty_layers(config, num_slots, capacity, dtype, device)
        self.device = device
        self._segments: Sequence[Segment] = ()
        self._layout: Layout | None = None

    def plan(self, segments: Sequence[Segment], num_single: int) -> None:
        """Plans the next pass.

        Args:
            segments: what it reads.
            num_single: so many sequences come first that are being decoded, one token each.
        """
        singles = segments[:num_single]
        assert all(segment.count == 1 for segment in singles), "single tokens come first"
        ids = torch.tensor([place for s in segments for place in range(s.start, s.end)], device=self.device)
        self._singles = singles if _are_neighbours(singles) else []
        # Sequences that attend as a batch need one block of memory: their slots, up to the end of the longest.
        self._single_slots = torch.tensor([s.slot for s in self._singles], dtype=torch.long, device=self.device)
        self._single_ids = ids[: len(self._singles)]
        self._segments = segments[len(self._singles) :]
        spans = [self._batch_span()] if self._singles else []
        at = len(self._singles)
        for segment in self._segments:
            spans.append(self._span(segment, slice(at, at + segment.count)))
            at += segment.count
        self._layout = Layout(ids, spans, max(segment.end for segment in segments))

    def layout(self, num_tokens: int, attention_mask: Tensor | None) -> Layout:
        """The layout that was planned."""
        assert self._layout is not None, "a pass is planned before it is made"
        assert len(self._layout.ids) == num_tokens, "a pass reads what was planned"
        assert attention_mask is None, "slots hold no padding"
        return self._layout

    def update(self, layer: int, keys: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Stores a layer's new keys and values (1, K, N, D) in their slots; returns those that each span attends to."""
        pair = self.keys[layer], self.values[layer]
        for whole, new in zip(pair, (keys[0], values[0]), strict=True):
            self._store(whole, new)
        visible = []
        if self._singles:
            first, longest = self._singles[0].slot, max(segment.end for segment in self._singles)
            rows = slice(first, first + len(self._singles))
            visible.append((pair[0][rows, :, :longest], pair[1][rows, :, :longest]))  # (N, K, S, D)
        for segment in self._segments:
            own_keys, own_values = (whole[segment.slot, :, : segment.end][None] for whole in pair)  # (1, K, S, D)
            visible.append((own_keys, own_values))
        return visible

    def advance(self, num_tokens: int) -> None:
        """Nothing: whoever plans counts the tokens of each sequence."""

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Gives a slot the first tokens of another."""
        for layers in (self.keys, self.values):
            for layer in layers:
                layer[target, :, :num_tokens] = layer[source, :, :num_tokens]

    def _store(self, whole: Tensor, new: Tensor) -> None:
        """Keeps one layer's keys or values of this pass (K, N, D)."""
        at = len(self._singles)
        if at:
            whole[self._single_slots, :, self._single_ids] = new[:, :at].transpose(0, 1).to(whole.dtype)
        for segment in self._segments:
            whole[segment.slot, :, segment.start : segment.end] = new[:, at : at + segment.count]
            at += segment.count

    def _batch_span(self) -> Span:
        """One token of each of several sequences, which attend as a batch."""
        key_ids = torch.arange(max(segment.end for segment in self._singles), device=self.device)
        query_ids = self._single_ids[:, None]  # (N, 1)
        mask = (key_ids <= query_ids)[:, None, None]  # (N, 1, 1, S)
        return Span(query_ids, key_ids, mask, tokens=slice(0, len(self._singles)), is_batch=True)

    def _span(self, segment: Segment, tokens: slice) -> Span:
        """Tokens of one sequence, after those of it that the cache holds."""
        key_ids = torch.arange(segment.end, device=self.device)
        is_plain = segment.start == 0 or segment.count == 1
        mask = None if is_plain else causal_mask(segment.count, segment.end, self.device)[None, None]
        return Span(key_ids[segment.start :], key_ids, mask, tokens=tokens)


def _are_neighbours(singles: Sequence[Segment]) -> bool:
    """Whether sequences attend faster as a batch: they lie one behind the other, and are about equally long."""
    if len(singles) < 2:
        return False
    first, longest = singles[0].slot, max(segment.end for segment in singles)
    in_a_row = [segment.slot for segment in singles] == list(range(first, first + len(singles)))
    return in_a_row and len(singles) * longest <= 2 * sum(segment.end for segment in singles)
