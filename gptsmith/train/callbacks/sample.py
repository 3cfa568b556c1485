"""Text that the model writes while it is trained, for people to see it improve."""

from __future__ import annotations

from gptsmith.base.console import note
from gptsmith.run.sharding import is_sharded
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer


class Sample(Callback):
    """Samples from the model every so many steps, but the last one."""

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        done = trainer.state.step
        if trainer.settings.train.private.is_on:  # prompts are private
            return
        if done % trainer.settings.train.sample_every_steps or done >= trainer.num_steps:
            return
        if trainer.processes.is_first or is_sharded(trainer.model):
            trainer.model.eval()
            if text := trainer.dataset.sample(trainer.model, done):
                trainer.run.log.append("sample", step=done, text=text)
                note(f"sample: {' '.join(text.split())}", "dim")
            trainer.model.train()
