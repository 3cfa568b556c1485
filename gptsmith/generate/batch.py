"""Many prompts at once, each answered as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.generate.sampling import SamplingSettings, sample_from_uniform
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache

ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Row:
    """What was written after one prompt.

    Attributes:
        ids: the tokens, without the one that ended them.
        finish_reason: `stop` (a token of `end_ids`, or what `ends` says), `length` (all tokens that were asked for),
            `context` (the model's context is full).
        end_id: the token of `end_ids` that ended them.
    """

    ids: list[int]
    finish_reason: str
    end_id: int | None = None


def generate_rows(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: SamplingSettings,
    seeds: Sequence[int],
    end_ids: frozenset[int],
    ends: Callable[[list[int]], bool] = lambda _: False,
    rows_at_once: int = ROWS_AT_ONCE,
    observe: Callable[[int], None] = lambda _: None,
) -> list[Row]:
    """What the model writes after each prompt, in the order of the prompts.

    Args:
        seeds: one a prompt. What is drawn depends on it and on the place in the answer, and not on the other rows.
        end_ids: tokens that end an answer.
        ends: whether an answer that has grown to these tokens ends there.
        observe: sees the number of answers that are done.

    Raises:
        UserError: a prompt is longer than the context.
    """
    assert all(len(prompt) > 0 for prompt in prompts), "a prompt has at least one token"
    longest, context = max(map(len, prompts), default=0), model.config.context_length
    if longest > context:
        raise UserError(f"a prompt of {longest} tokens does not fit in the model's context of {context}: shorten it")
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    found: dict[int, Row] = {}
    for start in range(0, len(order), rows_at_once):
        some = order[start : start + rows_at_once]
        batch = _Batch(model, [prompts[number] for number in some], max_tokens)
        rows = batch.written(sampling, [seeds[number] for number in some], end_ids, ends)
        found.update(zip(some, rows, strict=True))
        observe(len(found))
    return [found[number] for number in range(len(prompts))]


class _Batch:
    """Prompts that are read together, padded on the left, and what follows them.

    Attributes:
        numbers: the prompts' numbers, one a row. Rows that have ended are dropped.
        mask: (B, S), 1 for a token and 0 for padding.
        unread: (B, T), the tokens that the cache does not hold yet.
    """

    def __init__(self, model: GPT, prompts: Sequence[Sequence[int]], max_tokens: int) -> None:
        self.model, self.max_tokens, self.context = model, max_tokens, model.config.context_length
        self.numbers = list(range(len(prompts)))
        longest = max(map(len, prompts))
        unread = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(unread)
        for row, prompt in enumerate(prompts):
            unread[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        self.unread, self.mask = unread.to(model.device), mask.to(model.device)
        self.cache = self._new_cache(len(prompts), longest + max_tokens)

    @torch.inference_mode()
    def written(
        self,
        sampling: SamplingSettings,
        seeds: Sequence[int],
        end_ids: frozenset[int],
        ends: Callable[[list[int]], bool],
    ) -> list[Row]:
        """The answers, in the order of the prompts."""
        ids: list[list[int]] = [[] for _ in self.numbers]
        ended: dict[int, Row] = {}
        for place in range(self.max_tokens):
            if self.mask.shape[1] > self.context:
                for row in self._without_padding():
                    ended.setdefault(self.numbers[row], Row(ids[self.numbers[row]], "context"))
                self._keep([row for row, number in enumerate(self.numbers) if number not in ended], place)
            if not self.numbers:
                break
            hidden = self.model.hidden(self.unread, self.mask, self.cache)
            chances = [_chance(seeds[number], place) for number in self.numbers]
            tokens = sample_from_uniform(self.model.head(hidden[:, -1]), sampling, chances)
            for number, token in zip(self.numbers, tokens.tolist(), strict=True):
                if number in ended:
                    continue
                if token in end_ids:
                    ended[number] = Row(ids[number], "stop", token)
                else:
                    ids[number].append(token)
                    if ends(ids[number]):
                        ended[number] = Row(ids[number], "stop")
            self.unread = tokens[:, None]
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
            live = [row for row, number in enumerate(self.numbers) if number not in ended]
            # Dropping rows copies the cache, so it is done when it halves the work.
            if 2 * len(live) <= len(self.numbers):
                self._keep(live, place + 1)
        return [ended.get(number) or Row(row_ids, "length") for number, row_ids in enumerate(ids)]

    def _without_padding(self) -> list[int]:
        return self.mask[:, 0].nonzero()[:, 0].tolist()

    def _keep(self, rows: list[int], place: int) -> None:
        """Drops all other rows, and the padding that those have in common, before the token at `place` is read."""
        self.numbers = [self.numbers[row] for row in rows]
        if not rows:
            return
        index = torch.tensor(rows, device=self.mask.device)
        cut = int(self.mask[index].argmax(dim=1).min())
        old, self.mask, self.unread = self.cache, self.mask[index, cut:], self.unread[index]
        self.cache = self._new_cache(len(rows), self.mask.shape[1] + self.max_tokens - place)
        self.cache.length = old.length - cut
        for new_layers, old_layers in ((self.cache.keys, old.keys), (self.cache.values, old.values)):
            for new, before in zip(new_layers, old_layers, strict=True):
                new[:, :, : self.cache.length] = before[index, :, cut : old.length]

    def _new_cache(self, num_rows: int, max_length: int) -> Cache:
        """A cache for rows of at most so many tokens, or of as many as the context holds."""
        dtype = self.model.compute_dtype or self.model.embedding.weight.dtype
        length = min(max_length, self.context)
        return Cache(self.model.config, num_rows, length, dtype=dtype, device=self.model.device)


def _chance(seed: int, place: int) -> float:
    """A number from [0, 1) that is a pure function of a row's seed and of the place in its answer."""
    return (derived_seed(seed, "token", place) >> 10) / 2**53
