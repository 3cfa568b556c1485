"""Steering by the difference of means."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.methods.steering import SteeringSettings, difference_of_means, held_out_loss
from gptsmith.explain.question import Question
from gptsmith.model.taps import record

TOWARD, AWAY = ["The old smith sold one sword"], ["She went home", "Nobody had seen such iron"]


@torch.no_grad()
def test_the_direction_is_the_difference_of_means(question: Callable[..., Question]) -> None:
    asked, name = question(), "blocks.0.output"

    def mean(text: str) -> torch.Tensor:
        return record(asked.model, torch.tensor([asked.tokenizer.prompt_ids(text)]), [name])[name][0, 1:].mean(dim=0)

    expected = mean(TOWARD[0]) - (mean(AWAY[0]) + mean(AWAY[1])) / 2
    torch.testing.assert_close(difference_of_means(asked, name, TOWARD, AWAY), expected)
    ids = torch.tensor([asked.held_out_ids])
    logs = asked.model(ids[:, :-1]).log_softmax(-1).gather(2, ids[:, 1:, None])
    assert held_out_loss(asked, asked.model) == pytest.approx(-float(logs.mean()))


def test_text_and_the_loss_beside_it_are_shown_and_the_step_is_compared_with_random_ones(
    question: Callable[..., Question],
) -> None:
    asked = question()
    [claim] = SteeringSettings(toward=TOWARD, away=AWAY, strength=4, max_tokens=4, layer=0).explain(asked)
    before, after = claim.items
    assert (before.part, after.part) == (None, "blocks.0.output")
    assert before.text != after.text
    assert "loss on held-out text" in claim.says
    assert claim.test is not None
    assert claim.test.num_random == 20
    assert claim.test.change == pytest.approx(after.change)
    [shared] = SteeringSettings(toward=TOWARD, away=AWAY, strength=4, max_tokens=1).explain(question(num_claims=2))
    assert shared.test is not None
    assert shared.test.num_random == 40  # the chance of an error is that of one claim
    [none] = SteeringSettings(toward=TOWARD, away=TOWARD, max_tokens=4).explain(asked)
    assert none.items[0].text == none.items[1].text
    assert none.verdict == "no better than chance"


def test_texts_of_one_kind_alone_are_refused(question: Callable[..., Question]) -> None:
    with pytest.raises(UserError, match="texts of two kinds, which Python alone"):
        SteeringSettings(toward=TOWARD).explain(question())
    with pytest.raises(UserError, match=r"no such tap.*blocks.9.output"):
        SteeringSettings(toward=TOWARD, away=AWAY, layer=9).explain(question())
