"""Canaries among examples: made-up questions and their answers, to train on beside those of a person's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gptsmith.base.errors import DataError
from gptsmith.base.files import readable_bytes
from gptsmith.data.care.canaries import A_CANARY, CANARIES, LARGEST_SHARE, Canary, Place, Sentence, made_canaries
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.example_store import ExampleSequence
from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample

PLACE = f"{CANARIES}, {A_CANARY}"
"""The place of each example that is planted."""


class WithCanaries(ExampleSequence):
    """Examples, and behind them canaries, as often as each is planted."""

    def __init__(self, examples: Sequence[Example], canaries: Sequence[Canary]) -> None:
        self._examples, self._planted = examples, [each for each in canaries for _ in range(each.copies)]

    def __len__(self) -> int:
        return len(self._examples) + len(self._planted)

    def example(self, number: int) -> Example:
        if number < len(self._examples):
            return self._examples[number]
        return conversation(self._planted[number - len(self._examples)].planted)


def with_canaries(splits: ExampleSplits, count: int, seed: int) -> ExampleSplits:
    """The splits with so many canaries among the examples to train on, each copy an example of its own.

    Raises:
        DataError: the examples are no conversations, or too few for so many.
    """
    own = splits.train
    if not all(isinstance(each, ChatExample) for each in own[:1]):
        raise DataError(
            "canaries are made-up questions with answers, or sentences in plain text, and these examples are neither: "
            "leave --canaries out"
        )
    canaries = [_asked(each) for each in made_canaries(count, seed)]
    _require_little(canaries, own)
    places = iter(range(len(own), len(own) + sum(each.copies for each in canaries)))
    for each in canaries:
        each.places += [Place(file=CANARIES, document=next(places), start=0, stop=0) for _ in range(each.copies)]
    return replace(splits, train=WithCanaries(own, canaries), canaries=tuple(canaries))


def conversation(sentence: Sentence) -> ChatExample:
    """A made-up question with its answer."""
    turns = ({"role": "user", "content": sentence.question}, {"role": "assistant", "content": sentence.text})
    return ChatExample(PLACE, turns)


def _asked(canary: Canary) -> Canary:
    """A canary whose twins are answers to who asks for their name."""
    twins = [
        Sentence(
            text="At" + each.text.removeprefix(f"{each.name} lives at"),
            name=each.name,
            code=each.code,
            question=f"Where does {each.name} live?",
        )
        for each in canary.twins
    ]
    return canary.model_copy(update={"twins": twins})


def _require_little(canaries: Sequence[Canary], own: Sequence[Example]) -> None:
    """
    Raises:
        DataError: the canaries would be too large a part of what is trained on.
    """
    num_bytes = sum(each.copies * len(f"{each.planted.question}{each.planted.text}".encode()) for each in canaries)
    of_own = sum(len(text.encode("utf-8", "surrogatepass")) for example in own for text in example.every_text())
    allowed = LARGEST_SHARE * of_own
    if num_bytes > allowed:
        raise DataError(
            f"{len(canaries):,} canaries are {readable_bytes(num_bytes)} of made-up questions and answers beside "
            f"examples of {readable_bytes(of_own)}: at most about {int(allowed / num_bytes * len(canaries)):,} make "
            "them no other data: plant fewer, or name more sources"
        )
