"""Examples to token sequences, and an account of it: which are skipped, which lose something, what cannot be spelt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.data.shapes import Example
from gptsmith.data.skipped import Skipped, Skipping
from gptsmith.text.chat_template import Encoded
from gptsmith.train.encoder import Encoder
from gptsmith.train.unknown_tokens import UNKNOWN_LOOKED_AT, unknown_warning


class EncodedExample(Protocol):
    """An example, or a part of one, as token sequences."""

    @property
    def sequences(self) -> list[Encoded]: ...

    @property
    def num_omitted(self) -> int:
        """The oldest turns that were left out, because the context has no room for them."""

    @property
    def num_truncated(self) -> int:
        """The tokens that were cut off for the same reason."""


S = TypeVar("S", bound=EncodedExample)
COUNTS = ("num_shortened", "num_omitted", "num_truncated", "num_tokens", "num_unknown")


class Encoding:
    """Encodes examples, and keeps account.

    Attributes:
        num_shortened: conversations that lost their oldest turns, because they are longer than the context.
        num_omitted: the turns that they lost.
        num_truncated: examples that lost the ends of their texts for the same reason.
        num_tokens: the tokens of the first examples, up to about `UNKNOWN_LOOKED_AT`.
        num_unknown: how many of them stand for what the tokenizer cannot spell.
    """

    def __init__(self, encoder: Encoder, skip_bad: bool) -> None:
        self.encoder, self._skipping = encoder, Skipping(skip_bad)
        self._skipped_numbers = Skipped()
        """The skipped examples again, with their splits and numbers in these as places."""
        self.num_shortened = self.num_omitted = self.num_truncated = 0
        self.num_tokens = self.num_unknown = 0

    @property
    def skip_bad(self) -> bool:
        return self._skipping.skip_bad

    @property
    def skipped(self) -> Skipped:
        """The examples that cannot be used."""
        return self._skipping.skipped

    def encode(
        self, split: str, examples: Sequence[Example], each: Callable[[Example], Sequence[S]]
    ) -> Iterator[tuple[int, Sequence[S]]]:
        """The numbers of the examples of a split, each with what `each` makes of the example.

        Raises:
            DataError: it takes one of them not, and such ones are not to be skipped; the message names the example.
        """
        with meter(f"encoding examples to {split}", len(examples)) as bar:
            for number, example in enumerate(examples):
                parts: Sequence[S] = ()
                with self._skipping.at(example.place):
                    try:
                        parts = each(example)
                    except UserError as error:
                        self._skipped_numbers.add(f"{split} {number}", str(error))
                        raise
                self._count(parts)
                yield number, parts
                bar.update(number + 1)

    def state(self) -> dict[str, Any]:
        """The account as JSON values, to be restored when the same examples are found encoded."""
        return {**{name: getattr(self, name) for name in COUNTS}, "skipped": self._skipped_numbers.plain()}

    def restore(self, state: Mapping[str, Any], splits: Mapping[str, Sequence[Example]]) -> None:
        """Takes over an account of the same examples, wherever these are found now."""
        for name in COUNTS:
            setattr(self, name, state[name])
        skipped = Skipped()
        for reason, found in state["skipped"].items():
            numbers = [place.split() for place in found["places"]]
            skipped.counts[reason] = found["count"]
            skipped.places[reason] = [splits[split][int(number)].place for split, number in numbers]
        self._skipping = Skipping(self.skip_bad, skipped)

    def _count(self, parts: Sequence[EncodedExample]) -> None:
        self.num_shortened += any(part.num_omitted for part in parts)
        self.num_omitted += max((part.num_omitted for part in parts), default=0)
        self.num_truncated += any(part.num_truncated for part in parts)
        unknown = self.encoder.tokenizer.unknown_id
        if unknown is None or self.num_tokens >= UNKNOWN_LOOKED_AT:
            return
        for part in parts:
            for sequence in part.sequences:
                self.num_tokens += len(sequence.ids)
                self.num_unknown += sequence.ids.count(unknown)

    def lines(self) -> list[str]:
        """Lines for a person; none if nothing is to be said."""
        lines: list[str] = []
        if self.num_shortened:
            lines.append(
                f"{_counted(self.num_shortened, 'conversation')} longer than the context of "
                f"{self.encoder.context_length} tokens: {_counted(self.num_omitted, 'oldest turn')} left out"
            )
        if self.num_truncated:
            lines.append(
                f"{_counted(self.num_truncated, 'example')} longer than the context of {self.encoder.context_length} "
                "tokens: the ends of their longest texts are cut off"
            )
        if warning := unknown_warning(self.encoder.tokenizer, self.num_unknown, self.num_tokens, is_fixed=True):
            lines.append(warning)
        return lines

    def figures(self) -> dict[str, Any]:
        """What is lost, as JSON values."""
        return {
            "num_shortened_conversations": self.num_shortened,
            "num_omitted_turns": self.num_omitted,
            "num_truncated_examples": self.num_truncated,
            "unknown_token_fraction": self.num_unknown / self.num_tokens if self.num_tokens else 0.0,
        }


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{' is' if count == 1 else 's are'}"
