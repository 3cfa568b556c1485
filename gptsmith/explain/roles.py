"""What heads look at in a text that repeats itself, and what it costs to switch them off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.model.taps import record, tapped

NUM_TEXTS, LONGEST = 6, 24
LEAST_SCORE, TIMES_CHANCE = 0.25, 5
"""A head has a role if so large a share of its attention, and so many times chance, is where the role looks."""

ROLES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "previous": lambda places, length: places - 1,
    "induction": lambda places, length: places - length + 1,
    "duplicate": lambda places, length: places - length,
    "first": lambda places, length: torch.zeros_like(places),
}
"""Where a head of each role looks from some places of the repeat: at the token before; at the one behind the same
token's last occurrence; at that occurrence; at the first token of all."""


@dataclass(frozen=True)
class RepeatedText:
    """Random tokens that come twice: whoever predicts the second time must have looked at the first.

    Attributes:
        ids: (R, T): what begins a text, then a passage, then the same again.
        length: the tokens of the passage.
    """

    ids: Tensor
    length: int

    @classmethod
    def drawn(cls, model: GPT, begin: Sequence[int], avoided: Sequence[int], seed: int) -> RepeatedText:
        """Some such texts, without the tokens to avoid.

        Raises:
            UserError: the context or the vocabulary is too small.
        """
        length = min(LONGEST, (model.config.context_length - len(begin)) // 2)
        allowed = torch.tensor(sorted(set(range(model.config.vocab_size)) - set(avoided)))
        if length < 4 or len(allowed) < 2 * length:
            raise UserError("head_roles: the model's context or vocabulary is too small to repeat a text of 4 tokens")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.stack(
            [allowed[torch.randperm(len(allowed), generator=generator)[:length]] for _ in range(NUM_TEXTS)]
        )
        first = torch.tensor(list(begin), dtype=torch.long).expand(NUM_TEXTS, -1)
        return cls(torch.cat((first, drawn, drawn), dim=1).to(model.device), length)

    @property
    def places(self) -> Tensor:
        """The places of the repeat, without its first token, which nothing announces."""
        T = self.ids.shape[1]
        return torch.arange(T - self.length + 1, T, device=self.ids.device)

    @property
    def chance(self) -> float:
        """The share of its attention that a head which looks everywhere alike gives one place."""
        return float((1 / (self.places + 1)).mean())


@torch.inference_mode()
def role_scores(model: GPT, text: RepeatedText) -> dict[str, Tensor]:
    """By role, the share (L, H) of each head's attention that is where the role looks."""
    places, found = text.places, {role: list[Tensor]() for role in ROLES}

    def look(pattern: Tensor) -> None:
        for role, target in ROLES.items():
            found[role].append(pattern[:, :, places, target(places, text.length)].mean(dim=(0, 2)).float().cpu())

    names = [f"blocks.{layer}.attention.pattern" for layer in range(model.config.num_layers)]
    with tapped(model, dict.fromkeys(names, look)) as copied:
        copied.hidden(text.ids)
    return {role: torch.stack(scores) for role, scores in found.items()}


def loss_without(model: GPT, text: RepeatedText, heads: Sequence[str]) -> Iterator[float]:
    """The rise of the loss on the repeat, in nats per token, as each of some heads (names of taps) is switched off: it
    becomes its mean over all tokens."""
    whole = _repeat_loss(model, text)
    means = {head: found.mean(dim=(0, 1)) for head, found in record(model, text.ids, heads).items()}
    for head in heads:
        with tapped(model, {head: partial(_same, means[head])}) as copied:
            yield _repeat_loss(copied, text) - whole


def _same(mean: Tensor, _: Tensor) -> Tensor:
    return mean


@torch.inference_mode()
def _repeat_loss(model: GPT, text: RepeatedText) -> float:
    """-ln p of the tokens of the repeat, the mean of all that follow its first."""
    places = text.places[:-1]
    hidden = model.hidden(text.ids)[:, places]
    targets = text.ids[:, places + 1]
    return float(model.cross_entropy(hidden, targets)) / targets.numel()
