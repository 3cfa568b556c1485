"""Parts of a network, heads and feed-forward halves, and what a model answers with other tensors in their places."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from gptsmith.explain.question import Question
from gptsmith.explain.testing import Choice, Outcome, try_parts
from gptsmith.model.gpt import GPT
from gptsmith.model.taps import record, tapped

TOKENS_AT_ONCE = 2048

Patch = Mapping[str, Tensor]
"""By the names of taps, tensors that take the place of those of one row: they broadcast to (T, C), of a head to
(T, D)."""


def parts_of(model: GPT) -> list[str]:
    """The taps of all heads and feed-forward halves, block by block."""
    heads, layers = range(model.config.num_heads), range(model.config.num_layers)
    return [
        part
        for layer in layers
        for part in (
            *(f"blocks.{layer}.attention.heads.{head}" for head in heads), f"blocks.{layer}.feedforward.output",
        )
    ]  # fmt: skip


def part_text(part: str) -> str:
    """A part as people read it; blocks and heads are counted from 0, as in the names of taps."""
    if found := re.fullmatch(r"blocks\.(\d+)\.attention\.heads\.(\d+)", part):
        return f"head {found[2]} of block {found[1]}"
    if found := re.fullmatch(r"blocks\.(\d+)\.(feedforward|attention)\.output", part):
        return f"the {'feed-forward' if found[2] == 'feedforward' else 'attention'} half of block {found[1]}"
    if found := re.fullmatch(r"blocks\.(\d+)\.attention\.bias", part):
        return f"the bias of the attention half of block {found[1]}"
    if found := re.fullmatch(r"blocks\.(\d+)\.output", part):
        return f"all up to block {found[1]}"
    return {"embedding": "the words themselves"}.get(part, part)


@torch.inference_mode()
def patched_states(model: GPT, ids: Sequence[int], patches: Sequence[Patch], num_last: int = 1) -> Tensor:
    """The last hidden states (N, num_last, C) after `ids`, once with each of N patches; batches of bounded memory."""
    found = []
    rows_at_once = max(1, TOKENS_AT_ONCE // len(ids))
    for start in range(0, len(patches), rows_at_once):
        some = patches[start : start + rows_at_once]
        rows: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for row, patch in enumerate(some):
            for name, value in patch.items():
                rows[name][row] = value
        with tapped(model, {name: partial(_with_rows, of_rows) for name, of_rows in rows.items()}) as copied:
            batch = torch.tensor([ids], device=model.device).expand(len(some), -1)
            found.append(copied.hidden(batch)[:, -num_last:])
    return torch.cat(found)


def _with_rows(rows: Mapping[int, Tensor], tensor: Tensor) -> Tensor:
    """A tensor (N, T, ...) with others in the place of some of its rows."""
    replaced = tensor.clone()
    for row, value in rows.items():
        replaced[row] = value
    return replaced


def patched_differences(question: Question, patches: Sequence[Patch], ids: Sequence[int] = ()) -> list[float]:
    """F of a question, once with each patch, after its own context or after other tokens."""
    states = patched_states(question.model, ids or question.ids, patches, question.num_read)
    found: list[float] = question.measure(states).tolist()
    return found


def try_network_parts(question: Question, parts: Sequence[str], named: Sequence[int]) -> Outcome:
    """Tests a claim that names some parts of the network by switching them off: each becomes its mean over the tokens
    of the context."""
    means = {
        name: tensor[0].mean(dim=0)
        for name, tensor in record(
            question.model, torch.tensor([question.ids], device=question.model.device), parts
        ).items()
    }

    def switched_off(choices: Sequence[Choice]) -> Sequence[float]:
        patches = [{parts[number]: means[parts[number]] for number in choice} for choice in choices]
        return [question.difference - after for after in patched_differences(question, patches)]

    return try_parts(
        {"switched off": switched_off}, len(parts), named, noun="parts of the network", num_claims=question.num_claims,
        seed=question.seed,
    )  # fmt: skip
