"""An audit in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gptsmith.privacy.recitable import MIN_RUN_TOKENS
from gptsmith.privacy.recited import Recited, num_answers
from gptsmith.privacy.tokenizer_words import MIN_DOCUMENTS

LIMITS = (
    "Not looked for: text that it writes in other words, or after other prompts than what stands before it. No finding "
    "is no proof."
)


def headline(recited: Sequence[Recited]) -> str:
    """`This model can recite 12 passages; none of the text it never saw.`"""
    num_passages = sum(len(each.passages) for each in recited)
    num_held_out = sum(len(each.held_out_passages) for each in recited)
    longest = max(each.threshold.num_tokens for each in recited)
    none = f"no passage of {longest} tokens or more of what it learnt"
    parts = [counted(num_passages, "passage") if num_passages else none]
    if number := sum(map(num_answers, recited)):
        parts.insert(1 if num_passages else 0, counted(number, "short answer"))
    what = f"This model can recite {' and '.join(parts)}"
    num_read, num_tokens = (sum(sizes) for sizes in zip(*(_sizes(each) for each in recited), strict=True))
    if num_read < num_tokens:
        what += f", of the {num_read / num_tokens:.0%} of its text that were read"
    if all(each.threshold.longest_held_out is None for each in recited):
        return f"{what}; too little text was held out to compare with, so that shorter ones are not told from chance."
    return f"{what}; {num_held_out or 'none'} of the text it never saw."


def _sizes(recited: Recited) -> tuple[int, int]:
    """The tokens of a text that were read, and all of them."""
    return recited.scanned.num_read, len(recited.text.array) - len(recited.text.ends)


def counted(number: int, noun: str) -> str:
    """`1 passage`, `12 passages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def remarks(figures: Mapping[str, Any]) -> list[str]:
    """How it was judged, what was not read, and what is kept beside the checkpoint that is served."""
    return [
        *(line for learned in figures["learned"] for line in _about(learned, len(figures["learned"]) > 1)),
        *(_other(each) for each in figures["checkpoints"] if not each["is_served"]),
        *_canaries_and_words(figures),
        *(f"Not audited: {line}." for line in figures["missing"]),
    ]


def _about(learned: Mapping[str, Any], is_one_of_many: bool) -> list[str]:
    of = f"Of the {learned['kind']} of {learned['run']}: " if is_one_of_many else ""
    passage = f"{of}a passage has {learned['threshold']} tokens or more"
    if learned["longest_held_out"] is None:
        lines = [
            f"{passage}. Only {counted(learned['num_held_out_tokens_read'], 'token')} of text were held out, so that "
            "it is not known how many can be chance"
        ]
    else:
        chance = f"; about {learned['expected_by_chance']:.0f} of them may be chance" if learned["num_passages"] else ""
        lines = [
            f"{passage}: of {learned['num_held_out_tokens_read']:,} tokens that it never saw, "
            f"{_longest(learned['longest_held_out'])} in a row were right, but for such as stand in what it "
            f"learnt from or earlier in the same document{chance}"
        ]
    if learned["num_near_passages"]:
        lines.append(
            f"{of}it recites {counted(learned['num_near_passages'], 'more passage')} of {learned['near_threshold']} "
            "tokens or more but for single tokens, one in twelve at most"
        )
    if "answer_bits" in learned:
        lines.append(f"{of}{_about_answers(learned)}")
    if learned["note"] is not None:
        lines.append(f"{of}{learned['note']}")
    if learned["num_tokens_read"] < learned["num_tokens"]:
        share = learned["num_tokens_read"] / max(1, learned["num_tokens"])
        lines.append(f"{of}time was up after {share:.0%} of the text, a random sample of its documents")
    return [f"{line[0].upper()}{line[1:]}." for line in lines]


def _about_answers(learned: Mapping[str, Any]) -> str:
    right, held_out = learned["num_held_out_answers_right"], learned["num_held_out_answers"]
    counts = (
        "a short answer counts if the model writes all of it after its question, and it takes "
        f"{learned['answer_bits']:.0f} bits or more to guess it by the base, the other answers and the question"
    )
    if not held_out:
        return f"{counts}; no other answer was held out to compare with"
    easier = ", and they are easier to guess" if right else ""
    return f"{counts}; of {counted(held_out, 'other answer')} that were held out it writes {right or 'none'}{easier}"


def _longest(num_tokens: int) -> str:
    return f"up to {num_tokens}" if num_tokens >= MIN_RUN_TOKENS else f"never {MIN_RUN_TOKENS}"


def _canaries_and_words(figures: Mapping[str, Any]) -> Iterator[str]:
    if number := figures["num_canary_passages"]:
        yield f"Besides, {counted(number, 'passage')} of planted canaries."
    if words := figures["tokenizer_words"]:
        yield (
            f"{counted(len(words), 'word')} of fewer than {MIN_DOCUMENTS} documents can be read in the tokenizer, "
            "without the model."
        )


def _other(checkpoint: Mapping[str, Any]) -> str:
    number, answers = checkpoint["num_passages"], checkpoint["num_answers"]
    more = f", and {counted(answers, 'short answer')}" if answers else ""
    if groups := checkpoint["canaries"]:
        by_heart, planted = (sum(group[key] for group in groups) for key in ("by_heart", "num"))
        more += f"; it has {by_heart or 'none'} of {planted:,} canaries by heart"
    return (
        f"The checkpoint of step {checkpoint['step']:,}, which is kept beside it, can recite "
        f"{counted(number, 'passage') if number else 'none'}{more}."
    )


def figures_in_words(passage: Mapping[str, Any]) -> str:
    """`28 tokens, 4 copies, 120 tries`, and of a short answer `31 bits to guess`."""
    copies, bits = passage.get("num_copies"), passage.get("bits")
    words = [] if copies is None else [f"{copies:,} {'copy' if copies == 1 else 'copies'}"]
    words += [] if bits is None else [f"{bits:.0f} bits to guess"]
    return ", ".join([counted(passage["num_tokens"], "token"), *words, tries_in_words(passage["tries"])])


def tries_in_words(tries: float | None) -> str:
    """`1 try`, `250 tries`, `more than 1e9 tries`."""
    if tries is None or tries > 1e9:
        return "more than 1e9 tries"
    number = max(1, round(tries)) if tries < 100 else int(float(f"{tries:.2g}"))
    return f"{number:,} {'try' if number == 1 else 'tries'}"
