"""An explanation made: a question, the methods that answer it, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gptsmith.base.errors import UserError
from gptsmith.explain.claim import Claim, Explanation
from gptsmith.explain.methods import DEFAULT_METHODS, KINDS, MethodSettings
from gptsmith.explain.page import explanation_html
from gptsmith.explain.question import Question
from gptsmith.explain.units import Grain


class NotebookExplanation(Explanation):
    """An explanation that notebooks show as its page."""

    def _repr_html_(self) -> str:
        return explanation_html(self)


Messages = Sequence[dict[str, str]]


def methods_of(names: Sequence[str] = DEFAULT_METHODS, by: Grain | None = None) -> list[MethodSettings]:
    """Methods by their names, in order. `by` is for those that take parts of a prompt.

    Raises:
        ConfigurationError: there is no such method.
    """
    changes = {} if by is None else {"by": by}
    methods = [KINDS.validate(name) for name in names]
    return [method.model_copy(update=changes) if "by" in type(method).model_fields else method for method in methods]


def num_tested(methods: Sequence[MethodSettings]) -> int:
    """How many claims share the chance that any of them holds by luck."""
    return max(1, sum(method.is_tested for method in methods))


def explained(
    question: Question,
    methods: Sequence[MethodSettings],
    *,
    run: str,
    step: int,
    prompt: str | Messages,
    reply: str,
    span: tuple[int, int],
    is_lenient: bool = False,
) -> Explanation:
    """The explanation of a question by some methods.

    Args:
        question: see `Answer.question`.
        methods: see `methods_of`.
        run: the name of the run, for the explanation.
        step: the step of its weights.
        prompt: the prompt as it was given, or the messages of a conversation.
        reply: the whole reply.
        span: the characters of the reply that the target begins and ends with.
        is_lenient: whether a method that cannot serve this model says so in its claim's place.

    Raises:
        UserError: a method cannot serve this model, or the target and the contrast are too close.
    """
    started = time.perf_counter()
    question.require_difference()
    claims: list[Claim] = []
    for method in methods:
        try:
            claims += method.explain(question)
        except UserError as error:
            if not is_lenient:
                raise
            claims.append(Claim(method.kind, str(error), ()))
    return NotebookExplanation(
        run, step, prompt, reply, *span, question.target_choice, question.against_choice, question.difference, claims,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
