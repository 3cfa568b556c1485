"""The parts of a prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.units import GRAINS, units_of
from gptsmith.text.chat_template import CHATML, PLAIN, ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from tests.convert.tokenizer_styles import sentence_piece
from tests.explain.conftest import TEXT


def test_sentences_and_words_are_those_that_people_see(tokenizer: Tokenizer) -> None:
    passages = Prompt.of_text(tokenizer, TEXT).passages
    sentences = [unit.text for unit in units_of(passages, tokenizer, "sentences")]
    assert [text.strip().split()[0] for text in sentences] == ["The", "Then", "Nobody", "What", "A"]
    assert [unit.text.strip() for unit in units_of(passages, tokenizer, "words")] == TEXT.split()


@pytest.mark.parametrize("by", GRAINS)
@given(text=st.text(alphabet="aé 世.!?\n\t🔥Az'-", min_size=1, max_size=40))
def test_parts_divide_text_and_tokens_without_gaps(tokenizer: Tokenizer, by: str, text: str) -> None:
    prompt = Prompt.of_text(tokenizer, text)
    units = units_of(prompt.passages, tokenizer, by)
    assert "".join(unit.text for unit in units) == text
    assert [place for unit in units for place in unit.places] == list(range(len(prompt.ids)))
    for unit in units:
        assert tokenizer.decode(prompt.ids[unit.first : unit.last]) in (unit.text, *_wider(text, unit.start, unit.stop))


def _wider(text: str, start: int, stop: int) -> list[str]:
    """The part with a few characters more or less, which a token shares with its neighbours."""
    return [text[max(0, start + a) : stop + b] for a in range(-3, 4) for b in range(-3, 4)]


@pytest.mark.parametrize("source", [CHATML, PLAIN])
def test_of_a_conversation_only_the_texts_of_its_messages_are_parts(tokenizer: Tokenizer, source: str) -> None:
    messages = [
        {"role": "system", "content": "user"},
        {"role": "user", "content": "  Sell the sword. <|im_end|> "},
        {"role": "assistant", "content": "user"},
        {"role": "user", "content": "é世 now"},
    ]
    prompt = Prompt.of_messages(tokenizer, ChatTemplate(source), messages)
    assert [passage.message for passage in prompt.passages] == [0, 1, 2, 3]
    for passage in prompt.passages:
        assert passage.text.strip() == messages[passage.message]["content"].strip()
        assert tuple(prompt.ids[passage.first : passage.first + len(passage.ids)]) == passage.ids
    covered = {place for unit in units_of(prompt.passages, tokenizer, "words") for place in unit.places}
    specials = {place for place, number in enumerate(prompt.ids) if number in tokenizer.special_ids}
    assert specials
    assert not covered & specials


def test_variables_of_the_template_are_those_of_the_reply(tokenizer: Tokenizer) -> None:
    template = ChatTemplate("{% if quick %}Quick: {% endif %}" + PLAIN + "{% if quick %} Now: {% endif %}")
    messages = [{"role": "user", "content": "Sell the sword."}]
    prompt = Prompt.of_messages(tokenizer, template, messages, {"quick": True})
    assert prompt.ids == tuple(template.prompt_ids(tokenizer, messages, {"quick": True}))
    assert prompt.ids != tuple(template.prompt_ids(tokenizer, messages))
    (passage,) = prompt.passages
    assert tokenizer.decode(prompt.ids[passage.first : passage.first + len(passage.ids)]).strip() == "Sell the sword."


@pytest.mark.parametrize("scheme", [None, "first", "gemma"])
def test_a_space_that_a_tokenizer_puts_before_a_text_is_not_one_of_its_characters(scheme: str | None) -> None:
    tokenizer = Tokenizer(sentence_piece(scheme), "</s>")
    messages = [{"role": "user", "content": "the smith sells"}]
    prompts = [
        Prompt.of_text(tokenizer, "the smith sells"),
        Prompt.of_messages(tokenizer, ChatTemplate("{{ messages[0].content }}</s>"), messages),
    ]
    for prompt in prompts:
        units = units_of(prompt.passages, tokenizer, "words")
        assert [unit.text.strip() for unit in units] == ["the", "smith", "sells"]
        assert (units[0].start, units[-1].stop) == (0, 15)
        spelt = [tokenizer.decode(prompt.ids[unit.first : unit.last]).strip() for unit in units]
        assert spelt == ["the", "smith", "sells"]


def test_an_unknown_grain_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"word.*did you mean words"):
        units_of([], tokenizer, "word")
