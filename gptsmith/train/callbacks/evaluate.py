"""The validation loss: measured now and then, and of the best weights at the end. May end training early."""

from __future__ import annotations

import math
import time
from typing import Any

from gptsmith.base.console import meter, note
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.contents import load_trained_weights
from gptsmith.run.followed import same_checkpoint
from gptsmith.run.train_state import TrainState
from gptsmith.train.datasets.base import Score
from gptsmith.train.settings import TrainSettings
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

GENERAL, KEPT = "general_bits_per_byte", "general_answers_kept"


class Evaluate(Callback):
    """Measures the validation loss.

    Attributes:
        seconds: time that evaluations took.
        num_tokens: tokens that they read.
        full_score: the last score of the whole validation set, and the step that it is of.
    """

    def __init__(self) -> None:
        self.seconds, self.num_tokens = 0.0, 0
        self.full_score: tuple[int, Score] | None = None

    def on_start(self, trainer: Trainer) -> None:
        if trainer.settings.train.evaluate_at_start and trainer.state.step == 0:
            self.evaluate(trainer)

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        state, settings = trainer.state, trainer.settings.train
        is_last = state.step >= trainer.num_steps
        if state.step % settings.evaluate_every_steps and not is_last:
            return
        is_best = self.evaluate(trainer)
        if settings.target_loss is not None and (state.validation_loss or float("inf")) <= settings.target_loss:
            trainer.end("target_reached")
        elif not is_best and not is_last and is_out_of_patience(state, settings):
            trainer.end("early_stopped")

    def evaluate(self, trainer: Trainer) -> bool:
        """Measures the validation loss into the state; returns whether it is the lowest so far.

        A part of the validation set is read first; all of it only if that could end training.
        """
        state, settings = trainer.state, trainer.settings.train
        if not trainer.dataset.num_validation_tokens:
            return False
        trainer.model.eval()
        started = time.monotonic()
        score = self._measure(trainer, settings.evaluation_tokens)
        if settings.target_loss is not None and score.validation_loss <= settings.target_loss:
            score = self._measure(trainer, None)
        state.seconds += time.monotonic() - started
        trainer.model.train()
        loss = score.validation_loss
        state.validation_loss, state.validation_step = loss, state.step
        if settings.private.is_on:  # the last weights are the result
            is_best = state.step >= trainer.num_steps
        else:
            is_best = state.best_validation_loss is None or loss < state.best_validation_loss
            is_best = is_best and self._is_known_enough(trainer, score)
        if is_best:
            state.best_validation_loss, state.best_step = loss, state.step
        for callback in trainer.callbacks:
            callback.on_evaluation(trainer, score, is_best)
        return is_best

    def _measure(self, trainer: Trainer, max_tokens: int | None) -> Score:
        started = time.monotonic()
        score = trainer.dataset.score(trainer.model, max_tokens=max_tokens, processes=trainer.processes)
        if trainer.settings.train.max_forgetting is not None and (known := trainer.dataset.known_text) is not None:
            score.figures[GENERAL] = known.bits_per_byte(trainer.model)
        if trainer.settings.train.min_kept_answers is not None and trainer.dataset.known_answers is not None:
            score.figures[KEPT] = trainer.dataset.known_answers.kept(trainer.model).fraction
        self.seconds += time.monotonic() - started
        self.num_tokens += score.num_tokens
        if score.is_whole:
            self.full_score = (trainer.state.step, score)
        trainer.state.validation_bits_per_byte = score.figures.get("bits_per_byte")
        trainer.run.log.append("evaluation", step=trainer.state.step, num_tokens=score.num_tokens, **score.figures)
        note(f"step {trainer.state.step:,}: {_in_a_line(score)}")
        return score

    def _is_known_enough(self, trainer: Trainer, score: Score) -> bool:
        """Whether the model keeps to `max_forgetting` and `min_kept_answers`."""
        known, settings, figures = trainer.dataset.known_text, trainer.settings.train, score.figures
        limit = math.inf if known is None else known.before * (1 + (settings.max_forgetting or 0.0))
        is_likely = settings.max_forgetting is None or figures.get(GENERAL, 0.0) <= limit
        return is_likely and (settings.min_kept_answers is None or figures.get(KEPT, 1.0) >= settings.min_kept_answers)

    def seconds_for(self, num_tokens: int, expected_s_per_token: float) -> float:
        """The time that an evaluation on so many tokens takes at the pace so far, or as expected if there was none."""
        return (self.seconds / self.num_tokens if self.num_tokens else expected_s_per_token) * num_tokens

    def result(self, trainer: Trainer) -> dict[str, Any]:
        """The figures of the best weights, which are loaded for it, on the whole validation set."""
        state, dataset = trainer.state, trainer.dataset
        is_stopped = trainer.status == "stopped"
        if state.best_step is None:
            return {} if is_stopped else dataset.final_figures(trainer.model)
        if is_stopped:
            return {"validation_loss": state.validation_loss, "best_step": state.best_step}
        if state.best_step != state.step:
            note(f"the validation loss was lowest at step {state.best_step:,}: those weights are the result")
            saved = list_checkpoints(trainer.run.checkpoints)
            best = same_checkpoint(
                trainer.run, lambda: next(c for c in saved if c.step == state.best_step), trainer.processes
            )
            assert best is not None
            load_trained_weights(trainer.model, best)
        if self.full_score is None or self.full_score[0] != state.best_step:
            with meter("measuring the validation loss", dataset.num_validation_tokens) as bar:
                score = dataset.score(trainer.model, observe=bar.update, processes=trainer.processes)
        else:
            score = self.full_score[1]
        closing = dataset.final_figures(trainer.model)
        return {**score.figures, "best_step": state.best_step, **closing}


def is_out_of_patience(state: TrainState, settings: TrainSettings) -> bool:
    """Whether `patience_evaluations` in a row were worse than the best one."""
    if settings.patience_evaluations is None or state.best_step is None:
        return False
    return state.step - state.best_step >= settings.patience_evaluations * settings.evaluate_every_steps


def _in_a_line(score: Score) -> str:
    """`validation loss 1.2345, 1.678 bits per byte, accuracy 0.91`: the figures of a score for people."""
    parts = [f"validation loss {score.validation_loss:.4f}"]
    for name, value in score.figures.items():
        if name == "bits_per_byte":
            parts.append(f"{value:.3f} bits per byte")
        elif name == GENERAL:
            parts.append(f"general text {value:.3f} bits per byte")
        elif name == KEPT:
            parts.append(f"{value:.0%} of the base's answers kept")
        elif name not in ("validation_loss", "perplexity"):
            parts.append(f"{name.replace('_', ' ')} {value:.3f}")
    return ", ".join(parts)
