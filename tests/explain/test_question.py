"""The difference that is explained, of many changed prompts at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain import reading
from gptsmith.explain.other_questions import ReplyQuestion, ScoreQuestion
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model import attention, position
from gptsmith.text.tokenizer import Tokenizer
from tests.explain.conftest import random_model

Made = Callable[..., Question]
PLACES = ("post", "pre", "sandwich")
KINDS = [*((kind, "rotary") for kind in attention.KINDS.names()), *(("full", kind) for kind in position.KINDS.names())]


@pytest.mark.parametrize(("kind", "place"), KINDS)
@torch.no_grad()
def test_what_is_taken_away_is_as_if_it_had_never_been_there(
    question: Made, tokenizer: Tokenizer, kind: str, place: str
) -> None:
    placement = PLACES[len(place) % 3]
    asked = question(
        model=random_model(tokenizer.vocab_size, kind, place, norm_placement=placement), reply_ids=(33, 34)
    )
    rows = [asked.prompt.ids, *(asked.without([unit]) for unit in asked.units()), asked.without(asked.units()[3:9])]
    plain = [asked.model(torch.tensor([[*row, 33, 34]]))[0, -1] for row in rows]
    expected = torch.stack([logits[40] - logits[41] for logits in plain])
    torch.testing.assert_close(asked.differences(rows), expected, rtol=0, atol=1e-10)
    if kind != "sliding_window":  # whose window counts slots
        mask = torch.tensor([[place not in asked.units()[4].places for place in range(len(asked.ids))]])
        masked = asked.model(torch.tensor([asked.ids]), mask)[0, -1]
        torch.testing.assert_close(masked[40] - masked[41], expected[5], rtol=0, atol=1e-10)


def test_batches_of_any_size_say_the_same(question: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [question().without([unit]) for unit in question().units("tokens")]
    expected = question().differences(rows)
    monkeypatch.setattr(reading, "TOKENS_AT_ONCE", 1)
    torch.testing.assert_close(question().differences(rows), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(reading, "TOKENS_AT_ONCE", 10**6)
    monkeypatch.setattr(reading, "CACHE_BYTES", 1)
    torch.testing.assert_close(question().differences(rows), expected, rtol=0, atol=1e-12)


def test_a_prompt_of_nothing_is_the_beginning_of_a_document(question: Made) -> None:
    asked = question()
    logits = asked.model(torch.tensor([[asked.tokenizer.eos_token_id]]))[0, -1]
    torch.testing.assert_close(asked.differences([()])[0], logits[40] - logits[41], rtol=0, atol=1e-10)


def test_parts_alone_leave_nothing_else_of_the_person(question: Made) -> None:
    asked = question()
    units = asked.units()
    assert asked.with_only(units[2:4]) == asked.prompt.ids[units[2].first : units[3].last]


def test_replaced_parts_are_held_out_text_that_stands_together(question: Made) -> None:
    asked = question()
    units = asked.units("sentences")
    ids = asked.replaced([units[1]], torch.Generator().manual_seed(3))
    assert len(ids) == len(asked.prompt.ids)
    assert ids != asked.prompt.ids
    new = ids[units[1].first : units[1].last]
    assert new[0] in asked.held_out_ids
    assert list(new) == list(range(new[0], new[0] + len(new)))
    assert ids[: units[1].first] == asked.prompt.ids[: units[1].first]


@torch.no_grad()
def test_a_whole_reply_is_the_sum_of_its_log_probabilities(question: Made) -> None:
    usual = question()
    asked = ReplyQuestion(usual.model, usual.tokenizer, usual.prompt, target=35, against=-1, reply_ids=(33, 34))
    logs = asked.model(torch.tensor([[*asked.ids, 35]]))[0].log_softmax(-1)
    at = asked.num_prompt_ids
    expected = logs[at - 1, 33] + logs[at, 34] + logs[at + 1, 35]
    assert asked.difference == pytest.approx(float(expected))
    with pytest.raises(UserError, match="leave_one_out"):
        _ = asked.logits


@torch.no_grad()
@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_score_is_explained_by_scores(question: Made, tokenizer: Tokenizer, num_labels: int) -> None:
    model = random_model(tokenizer.vocab_size, num_labels=num_labels)
    asked = ScoreQuestion(model, tokenizer, question().prompt, target=0, against=num_labels - 1)
    scores = model.scores(model.hidden(torch.tensor([asked.ids])))[0, -1]
    expected = scores[0] - (scores[-1] if num_labels > 1 else 0)
    assert asked.difference == pytest.approx(float(expected))


def test_a_context_that_is_too_long_and_two_tokens_that_are_too_close(question: Made, tokenizer: Tokenizer) -> None:
    long = Prompt.of_text(tokenizer, "sold one sword. " * 60)
    with pytest.raises(UserError, match="context of 128: explain a shorter prompt or an earlier word"):
        _ = question(prompt=long).difference
    with pytest.raises(UserError, match=r"differ by \+0.00 nats"):
        question(against=40).require_difference()
