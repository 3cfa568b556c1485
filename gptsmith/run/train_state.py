"""The state of training: everything that changes besides weights, optimizer and randomness."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class TrainState:
    """The state of a training run, as train_state.json of a checkpoint holds it."""

    step: int = 0
    """Steps done."""
    num_samples: int = 0
    """Samples read: the place in the order of the data."""
    num_tokens: int = 0
    """Tokens trained on."""
    seconds: float = 0.0
    """Time spent training, over all resumes of the run."""
    elapsed_seconds: float = 0.0
    """Time from the start of the verb, over all resumes, with everything that is not training."""
    train_loss: float | None = None
    """Loss of the last step, in nats per token."""
    validation_loss: float | None = None
    """The last one measured, in nats per token, at `validation_step`."""
    validation_step: int | None = None
    validation_bits_per_byte: float | None = None
    best_validation_loss: float | None = None
    best_step: int | None = None
    micro_batch_size: int | None = None
    """Samples per forward pass, if memory ran out with what the settings say."""
    recent_losses: list[float] = field(default_factory=list)
    """Of the last accepted steps."""
    accepted_in_a_row: int = 0
    skips_in_a_row: int = 0
    rollbacks: int = 0
    """Roll-backs to a checkpoint since the last long stretch of accepted steps."""

    def plain(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
