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

    def plan(self, segments: Sequence[Segment]) -> Tensor:
        """Says what the next pass reads; returns the place of each of its tokens (N)."""
        # Single tokens of many sequences are mixed together, so they come first.
        assert sorted(segments, key=lambda segment: segment.count > 1) == list(segments), "single tokens come first"
        self.segments = list(segments)
        self._slots = torch.cat([torch.full((s.count,), s.slot, dtype=torch.long) for s in segments]).to(self.device)
        self._places = torch.cat([torch.arange(s.start, s.end) for s in segments]).to(self.device)
        self._singles = [segment for segment in segments if segment.count == 1]
        if self._singles:
            lengths = torch.tensor([segment.end for segment in self._singles], device=self.device)
            self._single_slots = torch.tensor([segment.slot for segment in self._singles], device=self.device)
            self._longest = int(lengths.max())
            self._seen = torch.arange(self._longest, device=self.device) < lengths[:, None]  # (N, S)
            used = [segment.slot for segment in self._singles]
            self._in_a_row = used == list(range(used[0], used[0] + len(used)))
        return self._places

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
        own_keys[self._slots, :, self._places] = keys[0].transpose(0, 1).to(own_keys.dtype)
        own_values[self._slots, :, self._places] = values[0].transpose(0, 1).to(own_values.dtype)
        segments = self.segments
        parts = []
        if len(self._singles) > 1 and not attention.knows_distance:
            parts.append(self._attend_singles(attention, queries[:, :, : len(self._singles)], positions))
            segments = segments[len(self._singles) :]
        at = len(self.segments) - len(segments)
        for segment in segments:
            piece = queries[:, :, at : at + segment.count]
            seen_keys, seen_values = (
                whole[segment.slot : segment.slot + 1, :, : segment.end] for whole in (own_keys, own_values)
            )
            mask, bias = self._mask(segment), self._bias(segment, positions)
            parts.append(attention.mix(piece, seen_keys, seen_values, mask, bias))
            at += segment.count
        return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]

    def _attend_singles(self, attention: Attention, queries: Tensor, positions: Positions) -> Tensor:
        """One token of each of several sequences."""
        first = self._singles[0].slot
        rows = slice(first, first + len(self._singles)) if self._in_a_row else self._single_slots
        seen_keys = self.keys[attention.layer][rows, :, : self._longest]
        seen_values = self.values[attention.layer][rows, :, : self._longest]
        places = self._places[: len(self._singles), None]
        bias = positions.kind.bias(places, torch.arange(self._longest, device=self.device).expand(len(places), -1))
        asked = queries[0].transpose(0, 1)[:, :, None]  # (N, H, 1, D)
        mixed = attention.mix(asked, seen_keys, seen_values, self._seen[:, None, None], bias)
        return mixed[:, :, 0].transpose(0, 1)[None]

    def _mask(self, segment: Segment) -> Tensor | None:
        if segment.start == 0 or segment.count == 1:
            return None
        return causal_mask(segment.count, segment.end, self.device)[None, None]

    def _bias(self, segment: Segment, positions: Positions) -> Tensor | None:
        ids = torch.arange(segment.end, device=self.device)
        return positions.kind.bias(ids[segment.start :], ids)
