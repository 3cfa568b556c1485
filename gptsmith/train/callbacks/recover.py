"""Recovery from steps with a loss or gradients that are not finite, or with a loss spike."""

from __future__ import annotations

from gptsmith.base.console import note
from gptsmith.train.batch import Batch
from gptsmith.train.callbacks.checkpoint import SaveCheckpoints
from gptsmith.train.callbacks.diagnose import diagnosis
from gptsmith.train.stability import TrainingDivergedError
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

ROLLED_BACK = (
    "step", "num_tokens", "validation_loss", "validation_step", "best_validation_loss", "best_step", "recent_losses",
)  # fmt: skip
"""The parts of the state that return to the checkpoint's; the place in the data's order does not."""


class Recover(Callback):
    """Skips a bad step, rolls back to the last checkpoint after several, and gives up after several roll-backs."""

    def __init__(self, checkpoints: SaveCheckpoints) -> None:
        self.checkpoints = checkpoints

    def on_out_of_memory(self, trainer: Trainer, problem: str) -> None:
        done = f"now {trainer.state.micro_batch_size} at a time, the step stays the same"
        _report(trainer, "out_of_memory", problem, done)

    def on_rejected_step(self, trainer: Trainer, step: StepResult, batches: list[Batch]) -> None:
        """Recovers from a step with a problem.

        Raises:
            TrainingDivergedError: nothing helped, or there is no checkpoint to roll back to; the message is a
                diagnosis.
        """
        outcome, problem = step.judgement
        if outcome == "diverged" or (outcome == "roll_back" and not self._roll_back(trainer)):
            raise TrainingDivergedError(f"training diverged: {problem}, again and again: {diagnosis(trainer, batches)}")
        rolled_back = f"rolled back to the weights of step {trainer.state.step:,}"
        _report(trainer, outcome, problem, rolled_back if outcome == "roll_back" else "the step is skipped")

    def _roll_back(self, trainer: Trainer) -> bool:
        """Restores the newest good checkpoint's weights; the data continues from where it is now."""
        checkpoint = self.checkpoints.newest(trainer)
        if checkpoint is None:
            return False
        trainer.restore(checkpoint)
        then = checkpoint.train_state()
        for name in ROLLED_BACK:
            setattr(trainer.state, name, getattr(then, name))
        return True


def _report(trainer: Trainer, event: str, problem: str, done: str) -> None:
    state = trainer.state
    trainer.run.log.append(event, step=state.step, sample=state.num_samples, problem=problem)
    note(f"step {state.step + 1:,}: {problem}; {done}", "yellow")
