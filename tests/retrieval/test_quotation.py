"""Whatever stands in a document: in a turn it is a quotation, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.retrieval.documents import Source
from gptsmith.retrieval.quotation import GAP, INTRODUCTION, MARK, QUESTION, quoted_turn, shortened
from gptsmith.text.chat_template import CHATML, PLAIN, ChatTemplate
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.text.turn_markers import turn_markers

INJECTIONS = (Path(__file__).parent / "injections.txt").read_text(encoding="utf-8").split("\n----\n")
QUESTIONS = "Who opened the forge?"
SOURCE = Source("a-0", "forge.md", ("The forge",), 3, "Aldric Penhallow opened the forge.")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return BytesTokenizerSettings().train(list, 0)


def without_quotations(turn: str) -> str:
    """A turn without its marked lines, by all that ends a line."""
    return "\n".join(line for line in turn.splitlines() if not line.startswith(MARK))


def test_a_turn_has_passages_with_their_places_and_then_the_question() -> None:
    other = replace(SOURCE, file="prices.md", headings=(), text="Nails: a penny.\n\nShoes: four pence.")
    assert quoted_turn([SOURCE, other], QUESTIONS) == (
        f"{INTRODUCTION}\n\n"
        "> [1] forge.md > The forge\n> Aldric Penhallow opened the forge.\n\n"
        "> [2] prices.md\n> Nails: a penny.\n> \n> Shoes: four pence.\n\n"
        f"{QUESTION}{QUESTIONS}"
    )


def test_the_corpus_of_injections_is_large() -> None:
    assert len(set(INJECTIONS)) == len(INJECTIONS) >= 30


@pytest.mark.parametrize("injection", INJECTIONS)
@pytest.mark.parametrize("template", [CHATML, PLAIN], ids=["chatml", "plain"])
def test_no_passage_leaves_its_quotation(injection: str, template: str, tokenizer: Tokenizer) -> None:
    harmless = quoted_turn([SOURCE], QUESTIONS)
    for source in (
        replace(SOURCE, text=injection),
        replace(SOURCE, file=injection),
        replace(SOURCE, headings=("The forge", injection)),
    ):
        turn = quoted_turn([source], QUESTIONS)
        assert without_quotations(turn) == without_quotations(harmless)
        ids = [
            ChatTemplate(template).prompt_ids(tokenizer, [{"role": "user", "content": one}]) for one in (turn, harmless)
        ]
        special = set(tokenizer.special_tokens.values())
        assert [one for one in ids[0] if one in special] == [one for one in ids[1] if one in special]
        assert turn in tokenizer.decode(ids[0], keep_special=True)


BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@given(st.text(st.sampled_from(BREAKS + "> []\x00\x1b") | st.characters(exclude_categories=["Cs"]), max_size=40))
def test_nothing_ends_a_line_of_a_quotation(text: str) -> None:
    turn = quoted_turn([replace(SOURCE, text=text, file=text, headings=(text,))], QUESTIONS)
    assert without_quotations(turn) == f"{INTRODUCTION}\n\n\n{QUESTION}{QUESTIONS}"


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "a", "\n", " "]), max_size=8).map("".join))
def test_special_spellings_are_text(tokenizer: Tokenizer, text: str) -> None:
    turn = quoted_turn([replace(SOURCE, text=text)], QUESTIONS)
    ids = ChatTemplate().prompt_ids(tokenizer, [{"role": "user", "content": turn}])
    special = [tokenizer.decode([one], keep_special=True) for one in ids if one in tokenizer.special_tokens.values()]
    assert special == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


def test_a_passage_is_shortened_around_the_sentence_that_answers() -> None:
    sentences = [f"Sentence {number} is about nothing much." for number in range(9)]
    sentences[6] = "The forge was opened by Aldric."
    source = replace(SOURCE, text=" ".join(sentences), terms=frozenset(("opened", "forges")))
    assert shortened(source, lambda text: len(text) <= 40) == sentences[6]
    assert shortened(source, lambda text: len(text) <= 80) == " ".join(sentences[6:8])
    assert shortened(source, lambda text: len(text) <= 110) == " ".join(sentences[5:8])
    assert shortened(source, lambda text: len(text) <= 20) is None
    assert shortened(source, lambda text: True) == source.text


LLAMA = (
    "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }} </s>{% endif %}{% endfor %}"
)
VICUNA = (
    "A chat between a user and an assistant. "
    "{% for message in messages %}{{ message.role | upper }}: {{ message.content }} {% endfor %}ASSISTANT:"
)


@pytest.mark.parametrize(
    ("template", "markers"),
    [
        (CHATML, set()),
        (PLAIN, {"User:", "Assistant:"}),
        (LLAMA, {"[INST]", "[/INST]"}),
        (VICUNA, {"USER:", "ASSISTANT:"}),
        ("{{ raise_exception('no') }}", set()),
    ],
    ids=["chatml", "plain", "llama", "vicuna", "refusing"],
)
def test_no_passage_has_the_words_that_begin_turns(template: str, markers: set[str], tokenizer: Tokenizer) -> None:
    found = turn_markers(ChatTemplate(template), tokenizer)
    assert markers <= found
    passage = " ".join(["The smith", *markers, *map(str.lower, markers), "said."])
    turn = quoted_turn([replace(SOURCE, text=passage, file=passage)], QUESTIONS, found)
    assert not any(marker.lower() in turn.lower() for marker in markers)
    assert turn.replace(GAP, "") == quoted_turn([replace(SOURCE, text=passage, file=passage)], QUESTIONS)
