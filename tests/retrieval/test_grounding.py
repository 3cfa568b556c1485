"""A question with what documents hold on it, within what fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gptsmith.retrieval.documents import Documents
from gptsmith.retrieval.grounding import NO_ROOM, NOTHING_FOUND, ground
from gptsmith.retrieval.quotation import MARK

QUESTION = {"role": "user", "content": "Who opened the forge?"}
SYSTEM = {"role": "system", "content": "Be brief."}
TALK = [SYSTEM, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}]


def count(messages: Sequence[dict[str, str]]) -> int:
    """A token for each word, and for each role."""
    return sum(1 + len(message["content"].split()) for message in messages)


def test_the_last_question_gets_the_passages(documents: Documents) -> None:
    messages, grounding = ground(documents, [*TALK, QUESTION], count, 1000, gives_way=True)
    assert messages[:-1] == TALK
    assert messages[-1]["role"] == "user"
    assert "> [1] forge.md > The forge > Steel" in messages[-1]["content"]
    assert messages[-1]["content"].endswith("The question: Who opened the forge?")
    assert grounding is not None
    fields = grounding.fields()
    assert fields["found"]
    assert fields["note"] is None
    source = fields["sources"][0]
    assert source["number"] == 1
    assert (source["file"], source["headings"], source["line"]) == ("forge.md", ["The forge", "Steel"], 5)
    assert "Aldric Penhallow" in source["text"]


def test_what_documents_do_not_hold_is_said_and_the_model_is_told_nothing(documents: Documents) -> None:
    asked = [{"role": "user", "content": "Who is the president of Zimbabwe?"}]
    messages, grounding = ground(documents, asked, count, 1000, gives_way=True)
    assert messages == asked
    assert grounding is not None
    assert grounding.fields() == {"found": False, "note": NOTHING_FOUND, "sources": []}


@pytest.mark.parametrize("messages", [[], TALK, [SYSTEM]])
def test_only_what_a_person_asks_is_looked_up(documents: Documents, messages: list[dict[str, str]]) -> None:
    assert ground(documents, messages, count, 1000, gives_way=True) == (messages, None)


def test_a_question_without_words_of_its_own_is_looked_up_with_the_one_before(documents: Documents) -> None:
    more = [{"role": "assistant", "content": "Aldric."}, {"role": "user", "content": "And when was that?"}]
    _, grounding = ground(documents, [QUESTION, *more], count, 1000, gives_way=True)
    assert grounding is not None
    assert grounding.sources[0].headings == ("The forge", "Steel")


@pytest.mark.parametrize("gives_way", [True, False])
@pytest.mark.parametrize("limit", range(10, 130, 5))
def test_a_prompt_with_passages_always_fits(folder: Path, documents: Documents, limit: int, gives_way: bool) -> None:
    messages, grounding = ground(documents, [*TALK, QUESTION], count, limit, gives_way=gives_way)
    assert grounding is not None
    if grounding.sources:
        assert count(messages[-1:] if gives_way else messages) <= limit
        quoted = messages[-1]["content"].replace(f"\n{MARK}", " ")
        assert all(" ".join(source.text.split()) in " ".join(quoted.split()) for source in grounding.sources)
    else:
        assert grounding.note == NO_ROOM
        assert messages == [*TALK, QUESTION]


def test_small_contexts_get_a_sentence(documents: Documents) -> None:
    limit = next(
        limit
        for limit in range(10, 300)
        if ground(documents, [QUESTION], count, limit, gives_way=True)[1].sources  # type: ignore[union-attr]
    )
    _, grounding = ground(documents, [QUESTION], count, limit, gives_way=True)
    assert grounding is not None
    assert [source.text for source in grounding.sources] == ["Aldric Penhallow opened the forge in 1873."]
