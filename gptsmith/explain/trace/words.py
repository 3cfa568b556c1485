"""What was traced, in sentences for people."""

from __future__ import annotations

from gptsmith.explain.trace.tracer import TracedPassage, Tracer


def passage_in_words(passage: TracedPassage) -> str:
    """How long a passage is, how often it was learnt from, and how often matches so long begin by chance."""
    times = {1: "once", 2: "twice"}.get(passage.num_copies, f"{passage.num_copies:,} times")
    return f"{_counted(passage.num_tokens, 'token')} that it learnt from {times}. {_chance(passage)}"


def _chance(passage: TracedPassage) -> str:
    share = passage.held_out_share
    if share is None:
        return "No text was held out, so how often a match so long occurs by chance is not known."
    if share == 0:
        return "No match so long was found in text that it never saw."
    return f"Matches this long begin at {_percent(share)} of the places of text that it never saw."


def trace_in_words(tracer: Tracer, num_tokens: int, passages: list[TracedPassage], min_tokens: int) -> str:
    """How much of a text was learnt from."""
    num_learned = sum(text.figures()["num_tokens"] for text in tracer.learned.texts)
    learned = f"the {_counted(num_learned, 'token')} that it learnt from"
    least = _counted(min_tokens, "token")
    if not passages:
        return f"No passage of {least} or more of this text stands in {learned}. Shorter ones occur by chance."
    num_matched = sum(passage.num_tokens for passage in passages)
    return (
        f"{num_matched / num_tokens:.0%} of this text ({num_matched:,} of {_counted(num_tokens, 'token')}) stands in "
        f"{learned}, in passages of {least} or more."
    )


def _counted(count: int, noun: str) -> str:
    """A count with its noun: 1 token, 2 tokens."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    """A share in percent, with one digit that counts below 1 %: 12 %, 0.3 %."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1g} %"
