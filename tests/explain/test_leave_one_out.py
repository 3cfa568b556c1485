"""The parts of a prompt that mattered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from gptsmith.explain.claim import CHANCE, HOLDS, NOT_TESTED
from gptsmith.explain.methods.leave_one_out import LeaveOneOutSettings
from gptsmith.explain.naming import important
from gptsmith.explain.other_questions import ReplyQuestion, ScoreQuestion
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.explain.sparse_fit import NUM_CHECKED, NUM_HALVES, lasso_path, random_halves, sparse_fit
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer
from tests.explain.conftest import TEXT, random_model

Made = Callable[..., Question]


@pytest.fixture(scope="module")
def iron(tokenizer: Tokenizer) -> int:
    return tokenizer.encode(" iron")[0]


@pytest.fixture(scope="module")
def copier(tokenizer: Tokenizer, iron: int) -> GPT:
    """A model wired to write `iron` if and only if the word stands before it."""
    model = random_model(
        tokenizer.vocab_size, position="none", num_layers=1, num_heads=1, tie_embeddings=False
    )  # fmt: skip
    block = model.blocks[0]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(0.0 if "feedforward." in name else 0.02)
            if "norm" in name:
                parameter.fill_(1.0)
        model.embedding.weight[:, 1] = 1.0  # every token: the query
        model.embedding.weight[:, 0] = 0.0
        model.embedding.weight[iron, 0] = 1.0  # the word alone: key and value
        block.attention.query.weight[0, 1] = 4.0
        block.attention.key.weight[0, 0] = 4.0
        block.attention.value.weight[0, 0] = 4.0
        block.attention.output.weight[31, 0] = 4.0
        model.head.weight[iron, 31] = 4.0
    return model


def test_a_model_wired_to_copy_one_word_is_explained_by_that_word(question: Made, copier: GPT, iron: int) -> None:
    asked = question(model=copier, target=iron, against=41)
    assert asked.difference > 3
    sentences, words = LeaveOneOutSettings().explain(asked)
    assert [item.text for item in words.named] == ["iron."]
    assert words.verdict == HOLDS
    assert words.says.startswith('Because of "iron." it wrote "iron" rather than')
    assert (words.by, sentences.by) == ("words", "sentences")
    assert TEXT[words.named[0].start : words.named[0].stop].strip() == "iron."
    # Necessity and sufficiency: nothing is left without it, and it is enough alone.
    assert words.rest == pytest.approx(0, abs=0.5)
    assert words.alone == pytest.approx(asked.difference, abs=0.7)
    assert [item.text for item in sentences.named] == ["Nobody in the village had seen such iron."]
    assert sentences.verdict == NOT_TESTED
    assert "associated with" in sentences.says


def test_changes_are_those_of_the_model_without_each_part(question: Made) -> None:
    asked = question()
    [claim] = LeaveOneOutSettings(by="tokens").explain(asked)
    rows = [asked.without([unit]) for unit in asked.units("tokens")]
    with torch.no_grad():
        logits = torch.stack([asked.model(torch.tensor([row]))[0, -1] for row in rows])
    expected = asked.difference - (logits[:, 40] - logits[:, 41])
    assert [item.change for item in claim.items] == pytest.approx(expected.tolist())
    assert claim.test is not None
    assert claim.test.p_value == max(test.p_value for test in claim.tests)


def test_many_parts_are_fitted_and_the_fit_is_checked(question: Made, copier: GPT, iron: int) -> None:
    asked = question(model=copier, target=iron, against=41)
    [claim] = LeaveOneOutSettings(by="words", most_units=8).explain(asked)
    assert [item.text for item in claim.named] == ["iron."]
    assert claim.verdict == HOLDS
    assert claim.fit is not None
    assert claim.fit > 0.9
    assert sum(item.change == 0 for item in claim.items) > len(claim.items) / 2


def test_in_a_long_prompt_only_words_of_the_best_sentences_are_looked_at(
    question: Made, copier: GPT, iron: int
) -> None:
    asked = question(model=copier, target=iron, against=41)
    _, words = LeaveOneOutSettings(most_units=8).explain(asked)
    assert [item.text for item in words.items] == ["Nobody", "in", "the", "village", "had", "seen", "such", "iron."]
    assert words.verdict == NOT_TESTED  # one of eight words is found by luck too often


def test_sentences_are_tested_only_after_their_words_hold(
    question: Made, copier: GPT, iron: int, tokenizer: Tokenizer
) -> None:
    prompt = Prompt.of_text(tokenizer, f"{'She sold. ' * 21}Such iron. She went home.")
    asked = question(model=copier, target=iron, against=41, prompt=prompt)
    sentences, words = LeaveOneOutSettings().explain(asked)
    assert (sentences.verdict, words.verdict) == (HOLDS, HOLDS)
    assert [item.text for item in sentences.named] == ["Such iron."]
    noise = question(prompt=prompt)  # another model
    sentences, words = LeaveOneOutSettings().explain(noise)
    assert words.verdict == CHANCE
    assert (sentences.verdict, sentences.why) == (NOT_TESTED, "Not tested: the words in them are.")


def test_a_score_is_explained_by_words(question: Made, tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer.vocab_size, num_labels=2)
    asked = ScoreQuestion(model, tokenizer, question().prompt, target=1, against=0, labels=("ham", "spam"))
    [claim] = LeaveOneOutSettings(by="words").explain(asked)
    assert '"spam" rather than "ham"' in claim.says
    reward = ScoreQuestion(
        random_model(tokenizer.vocab_size, num_labels=1), tokenizer, asked.prompt, target=0, against=0
    )
    [claim] = LeaveOneOutSettings(by="words").explain(reward)
    assert "the score is" in claim.says


@pytest.mark.parametrize("text", ["", "iron"])
def test_a_prompt_of_no_word_or_one_has_nothing_to_test(question: Made, tokenizer: Tokenizer, text: str) -> None:
    asked = question(prompt=Prompt.of_text(tokenizer, text), reply_ids=(33,))
    whole = ReplyQuestion(asked.model, tokenizer, asked.prompt, 34, 34, (33,))
    for each in (asked, whole):
        [claim] = LeaveOneOutSettings().explain(each)
        assert claim.verdict == NOT_TESTED
        assert len(claim.items) == bool(text)


def test_only_parts_that_stand_out_are_named() -> None:
    many = np.zeros(30)
    many[[4, 7, 9]] = 4.0, 3.0, 1.5
    assert important(many) == [4, 7]
    assert important(-many) == []
    few = np.array([4.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0])  # two of seven can be tested, one cannot
    assert important(few) == [0, 1]
    assert important(few, num_claims=9) == [0]
    assert len(important(np.ones(50))) == 8


def test_the_fit_finds_the_few_parts_that_count() -> None:
    kept = random_halves(100, seed=3)
    assert kept.shape == (NUM_HALVES + NUM_CHECKED, 100)
    noise = np.random.default_rng(1).normal(0, 0.1, len(kept))
    found = sparse_fit(kept, 3.0 * kept[:, 5] - 2.0 * kept[:, 70] + noise)
    assert sorted(np.argsort(-np.abs(found.weights))[:2].tolist()) == [5, 70]
    assert found.correlation > 0.95
    unrelated = sparse_fit(kept, np.random.default_rng(2).normal(0, 1, len(kept)))
    assert unrelated.correlation < 0.6
    assert sparse_fit(kept, np.zeros(len(kept))).correlation == 0


def test_the_lasso_is_at_its_optimum() -> None:
    generator = np.random.default_rng(0)
    x, y, penalty = generator.normal(size=(50, 6)), generator.normal(size=50), 0.1
    weights, intercept = lasso_path(x, y, np.array([0.3, penalty]), tolerance=1e-9)[-1]
    slopes = x.T @ (y - x @ weights - intercept) / 50  # Karush, Kuhn and Tucker
    assert np.allclose(slopes[weights != 0], penalty * np.sign(weights[weights != 0]), atol=1e-5)
    assert (np.abs(slopes[weights == 0]) <= penalty + 1e-5).all()
    assert (y - x @ weights).mean() == pytest.approx(intercept)
