"""An audit in sentences and sums: none says more than what was measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gptsmith.privacy.recitable import Runs, Threshold
from gptsmith.privacy.recited import Recited, num_own_tokens
from gptsmith.privacy.wording import headline


def recited(num_tokens: int, longest_held_out: int | None, passages: int = 0, answers: int = 0) -> Recited:
    """What a model recites of a text that it read to its end."""
    text: Any = {"text": SimpleNamespace(array=[0] * 11, ends=[0]), "scanned": SimpleNamespace(num_read=10)}
    threshold = Threshold(num_tokens, longest_held_out, None)
    return cast(
        Recited,
        SimpleNamespace(
            **text,
            threshold=threshold,
            passages=[None] * passages,
            held_out_passages=[],
            answers=SimpleNamespace(by_heart=[None] * answers),
        ),
    )


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (
            [recited(43, None)],
            "This model can recite no passage of 43 tokens or more of what it learnt; too little text was held out to "
            "compare with, so that shorter ones are not told from chance.",
        ),
        (
            [recited(12, 11), recited(24, 23)],
            "This model can recite no passage of 24 tokens or more of what it learnt; none of the text it never saw.",
        ),
        ([recited(12, 11, passages=2)], "This model can recite 2 passages; none of the text it never saw."),
        (
            [recited(12, 11, passages=2, answers=3)],
            "This model can recite 2 passages and 3 short answers; none of the text it never saw.",
        ),
        (
            [recited(12, 11, answers=1)],
            "This model can recite 1 short answer and no passage of 12 tokens or more of what it learnt; none of the "
            "text it never saw.",
        ),
    ],
)
def test_what_is_shorter_than_a_passage_is_not_called_nothing(found: list[Recited], says: str) -> None:
    assert headline(found) == says


def test_tokens_of_canaries_are_nobodys() -> None:
    text: Any = SimpleNamespace(is_planted=lambda place, num_tokens: place <= 25 < place + num_tokens)
    runs = Runs(np.array([0, 20, 40]), np.array([5, 30, 41]), np.array([5, 10, 1]))
    assert num_own_tokens(text, runs) == 6
