"""The plan of a run of so many minutes: corrected once while it is trained, and compared with the actual figures."""

from __future__ import annotations

import math
import time
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.files import readable_bytes, write_json
from gptsmith.base.machine import peak_memory_bytes
from gptsmith.run.folder import PLAN
from gptsmith.train.callbacks.evaluate import Evaluate
from gptsmith.train.planning.time_budget import CLOSING_S
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

REPLAN_AT = 0.38
"""The share of the time, or of the steps, after which the rest is planned anew. The rate begins to fall at 0.4."""
WARM_UP_STEPS, MIN_TIMED_STEPS = 3, 5


class Replan(Callback):
    """Sets the number of steps once, before the learning rate begins to fall, so that the last one comes in time."""

    def __init__(self, evaluate: Evaluate) -> None:
        self.evaluate = evaluate

    def on_start(self, trainer: Trainer) -> None:
        self.plan = trainer.run.plan()
        self.timed_from = trainer.started
        # Only a run that nothing has interrupted can tell from its own pace how many steps fit into the time left.
        self.may_replan = "predicted" in self.plan and "replanned" not in self.plan and trainer.state.step == 0

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        if not self.may_replan:
            return
        num_steps = trainer.processes.broadcast(self._num_steps_in_time(trainer))
        if num_steps is None:
            return
        self.may_replan = False
        planned = trainer.num_steps
        self.plan["replanned"] = {
            "at_step": trainer.state.step,
            "num_steps_before": planned,
            "num_steps": num_steps,
        }
        self._write(trainer)
        table = trainer.settings.plain()
        table["train"]["num_steps"] = num_steps
        trainer.settings = type(trainer.settings).parse(table)
        if trainer.processes.is_first:
            trainer.run.write_settings(table)
        trainer.run.log.append("replanned", step=trainer.state.step, **self.plan["replanned"])
        note(f"[dim]at this throughput {num_steps:,} steps fit into the time, not {planned:,}: planned again[/dim]")

    def _num_steps_in_time(self, trainer: Trainer) -> int | None:
        """The number of steps that fit into the time at the pace so far; None if it is too early to tell."""
        step, settings = trainer.state.step, trainer.settings.train
        now = time.monotonic()
        if step <= WARM_UP_STEPS:
            self.timed_from = now
        timed_steps, timed_s = step - WARM_UP_STEPS, now - self.timed_from
        if timed_steps < MIN_TIMED_STEPS:
            return None
        last_evaluation_s = self.evaluate.seconds_for(trainer.dataset.num_validation_tokens)
        left_s = self.plan["predicted"]["seconds"] - (now - trainer.started) - CLOSING_S - last_evaluation_s
        in_time = step + max(0, int(left_s * timed_steps / timed_s))
        if step < REPLAN_AT * min(settings.num_steps, in_time):
            return None
        constant_share = 1 - settings.schedule.decay_fraction
        return max(in_time, math.ceil(step / constant_share) if constant_share else step)

    def on_end(self, trainer: Trainer, figures: dict[str, Any]) -> None:
        """Records the actual figures beside the predicted ones, and shows both."""
        if trainer.status == "stopped" or not self.plan:
            return
        actual: dict[str, Any] = {
            name: figures[name] for name in ("seconds", "num_tokens", "bits_per_byte") if name in figures
        }
        actual["peak_memory_bytes"] = peak_memory_bytes()
        self.plan["actual"] = actual
        self._write(trainer)
        note(_comparison(self.plan["predicted"], actual))

    def _write(self, trainer: Trainer) -> None:
        if trainer.processes.is_first:
            write_json(trainer.run.folder / PLAN, self.plan)


def _comparison(predicted: dict[str, Any], actual: dict[str, Any]) -> str:
    """Both sides of a plan, for people."""
    parts = [f"{actual['seconds']:.0f} s of {predicted['seconds']:.0f} s"]
    if predicted.get("peak_memory_bytes") and actual["peak_memory_bytes"]:
        memory = (readable_bytes(figures["peak_memory_bytes"]) for figures in (actual, predicted))
        parts.append(" of memory of ".join(memory))
    if "bits_per_byte" in predicted and "bits_per_byte" in actual:
        low, high = predicted["bits_per_byte_low"], predicted["bits_per_byte_high"]
        parts.append(f"{actual['bits_per_byte']:.3f} bits per byte of {low:.3f} to {high:.3f}")
    return f"actual, of what was predicted: {'; '.join(parts)}"
