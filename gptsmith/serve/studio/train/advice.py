"""Honest advice on a training before it starts: what comes of it, and what would be better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gptsmith.base.files import readable_bytes
from gptsmith.model.memory import PROCESS_BYTES
from gptsmith.serve.studio.train.estimate import BYTES_PER_EXAMPLE_TOKEN, Amount, tokens_per_second
from gptsmith.serve.studio.train.found_models import FoundModel
from gptsmith.train.planning.memory import MEMORY_SHARE
from gptsmith.train.planning.outlook import outlook_level
from gptsmith.train.planning.throughput import Speed

LEAST_BYTES, LITTLE_BYTES = 1200, 200_000
"""Text with which a new model cannot begin; and of which it learns the words by heart rather than the language."""
FEW_EXAMPLES = 50
"""Fewer show a form, and hardly more."""
ABLE_PARAMETERS = 50e6
"""Models that know a language well enough to answer have at least so many."""
WASTED_SHARE, READ_SHARE = 0.8, 0.5
"""A plan that uses less of its time than this has time to spare; one that reads less of its text needs more."""
EXAMPLES_IN_SECONDS = 0.5
"""A model suits a time in which it reads half of the examples."""

Tone = Literal["stop", "warning", "note"]
Code = Literal[
    "too_little", "little", "outlook0", "outlook1", "outlook2", "outlook3", "from_for_examples", "get_for_examples",
    "from_for_answers", "get_for_answers", "few_examples", "small_base", "tuned", "tuned_on_text", "memory_new",
    "memory_lora", "memory_tuning", "disk", "time_left", "time_short",
]  # fmt: skip
OUTLOOK_CODES: Sequence[Code] = ("outlook0", "outlook1", "outlook2", "outlook3")


@dataclass(frozen=True)
class Advice:
    """One piece of it. The page has the words.

    Attributes:
        code: which.
        tone: `stop` if nothing would come of it, `warning`, or `note`.
        values: what fills the gaps in the words.
        is_guess: whether it rests on experience rather than on this plan's figures.
        base: the `id` of the model to begin with, if that is the advice.
    """

    code: Code
    tone: Tone = "note"
    values: Mapping[str, Any] = field(default_factory=dict)
    is_guess: bool = True
    base: str | None = None

    def row(self) -> dict[str, Any]:
        """It for the page."""
        return {
            "code": self.code,
            "tone": self.tone,
            "values": self.values,
            "is_guess": self.is_guess,
            "base": self.base,
        }


@dataclass(frozen=True)
class Situation:
    """What advice depends on.

    Attributes:
        amount: how much there is to train on.
        are_examples: whether it is conversations, labels or preferences, and no running text.
        minutes: the time.
        base: the model to begin with; None begins with nothing.
        models: those that were found.
        figures: what is known of the plan, a guess or exact.
        free_bytes: memory that is free; None if it is not known.
        speed: of this machine; None if it was not measured.
    """

    amount: Amount
    are_examples: bool
    minutes: float
    base: FoundModel | None
    models: Sequence[FoundModel]
    figures: Mapping[str, Any]
    is_exact: bool
    free_bytes: int | None
    speed: Speed | None


def advise(now: Situation) -> list[Advice]:
    """The advice, what matters most first."""
    of_kind = _on_a_new_model(now) if now.base is None else _on_tuning(now, now.base)
    found = [*_on_memory(now), *_on_disk(now), *of_kind, *_on_time(now)]
    return sorted(found, key=lambda one: get_args(Tone).index(one.tone))


def _on_a_new_model(now: Situation) -> Iterator[Advice]:
    size = {"size": readable_bytes(now.amount.num_bytes)}
    if now.amount.num_bytes < LEAST_BYTES:
        yield Advice("too_little", "stop", size, is_guess=False)
        yield from _on_a_better_way(now)
        return
    yield from _on_a_better_way(now)
    if now.amount.num_bytes < LITTLE_BYTES and not now.are_examples:
        yield Advice("little", "warning", size)
    if {"num_parameters", "num_tokens"} <= now.figures.keys():
        yield Advice(OUTLOOK_CODES[outlook_level(now.figures["num_parameters"], now.figures["num_tokens"])])


def _on_a_better_way(now: Situation) -> Iterator[Advice]:
    """Beginning with a model that exists: for examples always, and for text if answers are wanted."""
    model = suitable_model(now)
    base, values = (None, {}) if model is None else (model.id, {"model": model.name})
    if now.are_examples:
        code: Code = "get_for_examples" if model is None else "from_for_examples"
        yield Advice(code, "warning", {**values, "count": now.amount.num_documents or 0}, base=base)
    else:
        yield Advice("get_for_answers" if model is None else "from_for_answers", values=values, base=base)


def suitable_model(now: Situation) -> FoundModel | None:
    """The largest model that was found, knows a language, can be tuned in the memory that is free, and reads enough of
    the examples in the time; those for conversations first, of equal ones that which was not made here, and where none
    reads enough the smallest."""
    able = [
        one
        for one in now.models
        if not one.problem and one.kind in ("chat", "base") and one.num_parameters >= ABLE_PARAMETERS
        and (now.free_bytes is None or min(one.tuning_bytes.values(), default=0) - PROCESS_BYTES
             <= MEMORY_SHARE * now.free_bytes)
    ]  # fmt: skip
    quick = [one for one in able if _reads_enough(now, one)]
    chosen = quick or sorted(able, key=lambda one: one.num_parameters)[:1]
    return max(chosen, key=lambda one: (one.kind == "chat", one.num_parameters, one.place != "runs"), default=None)


def _reads_enough(now: Situation, model: FoundModel) -> bool:
    if now.speed is None or not now.are_examples:
        return True
    num_tokens = now.amount.num_bytes / BYTES_PER_EXAMPLE_TOKEN
    seconds = num_tokens / tokens_per_second(now.speed, model.num_parameters, has_adapters=True)
    return EXAMPLES_IN_SECONDS * seconds <= now.minutes * 60


def _on_tuning(now: Situation, base: FoundModel) -> Iterator[Advice]:
    count = now.amount.num_documents
    if now.are_examples and count is not None and count < FEW_EXAMPLES:
        yield Advice("few_examples", "warning", {"count": count})
    if base.num_parameters < ABLE_PARAMETERS:
        yield Advice("small_base", "warning", {"model": base.name})
    yield Advice("tuned" if now.are_examples else "tuned_on_text", values={"model": base.name})


def _on_memory(now: Situation) -> Iterator[Advice]:
    needed, free = now.figures.get("peak_memory_bytes"), now.free_bytes
    if needed is None or free is None or needed - PROCESS_BYTES <= MEMORY_SHARE * free:
        return
    values = {"needed": readable_bytes(needed), "free": readable_bytes(free)}
    ways = {} if now.base is None else now.base.tuning_bytes
    lora_fits = "lora" in ways and ways["lora"] - PROCESS_BYTES <= MEMORY_SHARE * free < needed
    code: Code = "memory_new" if now.base is None else "memory_lora" if lora_fits else "memory_tuning"
    yield Advice(code, "stop", values, is_guess=not now.is_exact)


def _on_disk(now: Situation) -> Iterator[Advice]:
    needed, free = now.figures.get("disk_bytes"), now.figures.get("free_disk_bytes")
    if needed is not None and free is not None and free < needed:
        yield Advice(
            "disk", "warning", {"needed": readable_bytes(needed), "free": readable_bytes(free)}, is_guess=False
        )


def _on_time(now: Situation) -> Iterator[Advice]:
    seconds, epochs = now.figures.get("seconds"), now.figures.get("epochs")
    if seconds is None or epochs is None:
        return
    wanted = now.minutes * 60
    if seconds < WASTED_SHARE * wanted and wanted - seconds > 30:
        values = {"useful": seconds / 60, "minutes": now.minutes, "epochs": round(epochs, 1)}
        yield Advice("time_left", values=values, is_guess=not now.is_exact)
    elif epochs < READ_SHARE:
        yield Advice("time_short", values={"percent": max(1, round(100 * epochs))}, is_guess=not now.is_exact)
