"""Claims about a model's answer, each with its test, as Python and JSON have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["holds", "no better than chance", "not tested"]
HOLDS: Verdict = "holds"
CHANCE: Verdict = "no better than chance"
NOT_TESTED: Verdict = "not tested"


@dataclass(frozen=True)
class Item:
    """A part of the prompt, or of the network, and what the answer owes to it.

    Attributes:
        text: the part as people read it.
        change: by how much the difference falls without it, in nats; of alternatives, their log-probability.
        start: its first character in the prompt, or in the message of a conversation.
        stop: the character after its last.
        message: which message of the conversation it is a part of, from 0.
        part: the tap of a part of the network.
        is_named: whether the claim names it, so that the test is about it.
    """

    text: str
    change: float
    start: int | None = None
    stop: int | None = None
    message: int | None = None
    part: str | None = None
    is_named: bool = True


@dataclass(frozen=True)
class Test:
    """The parts that a claim names, changed in the model that answered, and as many parts chosen at random.

    Attributes:
        how: `remove` or `replace`, by tokens of other text.
        num_removed: how many parts are changed.
        change: by how much the difference falls, in nats.
        random_mean: by how much it falls on average for parts chosen at random.
        random_interval: between which changes 95 % of the random choices lie.
        num_random: the number of random choices.
        p_value: the chance that parts chosen at random do as well as those named.
    """

    __test__ = False  # it is not one of pytest's

    how: str
    num_removed: int
    change: float
    random_mean: float
    random_interval: tuple[float, float]
    num_random: int
    p_value: float


@dataclass(frozen=True)
class Claim:
    """A sentence about an answer, its figures, and what became of its test.

    Attributes:
        kind: the method that made it.
        says: the sentence, for people: of association before its test, of cause only if that holds.
        items: the parts that it is about.
        verdict: `holds`, `no better than chance` or `not tested`.
        why: the verdict in a sentence, for people.
        test: the hardest of its tests, which decided; None if there was none.
        tests: all of its tests.
        rest: the part of the difference that what it names does not account for, in nats; of alternatives, the
            probability of all that are not shown.
        alone: the difference with the parts that it names alone (sufficiency), in nats.
        fit: of changes that were fitted, the correlation of what they predict with what the model did where it was not
            fitted.
        by: the parts of a prompt that it is about: sentences, words or tokens.
    """

    kind: str
    says: str
    items: Sequence[Item]
    verdict: Verdict = NOT_TESTED
    why: str = ""
    test: Test | None = None
    tests: Sequence[Test] = ()
    rest: float | None = None
    alone: float | None = None
    fit: float | None = None
    by: str | None = None

    @property
    def named(self) -> list[Item]:
        """The parts that it names."""
        return [item for item in self.items if item.is_named]


@dataclass(frozen=True)
class Choice:
    """A token that a model may write, or a label that it may give.

    Attributes:
        token: its id; of a label its number.
        text: the token as text, or the label.
        probability: its probability.
        rank: 1 for the most probable.
    """

    token: int
    text: str
    probability: float | None
    rank: int | None


@dataclass(frozen=True)
class Explanation:
    """Why a model wrote one thing and not another.

    Attributes:
        run: the run.
        step: the step of its weights; 0 if they were trained elsewhere.
        prompt: the text of the prompt, or the messages of a conversation, in which the items of claims stand.
        reply: the whole reply, or the text that was labelled.
        start: the first character of the target in the reply.
        stop: the character after its last.
        target: what it wrote; None if the explanation is of the model itself.
        against: what it did not write.
        difference: how much more the model is for the one than for the other, in nats.
        claims: what was found, each with its test.
        checks: the identities that were tried on this model (see `gptsmith.explain.check`).
        seconds: the time that it took.
    """

    run: str
    step: int
    prompt: str | Sequence[dict[str, str]]
    reply: str
    start: int
    stop: int
    target: Choice | None
    against: Choice | None
    difference: float
    claims: Sequence[Claim]
    checks: Sequence[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return asdict(self)
