"""The plan of a run of so many minutes: kept to while it is trained, and compared with the actual figures."""

from __future__ import annotations

import time
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.hints import shell_command
from gptsmith.base.machine import peak_memory_bytes
from gptsmith.train.callbacks.evaluate import Evaluate
from gptsmith.train.planning.recorded_plan import RecordedPlan, replan_in_words
from gptsmith.train.planning.time_budget import FORWARD_SHARE
from gptsmith.train.schedule import replanned_decay
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

REPLAN_AT = 0.38
"""The share of the time, or of the steps, after which the rest is planned anew. The rate begins to fall at 0.4."""
WARM_UP_STEPS, MIN_TIMED_STEPS = 3, 5
WINDOW_SHARE = 1 / 8
"""The pace is that of the newest steps, of this share of all."""
LATE, EARLY = 0.02, 0.05
"""Shares of the time by which a run may end late or early before its rest is planned again."""
SPACING = 0.05
"""The share of the time that passes at least between two replans."""
SAME_PACE = 0.05
"""A change of the pace that is not named as the reason of a replan."""


class Replan(Callback):
    """Sets the number of steps whenever the pace has changed, so that the last one comes in time: the first time before
    the learning rate begins to fall, and later from wherever it is.

    The steps and the decay that hold at a step are a pure function of plan.json, so that a resumed run repeats them.
    """

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate

    def on_start(self, trainer: Trainer) -> None:
        self.plan = RecordedPlan(trainer.run)
        self.times = [time.monotonic()]
        """When this start's steps ended, without the time of evaluations; the first is the start."""
        self.replanned_s = float("-inf")
        self._follow(trainer)
        if self._budget(trainer) is not None and trainer.state.step:
            left = trainer.processes.broadcast(self._left_s(trainer))
            if left <= 0:
                why = f"the {self.plan.budget_s / 60:.3g} minutes are spent" if self.plan.budget_s else ""
                self._replan(trainer, [trainer.state.step, why, 0.0, 0.0])
                note(f"to train it further: {further(trainer)}")

    def before_step(self, trainer: Trainer) -> None:
        self._follow(trainer)

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        if self._budget(trainer) is None:
            return
        self.times.append(time.monotonic() - self.evaluate.seconds)
        if trainer.state.step < trainer.num_steps:
            decision = trainer.processes.broadcast(self._decision(trainer))
            if decision is not None:
                self._replan(trainer, decision)

    def _budget(self, trainer: Trainer) -> float | None:
        return self.plan.budget_s if self.plan.predicted else None

    def _left_s(self, trainer: Trainer) -> float:
        """Seconds that are left for steps and the evaluations among them."""
        assert self.plan.budget_s is not None
        last = self.evaluate.seconds_for(trainer.dataset.num_validation_tokens, self._token_s(trainer))
        return self.plan.budget_s - trainer.elapsed_s - self.plan.closing_s - last

    def _step_s(self, trainer: Trainer) -> tuple[float, int]:
        """Seconds per step at the present pace, and the number of steps that it was measured on; 0 before the first."""
        times = self.times if len(self.times) <= WARM_UP_STEPS + 1 else self.times[WARM_UP_STEPS:]
        window = times[-1 - max(MIN_TIMED_STEPS, round(WINDOW_SHARE * trainer.num_steps)) :]
        steps = len(window) - 1
        return ((window[-1] - window[0]) / steps if steps else 0.0), steps

    def _token_s(self, trainer: Trainer) -> float:
        """Seconds that an evaluation takes per token, by the pace of the steps."""
        settings = trainer.settings.train
        return self._step_s(trainer)[0] / (settings.batch_size * trainer.dataset.tokens_per_sample) * FORWARD_SHARE

    def _decision(self, trainer: Trainer) -> list[Any] | None:
        """The number of steps that fit into the time if that is another than planned, why, the seconds left, and those
        of a step; None if all is well, or if it is too early to tell."""
        assert self.plan.budget_s is not None
        step, settings, budget = trainer.state.step, trainer.settings.train, self.plan.budget_s
        step_s, num_timed = self._step_s(trainer)
        left_s, planned = self._left_s(trainer), settings.num_steps
        if num_timed < MIN_TIMED_STEPS and left_s > 2 * (WARM_UP_STEPS + MIN_TIMED_STEPS) * step_s:
            return None
        validation = min(settings.evaluation_tokens, trainer.dataset.num_validation_tokens)
        evaluation_s = self.evaluate.seconds_for(validation, self._token_s(trainer))
        with_evaluations_s = max(step_s + evaluation_s / settings.evaluate_every_steps, 1e-9)
        in_time = step + max(0, int(left_s / with_evaluations_s))
        limit = self.plan.max_steps(trainer.settings)
        in_time = in_time if limit is None else min(in_time, max(limit, planned))
        if step < REPLAN_AT * min(planned, in_time):
            return None
        is_first = not self.plan.replans
        missing_s = (planned - in_time) * with_evaluations_s
        late, early = (0.0, 0.0) if is_first else (LATE * budget, EARLY * budget)
        elapsed = trainer.elapsed_s
        if in_time == planned or -early <= missing_s <= late:
            return None
        if elapsed - self.replanned_s < min(SPACING * budget, left_s / 4):
            return None
        if in_time > planned and left_s < SPACING * budget:  # too little to be worth a word
            return None
        return [in_time, self._why(trainer, step_s, in_time > planned), left_s, step_s]

    def _why(self, trainer: Trainer, step_s: float, is_early: bool) -> str:
        """The reason of a replan, for people."""
        newest = self.plan.newest
        planned = newest.get("seconds_per_step")
        if planned is None and "tokens_per_second" in newest:
            planned = self.plan.tokens_per_step(trainer.settings) / newest["tokens_per_second"]
        if not planned or abs(step_s / planned - 1) < SAME_PACE:
            return f"{'less' if is_early else 'more'} time than planned went into something other than steps"
        slower = step_s > planned
        factor = step_s / planned if slower else planned / step_s
        word = "slower" if slower else "faster"
        return f"a step takes {step_s:.2g} s and not {planned:.2g} s, {factor:.1f} times {word}"

    def _replan(self, trainer: Trainer, decision: list[Any]) -> None:
        num_steps, why, left_s, step_s = decision
        train = trainer.settings.train
        step = trainer.state.step
        record = self.plan.add(
            step,
            why,
            trainer.settings,
            num_steps,
            replanned_decay(step, train.num_steps, num_steps, train.schedule),
            seconds=trainer.elapsed_s + left_s if num_steps > step else trainer.elapsed_s,
            minutes_left=max(left_s, 0) / 60,
            seconds_per_step=step_s,
        )
        self.replanned_s = trainer.elapsed_s
        if trainer.processes.is_first:
            self.plan.write()
        self._follow(trainer)
        if trainer.processes.is_first:
            trainer.run.write_settings(trainer.settings.plain())
        trainer.run.log.append("replanned", **record)
        is_loss = record["num_tokens"] < record["num_tokens_before"]
        color = "yellow" if is_loss else "dim"
        note(replan_in_words(record), color)

    def _follow(self, trainer: Trainer) -> None:
        """Gives the trainer the steps and the decay that hold at its step."""
        figures = self.plan.in_force(trainer.state.step)
        train = trainer.settings.train
        if figures is None or (figures["num_steps"], figures["decay_fraction"]) == (
            train.num_steps,
            train.schedule.decay_fraction,
        ):
            return
        table = trainer.settings.plain()
        table["train"]["num_steps"] = figures["num_steps"]
        table["train"]["schedule"]["decay_fraction"] = figures["decay_fraction"]
        trainer.settings = type(trainer.settings).parse(table)

    def on_end(self, trainer: Trainer, figures: dict[str, Any]) -> None:
        """Records the actual figures beside the predicted ones, and shows both."""
        if trainer.status == "stopped" or not self.plan.predicted:
            return
        actual: dict[str, Any] = {
            name: figures[name] for name in ("seconds", "num_tokens", "bits_per_byte") if name in figures
        }
        actual["seconds"] += trainer.seconds_before
        if "tokens_per_step" in self.plan.table:  # all tokens of examples are read, and some of them trained
            actual["num_tokens"] = round(trainer.state.step * self.plan.tokens_per_step(trainer.settings))
        actual["peak_memory_bytes"] = peak_memory_bytes()
        self.plan.table["actual"] = actual
        if trainer.processes.is_first:
            self.plan.write()
        note(self.plan.comparison())


def further(trainer: Trainer) -> str:
    """The command that trains a run on after its time is spent."""
    if trainer.settings.made_by == "finetune":
        return shell_command("finetune", trainer.run.folder, "DATA")
    return f"{trainer.resume_command} --tokens N, more than it was trained on"
