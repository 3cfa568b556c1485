"""An answer of a model, and the questions that can be asked about it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.answer import Answer
from gptsmith.explain.own_text import own_text
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question, quoted, relative_odds
from gptsmith.text.tokenizer import Tokenizer

REPLY = " sword of iron, sold before winter"


@pytest.fixture
def answer(question: Callable[..., Question], tokenizer: Tokenizer) -> Answer:
    usual = question()
    return Answer(usual.model, tokenizer, usual.prompt, tuple(tokenizer.encode_inside(REPLY)))


@torch.no_grad()
def test_the_word_that_it_was_least_sure_of_is_the_one_with_the_least_probability(answer: Answer) -> None:
    logs = answer.model(torch.tensor([[*answer.prompt.ids, *answer.ids]]))[0].log_softmax(-1)
    at = len(answer.prompt.ids) - 1
    expected = [-float(logs[at + place, token]) for place, token in enumerate(answer.ids)]
    assert answer.surprisals == pytest.approx(expected, rel=1e-5)
    shown = [place for place, (start, stop) in enumerate(answer.spans) if any(map(str.isalnum, REPLY[start:stop]))]
    assert answer.least_sure() == max(shown, key=expected.__getitem__)


def test_words_and_characters_are_found_in_the_reply(answer: Answer) -> None:
    assert answer.text == REPLY
    for number, word in enumerate(REPLY.split(), 1):
        start, _ = answer.spans[answer.token_of_word(number)]
        assert REPLY[start:].lstrip().startswith(word)
    assert answer.token_at(0) == 0
    for number in (0, -1, 7):
        with pytest.raises(UserError, match=rf"word {number}: the reply has 6 words, counted from 1: \"sword of"):
            answer.token_of_word(number)
    with pytest.raises(UserError, match="character 99 is not in the reply"):
        answer.token_at(99)


def test_the_contrast_is_the_most_probable_other_that_is_not_too_close(answer: Answer) -> None:
    question = answer.question(2)
    order = question.logits.argsort(descending=True).tolist()
    far = [token for token in order if abs(float(question.logits[token] - question.logits[question.target])) >= 0.1]
    assert question.against == next(token for token in far if token != question.target)
    assert question.reply_ids == answer.ids[:2]


def test_a_contrast_may_be_named_with_or_without_its_space(answer: Answer, tokenizer: Tokenizer) -> None:
    [winter] = tokenizer.encode_inside(" winter")
    for text in ("winter", " winter"):
        assert answer.question(0, text).against == winter
    with pytest.raises(UserError, match='begins with "sword", which is what was written'):
        answer.question(0, " sword")
    with pytest.raises(UserError, match="against: give the word"):
        answer.question(0, "")


def test_a_contrast_that_is_too_close_is_refused_with_another_to_take(answer: Answer, tokenizer: Tokenizer) -> None:
    [sword], [winter] = tokenizer.encode_inside(" sword"), tokenizer.encode_inside(" winter")
    model = copy.deepcopy(answer.model)
    with torch.no_grad():
        model.head.matrix()[winter] = model.head.matrix()[sword]
    same = replace(answer, model=model)
    far = same.question(0)
    assert far.against not in (sword, winter)
    with pytest.raises(
        UserError, match=r"differ by \+0.00 nats, which is next to nothing .*: compare with "
    ) as refused:
        same.question(0, " winter")
    assert quoted(far.text_of(far.against)) in str(refused.value)


def test_an_empty_reply_and_a_context_that_is_full_are_refused(answer: Answer, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"the reply is empty.*--reply"):
        replace(answer, ids=())
    long = replace(answer, prompt=Prompt.of_text(tokenizer, "sold one sword. " * 60))
    with pytest.raises(UserError, match="does not fit in the model's context of 128: shorten it"):
        _ = long.surprisals
    longer = replace(answer, ids=answer.ids * 30)  # its beginning fits
    assert len(longer.surprisals) == 128 - len(answer.prompt.ids) + 1
    assert longer.question(3).difference != 0
    with pytest.raises(UserError, match="explain a shorter prompt or an earlier word"):
        longer.question(len(longer.ids) - 1)


def test_own_text_is_text_of_the_model_alone(answer: Answer, tokenizer: Tokenizer) -> None:
    ids = own_text(answer.model, tokenizer, seed=1)
    assert len(ids) > 100
    assert not set(ids) & tokenizer.special_ids
    assert ids == own_text(answer.model, tokenizer, seed=1) != own_text(answer.model, tokenizer, seed=2)


@pytest.mark.parametrize(
    ("difference", "words"),
    [(0.01, "about as probable as"), (2.5, "12 times as probable as"), (-1.6, "5 times less probable than"),
     (9.0, "over 1,000 times as probable as")],
)  # fmt: skip
def test_differences_are_said_without_logarithms(difference: float, words: str) -> None:
    assert relative_odds(difference) == words
