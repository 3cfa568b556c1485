"""The layout of one forward pass: where its tokens stand, and which keys each of them may attend to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from gptsmith.model.blocks import Blocks

KeysAndValues = tuple[Tensor, Tensor] | tuple[Blocks, Blocks]


@dataclass(frozen=True)
class PackedSequences:
    """The sequences of a pass whose rows hold several, laid out as batches of about one length each.

    Attributes:
        batches: for each batch, the places of its sequences' tokens among all of the pass, (N, L), L a multiple of
            `LENGTH_MULTIPLE`. A shorter sequence ends in its last token again, which a causal attention shows to no
            other.
        lengths: the tokens of each sequence, (N) for each batch.
        order: for each token of the pass, its place among the batches' tokens, without those that fill up.
    """

    batches: Sequence[Tensor]
    lengths: Sequence[Tensor]
    order: Tensor

    @classmethod
    def of(cls, segments: Tensor) -> PackedSequences:
        """The sequences of rows (B, T) of segment numbers."""
        begins = torch.ones_like(segments, dtype=torch.bool)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        starts = begins.flatten().nonzero()[:, 0]
        lengths = torch.diff(starts, append=starts.new_tensor([segments.numel()]))
        by_length = torch.argsort(lengths, descending=True, stable=True)
        starts, lengths = starts[by_length], lengths[by_length]
        batches, batch_lengths, places = [], [], []
        for first, last in _of_about_one_length(lengths.tolist()):
            some = lengths[first:last]
            length = -(-int(some[0]) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
            steps = torch.arange(length, device=segments.device)
            batches.append(starts[first:last, None] + torch.minimum(steps, some[:, None] - 1))
            batch_lengths.append(some)
            places.append(batches[-1][steps < some[:, None]])
        return cls(batches, batch_lengths, torch.argsort(torch.cat(places)))

    def gather(self, x: Tensor) -> list[Tensor]:
        """Of (B, H, T, D), the sequences of each batch: (N, H, L, D)."""
        flat = x.transpose(1, 2).flatten(0, 1)  # (B T, H, D)
        return [
            flat.index_select(0, batch.flatten()).view(*batch.shape, *flat.shape[1:]).transpose(1, 2)
            for batch in self.batches
        ]

    def scatter(self, batches: Sequence[Tensor], num_rows: int) -> Tensor:
        """The inverse of `gather`, for so many rows."""
        tokens = [
            each.transpose(1, 2)[torch.arange(each.shape[2], device=each.device) < lengths[:, None]]
            for each, lengths in zip(batches, self.lengths, strict=True)
        ]
        flat = torch.cat(tokens).index_select(0, self.order)  # (B T, H, D)
        return flat.view(num_rows, -1, *flat.shape[1:]).transpose(1, 2)


LENGTH_MULTIPLE = 16
"""Lengths that differ by a few tokens are one shape: PyTorch's products keep a program for every shape, for good."""
SHORT_SEQUENCE, SAME_LENGTH = 16, 0.75
"""Sequences share a batch if none is shorter than this share of the longest, or if all are short."""


