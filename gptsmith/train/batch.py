"""A micro-batch, and how likely a model finds what it is trained to write in it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT


@dataclass(frozen=True)
class Batch:
    """Token ids (B, T), and for each the id that should follow it; -100 where no token is predicted."""

    input_ids: Tensor
    targets: Tensor
    segments: Tensor | None = None
    """(B, T), the example of its row that a token belongs to; None if every row holds a single one."""

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    @property
    def num_tokens(self) -> int:
        """The number of tokens that are predicted."""
        return int((self.targets != IGNORED).sum())


def sequence_log_likelihoods(model: GPT, input_ids: Tensor, targets: Tensor) -> Tensor:
    """The log-likelihood, in nats, of each row's targets together: (B, T), (B, T) to (B)."""
    row, values = model.token_log_likelihoods(model.hidden(input_ids), targets)
    return values.new_zeros(len(input_ids)).index_add(0, row, values)
