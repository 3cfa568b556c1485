"""The trainer of private runs: steps of Poisson-sampled units with noise, and the promise in the result."""

from __future__ import annotations

import math
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.model.gpt import GPT
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.distributed import SINGLE_PROCESS, Processes
from gptsmith.run.folder import Run
from gptsmith.run.privacy_claim import CLAIM, PRIVATE, claim_in_a_line, write_unfinished_claim
from gptsmith.train.batch import Batch
from gptsmith.train.callbacks import default_callbacks
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.private.claim import claim, sampling_rate
from gptsmith.train.private.outlook import private_outlook
from gptsmith.train.private.randomness import PrivateRandomness, delete_key
from gptsmith.train.private.step import set_private_gradients
from gptsmith.train.private.units import UnitDataset
from gptsmith.train.run_settings import TrainingSettings
from gptsmith.train.schedule import lr_multiplier
from gptsmith.train.stability import ACCEPTED, gradient_norm, is_out_of_memory, nonfinite_parameters
from gptsmith.train.step import StepResult, scale_gradients
from gptsmith.train.trainer import Callback, Trainer


class PrivateTrainer(Trainer):
    """Trains with noise. No loss of the private data is recorded, and no step is judged by it."""

    is_private = True
    dataset: UnitDataset

    def train(self) -> None:
        self.randomness = PrivateRandomness.of_run(
            self.run.folder, has_begun=bool(list_checkpoints(self.run.checkpoints))
        )
        super().train()

    def _take_step(self) -> tuple[StepResult, list[Batch]]:
        state, settings, dataset = self.state, self.settings.train, self.dataset
        private, step = settings.private, state.step
        assert private.noise_multiplier is not None
        numbers = self.randomness.sampled_units(step, dataset.num_samples, sampling_rate(settings, dataset.num_samples))
        units = ([batch.to(self.device) for batch in dataset.unit(number)] for number in numbers)
        try:
            set_private_gradients(
                self.model,
                settings.objective,
                units,
                clip_norm=private.clip_norm,
                noise_multiplier=private.noise_multiplier,
                expected_units=settings.batch_size,
                noise=lambda name, like: self.randomness.gaussian(step, name, like),
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                "memory is too small for one window of this model: set a smaller model.context_length, or --lora"
            ) from None
        norm = gradient_norm(self.model)
        if not math.isfinite(norm) or nonfinite_parameters(self.model)[0]:
            raise UserError(f"training diverged at step {step:,}: start again with a lower --learning-rate")
        if settings.max_gradient_norm is not None and norm > settings.max_gradient_norm:
            scale_gradients(self.model, settings.max_gradient_norm / norm)
        multiplier = lr_multiplier(step, self.num_steps, settings.schedule)
        self.optimizer.step(multiplier)
        num_tokens = round(dataset.num_tokens_of(state.num_samples, settings.batch_size))
        return StepResult(None, norm, num_tokens, ACCEPTED, multiplier), []

    def claim(self, num_steps: int) -> dict[str, Any]:
        """The promise of the weights after so many steps."""
        return claim(self.settings.train, self.dataset.num_samples, self.dataset.name, num_steps)


class ClaimPrivacy(Callback):
    """Says what the trained weights promise, and deletes the key of the noise once no step will follow."""

    def on_start(self, trainer: Trainer) -> None:
        assert isinstance(trainer, PrivateTrainer)
        units = trainer.dataset
        figures, advice = private_outlook(trainer.settings, units.num_samples, units.name, trainer.model)
        note(claim_in_a_line(figures))
        write_unfinished_claim(trainer.run.folder, trainer.claim(trainer.num_steps))
        for line in advice:
            note(line, "yellow")

    def result(self, trainer: Trainer) -> dict[str, Any]:
        assert isinstance(trainer, PrivateTrainer)
        claim = trainer.claim(trainer.state.step)
        write_unfinished_claim(trainer.run.folder, claim)
        return {PRIVATE: claim}

    def on_end(self, trainer: Trainer, figures: dict[str, Any]) -> None:
        note(claim_in_a_line(figures[PRIVATE]))
        if trainer.status != "stopped":
            (trainer.run.folder / CLAIM).unlink(missing_ok=True)
            delete_key(trainer.run.folder)


def new_trainer(
    run: Run,
    settings: TrainingSettings,
    dataset: Dataset,
    processes: Processes = SINGLE_PROCESS,
    model: GPT | None = None,
) -> Trainer:
    """The trainer of a run, private if its dataset is read unit by unit."""
    if isinstance(dataset, UnitDataset):
        return PrivateTrainer(run, settings, dataset, processes, model, default_callbacks(ClaimPrivacy()))
    return Trainer(run, settings, dataset, processes, model, default_callbacks())
