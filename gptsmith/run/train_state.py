"""Where training stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class TrainState:
    """Everything that moves while a model is trained, besides its weights, optimizer and randomness."""

    step: int = 0
    """Steps done."""
    num_samples: int = 0
    """Windows read: the place in the data's order."""
    num_tokens: int = 0
    """Tokens trained on."""
    seconds: float = 0.0
    """Time spent in all sessions of the run."""
    train_loss: float | None = None
    """Loss of the last step, in nats a token."""
    validation_loss: float | None = None
    """The last one measured, in nats a token, at `validation_step`."""
    validation_step: int | None = None
    validation_bits_per_byte: float | None = None
    best_validation_loss: float | None = None
    best_step: int | None = None
    micro_batch_size: int | None = None
    """Windows a forward pass, where memory ran out with what was asked for."""
    recent_losses: list[float] = field(default_factory=list)
    """Of the last healthy steps."""
    healthy_in_a_row: int = 0
    skips_in_a_row: int = 0
    rollbacks: int = 0
    """Returns to a checkpoint since the last long stretch of healthy steps."""

    def plain(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
