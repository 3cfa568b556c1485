"""The state of training: everything that changes besides weights, optimizer and randomness."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from gptsmith.base.errors import CheckpointError, shown
from gptsmith.base.wrong_values import problem_in_words

Count = Annotated[int, Field(ge=0, lt=2**62)]


@dataclass
class TrainState:
    """The state of a training run, as train_state.json of a checkpoint holds it."""

    step: Count = 0
    """Steps done."""
    num_samples: Count = 0
    """Samples read: the place in the order of the data."""
    num_tokens: Count = 0
    """Tokens trained on."""
    seconds: float = 0.0
    """Time spent training, over all resumes of the run."""
    elapsed_seconds: float = 0.0
    """Time from the start of the verb, over all resumes, with everything that is not training."""
    train_loss: float | None = None
    """Loss of the last step, in nats per token."""
    validation_loss: float | None = None
    """The last one measured, in nats per token, at `validation_step`."""
    validation_step: Count | None = None
    validation_bits_per_byte: float | None = None
    best_validation_loss: float | None = None
    best_step: Count | None = None
    micro_batch_size: Count | None = None
    """Samples per forward pass, if memory ran out with what the settings say."""
    recent_losses: list[float] = field(default_factory=list)
    """Of the last accepted steps."""
    accepted_in_a_row: Count = 0
    skips_in_a_row: Count = 0
    rollbacks: Count = 0
    """Roll-backs to a checkpoint since the last long stretch of accepted steps."""

    def plain(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def checked(cls, table: dict[str, Any], path: Path) -> TrainState:
        """The state that a table holds which anybody may have written.

        Raises:
            CheckpointError: a value is of another type, or out of bounds.
        """
        try:
            return _ADAPTER.validate_python(table)
        except ValidationError as problem:
            first = problem.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise CheckpointError(
                f"{path}: {key}: {problem_in_words(first)} (given: {shown(first['input'])})"
            ) from None


_ADAPTER = TypeAdapter(TrainState)