def _of_about_one_length(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of lengths, which fall, that are nearly the same."""
    first = 0
    for place in range(1, len(lengths) + 1):
        longest = lengths[first]
        if place == len(lengths) or (longest > SHORT_SEQUENCE and lengths[place] < SAME_LENGTH * longest):
            yield first, place
            first = place


@dataclass(frozen=True)
class Span:
    """Tokens of a pass that attend together, to the same keys.

    Attributes:
        query_ids: their positions, (T) or (B, T).
        key_ids: the positions of the keys, (S) or (B, S); the last T keys are the tokens' own.
        mask: (T, S) or (B or 1, 1, T, S), true where a query may attend to a key. None stands for causal attention
            over T = S tokens, or for a single query that may attend to every key.
        bias: what is added to the scores, (H, T, S) or (B, H, T, S), or None.
        tokens: which tokens of the pass they are; all of them if None.
        is_batch: whether each token is the only one of its sequence: they attend as a batch of single queries.
        packed: the sequences of rows that hold several, for an attention without a mask; None if there are none.
    """

    query_ids: Tensor
    key_ids: Tensor
    mask: Tensor | None = None
    bias: Tensor | None = None
    tokens: slice | None = None
    is_batch: bool = False
    packed: PackedSequences | None = None

    def select(self, queries: Tensor) -> Tensor:
        """The queries of these tokens, of those of the pass (B, H, T, D)."""
        if self.tokens is None:
            return queries
        if self.is_batch:
            return queries[0, :, self.tokens].transpose(0, 1)[:, :, None]  # (1, H, T, D) -> (T, H, 1, D)
        return queries[:, :, self.tokens]

    def restore(self, attended: Tensor) -> Tensor:
        """The inverse of `select`: what the tokens' queries found, in the shape of the pass, (B, H, T, D)."""
        return attended[:, :, 0].transpose(0, 1)[None] if self.is_batch else attended  # (T, H, 1, D) -> (1, H, T, D)


@dataclass(frozen=True)
class Layout:
    """Where the tokens of one pass stand.

    Attributes:
        ids: their positions, (T) or (B, T).
        spans: the tokens in order, in groups that attend together.
        length: the tokens of the longest sequence, those that were read before included.
        windowed: the spans in layers that see only a window of so many tokens, where a cache keeps no other keys.
    """

    ids: Tensor
    spans: Sequence[Span]
    length: int
    windowed: Mapping[int, Sequence[Span]] = field(default_factory=dict)

    @classmethod
    def causal(
        cls, num_tokens: int, device: torch.device, *, past: int = 0, attention_mask: Tensor | None = None
    ) -> Layout:
        """Each row is one sequence, of which `past` tokens were read before.

        Args:
            attention_mask: (B, S), 1 for a token and 0 for padding, on any side; S counts the earlier tokens too.
        """
        T, S = num_tokens, past + num_tokens
        if attention_mask is None:
            ids = torch.arange(S, device=device)
            mask = causal_mask(T, S, device) if past and T > 1 else None
        else:
            ids = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
            mask = _padding_mask(attention_mask.bool(), T)
        query_ids = ids[..., past:]
        return cls(query_ids, [Span(query_ids, ids, mask)], S)

    @classmethod
    def packed(cls, segments: Tensor) -> Layout:
        """Each row holds several sequences, one after the other: `segments` (B, T) says to which one a token belongs.
        Each is read as if it stood alone."""
        T = segments.shape[1]
        ids = _positions_in_segments(segments)
        mask = causal_mask(T, T, segments.device) & (segments[:, None, :, None] == segments[:, None, None, :])
        return cls(ids, [Span(ids, ids, mask, packed=PackedSequences.of(segments))], int(ids.max()) + 1)


class KVCache(Protocol):
    """Contract of a cache: data alone. It keeps keys and values and says which tokens attend to which of them; what is
    computed of them is the attention's."""

    def layout(self, num_tokens: int, attention_mask: Tensor | None) -> Layout:
        """The layout of the next forward pass, which reads `num_tokens` tokens a row."""

    def update(self, layer: int, keys: Tensor, values: Tensor) -> Sequence[KeysAndValues]:
        """Stores a layer's new keys and values (B, K, T, D). Returns the keys and values (B, K, S, D) that each span of
        the layout attends to: as tensors, or as the blocks in which they lie."""

    def advance(self, num_tokens: int) -> None:
        """Ends a forward pass: every layer has stored its keys and values of `num_tokens` tokens a row."""


def causal_mask(num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    """(T, S), true where a key is not later than its query; the last query is the last key."""
    query_slots = torch.arange(num_keys - num_queries, num_keys, device=device)
    return torch.arange(num_keys, device=device) <= query_slots[:, None]


def _padding_mask(is_token: Tensor, num_queries: int) -> Tensor:
    """(B, 1, T, S): causal, and never at padding. Padding looks at itself, or its softmax would have no terms."""
    S = is_token.shape[1]
    itself = torch.eye(S, dtype=torch.bool, device=is_token.device)[S - num_queries :]
    return (causal_mask(num_queries, S, is_token.device) & is_token[:, None, None, :]) | itself


def _positions_in_segments(segments: Tensor) -> Tensor:
    """(B, T), how many tokens of its own segment stand before each token."""
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values
