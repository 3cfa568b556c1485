"""Throughput of a run: tokens per second, and the share of the device's peak FLOPs that they take (MFU)."""

from __future__ import annotations

from gptsmith.model.cost import cost
from gptsmith.train.planning.throughput import product_rate
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer


class Throughput(Callback):
    """Tokens per second and model FLOPs utilization (Chowdhery et al. 2022), for the callbacks that show them."""

    def on_start(self, trainer: Trainer) -> None:
        self.flops_per_token = cost(trainer.settings.model).training_flops_per_token
        self.peak_flops_per_second = product_rate(trainer.device, trainer.dtype)
        self.num_read, self.seconds = 0.0, 0.0

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        batch_size = trainer.settings.train.batch_size
        self.num_read += trainer.dataset.num_tokens_of(trainer.state.num_samples - batch_size, batch_size)
        self.seconds += seconds

    def tokens_per_second(self, trainer: Trainer) -> float:
        """Those with a target, of the run so far."""
        return trainer.state.num_tokens / max(trainer.state.seconds, 1e-9)

    def mfu(self, trainer: Trainer) -> float:
        """The share of the peak of this machine's own matrix products since this start, per process. All tokens that
        are read count, also prompts, which have no target."""
        flops_per_second = self.num_read / max(self.seconds, 1e-9) * self.flops_per_token / trainer.processes.world_size
        return flops_per_second / self.peak_flops_per_second
