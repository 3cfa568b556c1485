"""The keys and values of many sequences, each in a slot of its own, and passes over segments of several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptsmith.model.config import GPTConfig
from gptsmith.model.kv_cache import discard, empty_layers, lazy_zeros
from gptsmith.model.layout import Layout, Span, causal_mask


@dataclass(slots=True)
class Segment:
    """Tokens that one pass reads of one sequence: those at the positions from `start` on."""

    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


class SlotKVCache:
    """Slots for sequences in every layer, on contiguous memory: none at first, then as many and as long as `reserve`
    asks for.

    `plan` says which tokens the next pass reads: those of the first segment, then those of the next, all in one row.

    Attributes:
        num_slots: how many sequences have a slot.
        capacity: the tokens that fit in a slot.
    """

    def __init__(self, config: GPTConfig, *, dtype: torch.dtype, device: torch.device) -> None:
        self.keys, self.values = empty_layers(config, 0, 0, dtype, device)
        self.device = device
        self.num_slots = self.capacity = 0
        self._num_written: list[int] = []
        """So many tokens of each slot are written: what they take up stays taken up until they are released."""
        self._layout: Layout | None = None

    def reserve(self, num_slots: int, capacity: int) -> None:
        """Makes room for so many sequences of so many tokens; what the slots hold stays. On a CPU, memory is taken up
        only as they are written.

        Raises:
            UserError: there is too little memory.
        """
        if num_slots <= self.num_slots and capacity <= self.capacity:
            return
        num_slots, capacity = max(num_slots, self.num_slots), max(capacity, self.capacity)
        for layers in (self.keys, self.values):
            for number, old in enumerate(layers):
                shape = num_slots, old.shape[1], capacity, old.shape[3]  # (slots, K, S, D)
                grown = lazy_zeros(shape, old.dtype, old.device)
                for slot, count in enumerate(self._num_written):
                    grown[slot, :, :count] = old[slot, :, :count]
                layers[number] = grown
        self._num_written += [0] * (num_slots - self.num_slots)
        self.num_slots, self.capacity = num_slots, capacity

    def plan(self, segments: Sequence[Segment], num_single: int) -> None:
        """Plans the next pass.

        Args:
            segments: what it reads.
            num_single: so many sequences come first that are being decoded, one token each, in the order of their
                slots.
        """
        for segment in segments:
            self._num_written[segment.slot] = max(self._num_written[segment.slot], segment.end)
        assert all(segment.count == 1 for segment in segments[:num_single]), "single tokens come first"
        singles = segments[:num_single] if num_single > 1 else []  # one alone is stored faster as any other segment
        ids = torch.tensor([place for s in segments for place in range(s.start, s.end)], device=self.device)
        self._single_slots = torch.tensor([s.slot for s in singles], dtype=torch.long, device=self.device)
        self._single_ids = ids[: len(singles)]
        self._segments = segments[len(singles) :]
        self._batches = [*_batches(singles), *([segment] for segment in self._segments)]
        spans, at = [], 0
        for batch in self._batches:
            num_tokens = sum(segment.count for segment in batch)
            tokens = slice(at, at + num_tokens)
            spans.append(self._batch_span(batch, ids, tokens) if len(batch) > 1 else self._span(batch[0], tokens))
            at += num_tokens
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
        for batch in self._batches:
            rows, longest = slice(batch[0].slot, batch[-1].slot + 1), max(segment.end for segment in batch)
            visible.append((pair[0][rows, :, :longest], pair[1][rows, :, :longest]))  # (N, K, S, D)
        return visible

    def advance(self, num_tokens: int) -> None:
        """Nothing: whoever plans counts the tokens of each sequence."""

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """Gives a slot the first tokens of another."""
        self._num_written[target] = max(self._num_written[target], num_tokens)
        for layer in (*self.keys, *self.values):
            layer[target, :, :num_tokens] = layer[source, :, :num_tokens]

    def swap(self, first: int, second: int, num_tokens: int) -> None:
        """Exchanges the first tokens of two slots."""
        for slot in (first, second):
            self._num_written[slot] = max(self._num_written[slot], num_tokens)
        for layer in (*self.keys, *self.values):
            layer[[first, second], :, :num_tokens] = layer[[second, first], :, :num_tokens]

    def clear(self, slot: int) -> None:
        """Empties a slot."""
        for layer in (*self.keys, *self.values):
            layer[slot, :, : self._num_written[slot]] = 0

    @property
    def is_lazy(self) -> bool:
        """Whether slots take up memory only as they are written."""
        return self.device.type == "cpu"

    def num_written(self, slot: int) -> int:
        """The tokens of a slot that take up memory."""
        return self._num_written[slot]

    def release(self, slot: int, keep: int) -> None:
        """Gives back the memory of a slot behind its first `keep` tokens."""
        for layer in (*self.keys, *self.values):
            for head in [layer[slot]] if not keep else layer[slot]:
                discard(head[keep:] if keep else head)
        self._num_written[slot] = min(self._num_written[slot], keep)

    def _store(self, whole: Tensor, new: Tensor) -> None:
        """Keeps one layer's keys or values of this pass (K, N, D)."""
        at = len(self._single_ids)
        if at:
            whole[self._single_slots, :, self._single_ids] = new[:, :at].transpose(0, 1).to(whole.dtype)
        for segment in self._segments:
            whole[segment.slot, :, segment.start : segment.end] = new[:, at : at + segment.count]
            at += segment.count

    def _batch_span(self, batch: Sequence[Segment], ids: Tensor, tokens: slice) -> Span:
        """One token of each of several sequences, which attend as a batch."""
        key_ids = torch.arange(max(segment.end for segment in batch), device=self.device)
        query_ids = ids[tokens, None]  # (N, 1)
        mask = (key_ids <= query_ids)[:, None, None]  # (N, 1, 1, S)
        return Span(query_ids, key_ids, mask, tokens=tokens, is_batch=True)

    def _span(self, segment: Segment, tokens: slice) -> Span:
        """Tokens of one sequence, after those of it that the cache holds."""
        key_ids = torch.arange(segment.end, device=self.device)
        is_plain = segment.start == 0 or segment.count == 1
        mask = None if is_plain else causal_mask(segment.count, segment.end, self.device)[None, None]
        return Span(key_ids[segment.start :], key_ids, mask, tokens=tokens)


def _batches(singles: Sequence[Segment]) -> list[list[Segment]]:
    """Sequences that attend faster as a batch: their slots lie one behind the other, and they are about equally long,
    so that at most half of the batch's keys are masked."""
    batches: list[list[Segment]] = []
    num_keys = longest = 0
    for segment in singles:
        if batches and segment.slot == batches[-1][-1].slot + 1:
            size, most = len(batches[-1]) + 1, max(longest, segment.end)
            if size * most <= 2 * (num_keys + segment.end):
                batches[-1].append(segment)
                num_keys, longest = num_keys + segment.end, most
                continue
        batches.append([segment])
        num_keys = longest = segment.end
    return batches
