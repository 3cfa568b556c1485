"""The progress bar of a run, with its loss and throughput."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gptsmith.base.console import meter
from gptsmith.train.callbacks.throughput import Throughput
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer


class Progress(Callback):
    """Shows how far a run is."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    @contextmanager
    def running(self, trainer: Trainer) -> Iterator[None]:
        with meter("training", trainer.num_steps) as self.bar:
            yield

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        state = trainer.state
        if self.bar.total != trainer.num_steps:
            self.bar.resize(trainer.num_steps)
        loss = f"loss {state.train_loss:.3f}" if state.train_loss is not None else ""
        validation = f"  validation {state.validation_loss:.3f}" if state.validation_loss is not None else ""
        bits = f" ({state.validation_bits_per_byte:.3f} bits per byte)" if state.validation_bits_per_byte else ""
        shares = step.load.figures()
        experts = "  experts {idlest_expert:.0%} to {busiest_expert:.0%}".format_map(shares) if shares else ""
        self.bar.update(
            state.step,
            f"{loss}{validation}{bits}{experts}  "
            f"{self.throughput.tokens_per_second(trainer):,.0f} tokens/s, MFU {self.throughput.mfu(trainer):.0%}",
        )
