"""The parts of a collection: recognised by file, counted, and read alone when one of them is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.data.examples import read_examples, read_shape
from gptsmith.serve.studio.data.parts import ALL, CHATS, CONVERSATIONS, QUESTIONS, files_of, parts_of, used_part

from .test_recipes import CHATS as CHAT_RECORDS
from .test_recipes import Mended

FILES = {
    "story.txt": "The smith forged a gate.",
    "deep/notes.md": "# Iron\n\nIt glows.",
    "asked.jsonl": "".join(json.dumps({"question": f"Gate {n}?", "answer": f"Iron {n}."}) + "\n" for n in range(5)),
    "chats.jsonl": "".join(json.dumps(chat) + "\n" for chat in CHAT_RECORDS),
    "d.csv": "text,label\nGood iron,1\nBad iron,0\nGood coal,1\n",
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mended:
    return Mended(tmp_path_factory.mktemp("mixed"), FILES)


def test_parts_are_recognised_and_counted(mixed: Mended) -> None:
    parts = mixed.data.parts("texts")
    assert [(part.kind, part.num_documents) for part in parts] == [
        ("text", 2), (CHATS, 3), (QUESTIONS, 5), ("labelled", 3),
    ]  # fmt: skip
    assert {path.name for path in files_of(parts, CONVERSATIONS)} == {"asked.jsonl", "chats.jsonl"}
    assert used_part(parts, None, tunes=False) == ALL
    assert used_part(parts, None, tunes=True) == CONVERSATIONS
    assert used_part(parts, "labelled", tunes=True) == "labelled"
    assert used_part(parts[:2], None, tunes=True) == CHATS
    assert used_part(parts[:1], None, tunes=True) == ALL
    with pytest.raises(UserError, match="there is no part 'conversations'"):
        used_part(parts[:2], CONVERSATIONS, tunes=True)
    assert parts_of(Path("nowhere"), "") == ()


def test_a_chosen_part_is_read_alone_as_it_was_mended(mixed: Mended) -> None:
    assert mixed.data.arguments("texts", ALL) == [str(mixed.collection.sources)]
    (source,) = mixed.data.arguments("texts", CONVERSATIONS)
    assert len(read_examples([source], read_shape([source])).examples) == 8
    (texts,) = mixed.data.arguments("texts", "text")
    assert sorted(path.name for path in Path(texts).rglob("*.*")) == ["notes.md", "story.txt"]
    (labelled,) = mixed.data.arguments("texts", "labelled")
    assert read_shape([labelled]) == "labelled"
    number = mixed.exclude(next(name for name in mixed.names if "Cold" in mixed.text(name)))
    source, option, _ = mixed.data.arguments("texts", CHATS)
    assert option == "--without"
    assert mixed.data.arguments("texts", "text") == [texts], "nothing of it is excluded"
    mixed.data.recipes.undo(mixed.collection, number)
