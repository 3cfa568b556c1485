"""Prompts become tokens, and what a model says to them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.evaluate import language_model as module
from gptsmith.evaluate.language_model import LanguageModel
from gptsmith.evaluate.prompt import Prompt, user
from gptsmith.generate import sampler
from gptsmith.generate.api import generate
from gptsmith.generate.engine import Engine
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import TURN_END, TURN_START, Tokenizer

GREEDY = SamplingSettings(temperature=0)
QUESTION = Prompt.from_messages([user("who sells 12 ploughs?")])


@pytest.fixture(scope="module")
def base(bpe: Tokenizer, make_model: Callable[[Tokenizer], GPT]) -> LanguageModel:
    return LanguageModel(make_model(bpe), bpe, None)


@pytest.fixture(scope="module")
def chatting(bpe: Tokenizer, make_model: Callable[[Tokenizer], GPT]) -> LanguageModel:
    return LanguageModel(make_model(bpe), bpe, ChatTemplate())


class TestPairs:
    def test_a_text_and_its_answer_are_encoded_together(self, base: LanguageModel) -> None:
        before, after = base.encode_pair(QUESTION, "the young one")
        assert before == base.tokenizer.encode("Question: who sells 12 ploughs?\nAnswer:")
        assert before + after == base.tokenizer.encode("Question: who sells 12 ploughs?\nAnswer: the young one")
        assert base.tokenizer.decode(after) == " the young one"

    @given(
        text=st.text("The old smith:\n ", max_size=12),
        answer=st.text("the iron.7", min_size=1, max_size=8).filter(str.strip),
    )
    def test_the_answers_tokens_are_its_text(self, base: LanguageModel, text: str, answer: str) -> None:
        before, after = base.encode_pair(Prompt.from_text(text), answer)
        if not text.strip():
            assert before == [base.tokenizer.eos_token_id]
        decoded = base.tokenizer.decode(after)
        assert decoded.endswith(answer)
        assert decoded.removesuffix(answer).strip() == ""
        assert base.tokenizer.decode(before) + decoded == text.rstrip() + Prompt.from_text(text).space + answer

    def test_white_space_before_the_answer_belongs_to_the_answer(self, base: LanguageModel) -> None:
        assert base.encode_pair(Prompt.from_text("The old "), "smith") == base.encode_pair(
            Prompt.from_text("The old"), "smith"
        )

    def test_an_answer_that_would_change_the_texts_last_token_is_encoded_apart(self, base: LanguageModel) -> None:
        question, tokenizer = "who sells 12 ploughs?", base.tokenizer
        assert tokenizer.encode(question + "\n")[-1] not in tokenizer.encode(question)  # ? and the line break are one
        before, after = base.encode_pair(Prompt.from_text(question + "\n"), "Answer")
        assert (before, after) == (tokenizer.encode(question), tokenizer.encode("\nAnswer"))

    def test_a_chat_models_pair_is_the_conversation_and_the_answer(self, chatting: LanguageModel) -> None:
        before, after = chatting.encode_pair(QUESTION, "the young one")
        special = chatting.tokenizer.special_tokens
        assert before[0] == special[TURN_START]
        assert chatting.tokenizer.decode(before, keep_special=True) == (
            "<|im_start|>user\nwho sells 12 ploughs?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert after == chatting.tokenizer.encode("the young one")

    def test_what_people_write_never_becomes_a_special_token(
        self, base: LanguageModel, chatting: LanguageModel
    ) -> None:
        prompt = Prompt.from_messages([user(f"say {TURN_END}")])
        special = base.tokenizer.special_ids
        assert not special & {token for ids in base.encode_pair(prompt, TURN_END) for token in ids}
        assert sum(token in special for token in chatting.encode_pair(prompt, "x")[0]) == 3
        assert not special & set(chatting.encode_pair(prompt, TURN_END)[1])


@pytest.mark.parametrize("kind", ["base", "chatting"])
def test_choices_are_scored_as_each_alone(kind: str, request: pytest.FixtureRequest) -> None:
    one: LanguageModel = request.getfixturevalue(kind)
    questions = [(QUESTION, ("the young one", "iron")), (Prompt.from_text("The old"), ("smith", "nail", "12"))]
    found = one.score_choices(questions)
    assert [len(scores) for scores in found] == [2, 3]
    for (prompt, choices), scores in zip(questions, found, strict=True):
        for choice, score in zip(choices, scores, strict=True):
            before, after = one.encode_pair(prompt, choice)
            with torch.no_grad():
                logits = one.model(torch.tensor([before + after]))[0].log_softmax(dim=-1)
            places = range(len(before) - 1, len(before) + len(after) - 1)
            expected = sum(float(logits[place, token]) for place, token in zip(places, after, strict=True))
            assert score.log_likelihood == pytest.approx(expected, abs=1e-9)


class TestReplies:
    def test_they_are_those_of_the_engine_one_by_one(self, base: LanguageModel) -> None:
        chance = random.Random(0)
        words = ["The", "old", "smith", "forges", "a", "nail", "of", "iron"]
        prompts = [Prompt.from_text(" ".join(chance.choices(words, k=chance.randint(1, 6)))) for _ in range(9)]
        for prompt, reply in zip(prompts, base.reply(prompts, 12), strict=True):
            whole = "".join(
                generate(base.model, base.tokenizer, prompt.text, max_tokens=12, sampling=GREEDY, stop=["\n\n"])
            )
            assert reply == whole.strip()

    def test_a_chat_model_is_asked_in_its_template(self, chatting: LanguageModel) -> None:
        ids = chatting.encode_pair(QUESTION, "")[0]
        whole = "".join(generate(chatting.model, chatting.tokenizer, ids, max_tokens=12, sampling=GREEDY))
        assert chatting.reply([QUESTION], 12) == [whole.strip()]

    def test_a_reply_of_a_base_model_ends_at_a_blank_line_and_a_chat_models_does_not(
        self, characters: Tokenizer, make_model: Callable[[Tokenizer], GPT], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = " one\n\ntwo"

        def spell(logits: torch.Tensor, settings: SamplingSettings, numbers: list[float]) -> torch.Tensor:
            spell.place += 1
            return torch.tensor([written.encode()[spell.place - 1]] * len(logits))

        monkeypatch.setattr(sampler, "sample_from_uniform", spell)
        for template, reply, num_tokens in ((None, "one", 6), (ChatTemplate(), "one\n\ntwo", 9)):
            spell.place = 0
            model = make_model(characters)
            found = LanguageModel(model, characters, template).reply([Prompt.from_text("hi")], len(written))
            assert (found, spell.place) == ([reply], num_tokens)

    def test_the_end_of_a_turn_ends_a_reply(self, chatting: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        end = chatting.tokenizer.special_tokens[TURN_END]
        monkeypatch.setattr(sampler, "sample_from_uniform", lambda *_: torch.tensor([end]))
        assert chatting.reply([QUESTION], 12) == [""]

    def test_what_is_drawn_is_decided_by_the_seed(self, base: LanguageModel) -> None:
        hot, prompts = SamplingSettings(temperature=1.5), [base.tokenizer.encode("The old")] * 2
        texts = [base.generate(prompts, max_tokens=9, sampling=hot, seed=seed) for seed in (1, 1, 2)]
        assert texts[0] == texts[1] != texts[2]
        assert texts[0][0] != texts[0][1]


class TestLongPrompts:
    def test_they_lose_their_beginning_and_are_counted(self, base: LanguageModel) -> None:
        long, short = Prompt.from_text("The old smith forges. " * 40), Prompt.from_text("The old smith forges.")
        before = base.num_truncated
        assert len(base.reply([long, short], 8)) == 2
        assert base.num_truncated == before + 1
        base.score_choices([(long, ("nail", "iron")), (short, ("nail", "iron"))])
        assert base.num_truncated == before + 2

    def test_a_reply_takes_at_most_half_of_the_context(
        self, base: LanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits: dict[str, int] = {}
        real = module.generate_batch_with

        def spy(engine: Engine, prompts: list[list[int]], **options: Any) -> object:
            limits.update(max_tokens=options["max_tokens"], longest=max(map(len, prompts)))
            return real(engine, prompts, **options)

        monkeypatch.setattr(module, "generate_batch_with", spy)
        base.reply([Prompt.from_text("The old smith forges. " * 40)], 1000)
        assert limits == {"max_tokens": 32, "longest": 32}
