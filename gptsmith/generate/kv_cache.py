"""The keys and values of many sequences, each in a slot of its own, and passes over pieces of several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.model.attention import Attention, causal_mask
from gptsmith.model.config import GPTConfig
from gptsmith.model.position import Positions


@dataclass(frozen=True)
class Segment:
    """Tokens that one pass reads of one sequence: those at the places from `start` on."""

    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


class SlotCache:
    """Room for `num_slots` sequences of up to `capacity` tokens in every layer, on contiguous memory.

    Before a pass `plan` is told which tokens it reads: the pass has those of the first segment, then those of the next.
    """

    def __init__(
        self, config: GPTConfig, num_slots: int, capacity: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (num_slots, config.num_kv_heads, capacity, config.resolved_head_dim)
        # Zeros cost no memory before they are written to; anything else might hold what is no number.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)]
        self.values = [torch.zeros_like(keys) for keys in self.keys]
        self.device = device
        self.segments: list[Segment] = []

    def plan(self, segments: Sequence[Segment], num_single: int) -> Tensor:
        """Says what the next pass reads: first, single tokens of `num_single` sequences that are written. Returns the
        place of each of its tokens (N)."""
        singles = segments[:num_single]
        assert all(segment.count == 1 for segment in singles), "single tokens come first"
        self.segments = list(segments)
        self._masks = [self._mask(segment) for segment in segments]
        self._singles = singles if _are_neighbours(singles) else []
        slots = [segment.slot for segment in self._singles]
        places = torch.tensor([place for s in segments for place in range(s.start, s.end)], device=self.device)
        self._single_slots = torch.tensor(slots, dtype=torch.long, device=self.device)
        self._single_places = places[: len(slots)]
        if slots:
            self._rows = slice(slots[0], slots[0] + len(slots))
            self._longest = max(segment.end for segment in self._singles)
            seen = torch.arange(self._longest, device=self.device) <= self._single_places[:, None]  # (N, S)
            self._seen = seen[:, None, None]
        return places

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Gives a slot the first tokens of another."""
        for layers in (self.keys, self.values):
            for layer in layers:
                layer[target, :, :num_tokens] = layer[source, :, :num_tokens]

    def attend(
        self,
        attention: Attention,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        positions: Positions,
    ) -> Tensor:
        """Mixes for the queries (1, H, N, D) what each may look at in its own sequence: (1, H, N, D)."""
        own_keys, own_values = self.keys[attention.layer], self.values[attention.layer]
        self._store(own_keys, keys[0])
        self._store(own_values, values[0])
        mixed, at = [], 0
        if self._singles and not attention.knows_distance:
            at = len(self._singles)
            mixed.append(self._attend_singles(attention, queries[:, :, :at], positions))
        for segment, own_mask in list(zip(self.segments, self._masks, strict=True))[at:]:
            piece = queries[:, :, at : at + segment.count]
            seen_keys, seen_values = (whole[segment.slot, :, : segment.end][None] for whole in (own_keys, own_values))
            mixed.append(attention.mix(piece, seen_keys, seen_values, own_mask, self._bias(segment, positions)))
            at += segment.count
        return torch.cat(mixed, dim=2) if len(mixed) > 1 else mixed[0]

    def _store(self, whole: Tensor, new: Tensor) -> None:
        """Keeps one layer's keys or values of this pass (H, N, D)."""
        at = 0
        if self._singles:
            at = len(self._singles)
            whole[self._single_slots, :, self._single_places] = new[:, :at].transpose(0, 1).to(whole.dtype)
        for segment in self.segments[at:]:
            whole[segment.slot, :, segment.start : segment.end] = new[:, at : at + segment.count]
            at += segment.count

    def _attend_singles(self, attention: Attention, queries: Tensor, positions: Positions) -> Tensor:
        """One token of each of several sequences."""
        seen_keys = self.keys[attention.layer][self._rows, :, : self._longest]
        seen_values = self.values[attention.layer][self._rows, :, : self._longest]
        places = self._single_places[:, None]
        bias = positions.kind.bias(places, torch.arange(self._longest, device=self.device).expand(len(places), -1))
        asked = queries[0].transpose(0, 1)[:, :, None]  # (N, H, 1, D)
        mixed = attention.mix(asked, seen_keys, seen_values, self._seen, bias)
        return mixed[:, :, 0].transpose(0, 1)[None]

    def _mask(self, segment: Segment) -> Tensor | None:
        if segment.start == 0 or segment.count == 1:
            return None
        return causal_mask(segment.count, segment.end, self.device)[None, None]

    def _bias(self, segment: Segment, positions: Positions) -> Tensor | None:
        ids = torch.arange(segment.end, device=self.device)
        return positions.kind.bias(ids[segment.start :], ids)


def _are_neighbours(singles: Sequence[Segment]) -> bool:
    """Whether sequences are mixed faster together: they lie one behind the other, and hold about equally much."""
    if len(singles) < 2:
        return False
    first, longest = singles[0].slot, max(segment.end for segment in singles)
    in_a_row = [segment.slot for segment in singles] == list(range(first, first + len(singles)))
    return in_a_row and len(singles) * longest <= 2 * sum(segment.end for segment in singles)
