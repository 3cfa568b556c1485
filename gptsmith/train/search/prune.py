"""Pruning: a trial ends as soon as it cannot become the best."""

from __future__ import annotations

from gptsmith.base.console import Meter
from gptsmith.train.datasets.base import Score
from gptsmith.train.search.study import Study, Trial
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer


class PrunedError(Exception):
    """A trial is pruned; `figures` says where."""

    def __init__(self, step: int, share: float, loss: float) -> None:
        self.figures = {"step": step, "share": share, "validation_loss": loss}


class PruneTrial(Callback):
    """Shows how far a trial is, and ends it if the study says so."""

    def __init__(self, study: Study, trial: Trial, bar: Meter) -> None:
        self.study, self.trial, self.bar = study, trial, bar

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        share = trainer.state.step / trainer.num_steps
        self.bar.update(self.trial.number - 1 + share, f"trial {self.trial.number}: {share:.0%}")

    def on_evaluation(self, trainer: Trainer, score: Score, is_best: bool) -> None:
        """Compares the trial with the others.

        Raises:
            PrunedError: it cannot become the best.
        """
        step, loss = trainer.state.step, score.validation_loss
        if self.study.should_prune(self.trial, step, trainer.num_steps, loss):
            raise PrunedError(step, step / trainer.num_steps, loss)
