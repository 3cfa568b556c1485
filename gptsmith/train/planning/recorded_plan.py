"""A run's plan.json: the figures predicted before it, every time the rest was planned again, and the actual figures."""

from __future__ import annotations

import math
from typing import Any

from gptsmith.base.files import readable_bytes, readable_seconds, write_json
from gptsmith.run.folder import PLAN, Run
from gptsmith.train.planning.plan import Corpus, expectation, interval, useful_tokens
from gptsmith.train.planning.time_budget import CLOSING_S, predicted_in_a_line, without_embeddings
from gptsmith.train.run_settings import TrainingSettings

IN_FORCE = ("num_steps", "decay_fraction")
"""The figures of a plan that the learning rate depends on."""


class RecordedPlan:
    """The plan of a run, as plan.json holds it.

    Attributes:
        table: `predicted`; `budget_seconds`, the time of the run over all resumes, None once somebody gave the number
            of steps instead; `corpus`, the text that losses are predicted for; `replanned`, a list; `actual`. Of a
            fine-tuning also `closing_seconds`, `max_steps`, `tokens_per_step` and `tokens_per_epoch`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.table = run.plan()

    @property
    def predicted(self) -> dict[str, Any]:
        """The figures predicted before the run."""
        return dict(self.table.get("predicted", {}))

    @property
    def replans(self) -> list[dict[str, Any]]:
        """A record for each time that the rest was planned again, in order."""
        return list(self.table.get("replanned", []))

    @property
    def budget_s(self) -> float | None:
        """The seconds that the run may take, over all resumes; None if it has no such limit."""
        value = self.table.get("budget_seconds", self.predicted.get("seconds"))
        return None if value is None else float(value)

    @property
    def newest(self) -> dict[str, Any]:
        """The predicted figures as the last replan left them."""
        return {**self.predicted, **(self.replans[-1] if self.replans else {})}

    def in_force(self, step: int) -> dict[str, Any] | None:
        """The figures of `IN_FORCE` that hold for the step after `step`; None if the plan does not say."""
        known = [one for one in [self.predicted, *self.replans] if all(name in one for name in IN_FORCE)]
        begun = [one for one in known if one.get("step", 0) <= step]
        return {name: begun[-1][name] for name in IN_FORCE} if begun else None

    def max_steps(self, settings: TrainingSettings) -> int | None:
        """The most steps that a plan comes to: later epochs of the same text teach nothing. None if not known."""
        if "max_steps" in self.table:
            return int(self.table["max_steps"])
        if "corpus" not in self.table:
            return None
        return int(useful_tokens(self.table["corpus"]["num_tokens"]) / self.tokens_per_step(settings))

    @property
    def closing_s(self) -> float:
        """Seconds between the last step and the end, without the evaluation on all validation data."""
        return float(self.table.get("closing_seconds", CLOSING_S))

    def tokens_per_step(self, settings: TrainingSettings) -> float:
        """The tokens of a step; of examples on the average."""
        of_text = settings.train.batch_size * settings.model.context_length
        return float(self.table.get("tokens_per_step", of_text))

    def add(
        self,
        step: int,
        why: str,
        settings: TrainingSettings,
        num_steps: int,
        decay_fraction: float,
        *,
        seconds: float | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Records a replan at `step` of a run with these settings, which will take `seconds` in all; later records
        are dropped. Returns the record."""
        before = self.newest
        size = self.tokens_per_step(settings)
        record: dict[str, Any] = {
            "step": step,
            "why": why,
            "num_steps_before": settings.train.num_steps,
            "num_steps": num_steps,
            "decay_fraction": decay_fraction,
            "num_tokens_before": round(settings.train.num_steps * size),
            "num_tokens": round(num_steps * size),
            "seconds": seconds,
            **more,
        }
        if "tokens_per_epoch" in self.table:
            record["epochs"] = record["num_tokens"] / self.table["tokens_per_epoch"]
        if "corpus" in self.table:
            corpus = Corpus(**self.table["corpus"])
            record["epochs"] = record["num_tokens"] / max(corpus.num_tokens, 1)
            if "bits_per_byte" in before:
                expected = expectation(max(record["num_tokens"], 1), without_embeddings(settings.model), corpus)
                low, high = interval(expected, record["num_tokens"])
                record |= {
                    "bits_per_byte_before": before["bits_per_byte"],
                    "bits_per_byte": expected,
                    "bits_per_byte_low": low,
                    "bits_per_byte_high": high,
                }
        self.table["replanned"] = [*(one for one in self.replans if one["step"] <= step), record]
        return record

    def record_change(self, step: int, settings: TrainingSettings) -> None:
        """Records that a person has given other steps to a run that stands at `step`, if so; its time then no longer
        counts."""
        newest = self.newest
        if not all(name in newest for name in IN_FORCE):
            return
        given = {"num_steps": settings.train.num_steps, "decay_fraction": settings.train.schedule.decay_fraction}
        if given == {name: newest[name] for name in IN_FORCE}:
            return
        if given["num_steps"] != newest["num_steps"]:
            self.table["budget_seconds"] = None
        train = settings.plain()["train"]
        train |= {"num_steps": newest["num_steps"]}
        before = type(settings).parse({**settings.plain(), "train": train})
        self.add(step, "given by a person", before, int(given["num_steps"]), float(given["decay_fraction"]))
        self.write()

    def write(self) -> None:
        """Writes plan.json."""
        write_json(self.run.folder / PLAN, self.table)

    def in_a_line(self, spent_s: float) -> str:
        """The predicted figures for people, for a run that has taken so many seconds before this start."""
        line = predicted_in_a_line(self.newest)
        if self.budget_s is None or spent_s < 1:
            return line
        left = max(self.budget_s - spent_s, 0) / 60
        return f"{line}; {spent_s / 60:.1f} of the {self.budget_s / 60:.1f} minutes are spent, {left:.1f} are left"

    def comparison(self) -> str:
        """The actual figures beside the predicted ones, for people."""
        predicted, newest, actual = self.predicted, self.newest, self.table["actual"]
        allowed = min(self.budget_s or math.inf, predicted["seconds"])
        parts = [f"{actual['seconds']:.0f} s of {allowed:.0f} s"]
        if predicted.get("peak_memory_bytes") and actual["peak_memory_bytes"]:
            memory = (readable_bytes(figures["peak_memory_bytes"]) for figures in (actual, predicted))
            parts.append(" of memory of ".join(memory))
        if self.replans and "num_tokens" in actual:
            first, times = self.replans[0]["num_tokens_before"], len(self.replans)
            again = "once" if times == 1 else f"{times} times"
            parts.append(f"{actual['num_tokens']:,.0f} tokens of {first:,.0f} (planned again {again})")
        if "bits_per_byte" in newest and "bits_per_byte" in actual:
            low, high = newest["bits_per_byte_low"], newest["bits_per_byte_high"]
            parts.append(f"{actual['bits_per_byte']:.3f} bits per byte of {low:.3f} to {high:.3f}")
            if self.replans:
                parts[-1] += f" ({predicted['bits_per_byte']:.3f} before it was planned again)"
        return f"actual, of what was predicted: {'; '.join(parts)}"


def replan_in_words(record: dict[str, Any]) -> str:
    """A record of `RecordedPlan.replans` for people: why, what changes, and what is lost by it."""
    before, after, done = record["num_steps_before"], record["num_steps"], record["step"]
    left = ""
    if "minutes_left" in record:
        time_left = readable_seconds(60 * record["minutes_left"])
        left = f"; {after - done:,} more steps fit into the {time_left} left, not {max(before - done, 0):,}"
    share = record["num_tokens"] / max(record["num_tokens_before"], 1)
    tokens = f"{record['num_tokens_before']:,.0f} to {record['num_tokens']:,.0f} tokens"
    changed = f"{1 - share:.0%} of the training is lost" if share < 1 else f"{share - 1:.0%} more training"
    expected = ""
    if "bits_per_byte" in record:
        low, high = record["bits_per_byte_low"], record["bits_per_byte_high"]
        expected = (
            f"; expected now: {record['bits_per_byte']:.2f} bits per byte ({low:.2f} to {high:.2f}), "
            f"before: {record['bits_per_byte_before']:.2f}"
        )
    return f"planned again at step {done:,}: {record['why']}{left}: {changed} ({tokens}){expected}"
