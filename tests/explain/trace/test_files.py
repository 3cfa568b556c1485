"""Passages are pointed at in the files of today, and what the tokenizer cannot spell matches nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend

from gptsmith.data import passages as module
from gptsmith.data.suffix_array import suffix_array
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.provenance.files import SourceFiles
from gptsmith.run.paths import RunPaths
from gptsmith.text.tokenizer import EOS_TOKEN, Tokenizer
from gptsmith.text.tokenizers.characters import CharactersTokenizerSettings

EMPTY = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
}  # fmt: skip
LINES = [f"line {number}: " + "x" * (number % 7) for number in range(1, 60)]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_lines_are_counted_in_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_BYTES", block)
    path = tmp_path / "a.txt"
    content = "\n".join(LINES).encode()
    path.write_bytes(content)
    files = SourceFiles(RunPaths(tmp_path / "run"), {})
    for number, line in enumerate(LINES, 1):
        at = content.index(line.encode())
        for begin, end in ((0, len(content)), (at, at + len(line))):
            found = files.find(path, line, begin, end, at)
            assert found is not None
            assert (found.start, found.stop, found.line) == (at, at + len(line), number)
    path.write_bytes(b"a\n\n" + content)  # counted anew
    moved = files.find(path, LINES[-1], 0, 1 << 20, 0)
    assert moved is not None
    assert moved.line == len(LINES) + 2
    assert files.find(path, "nowhere", 0, 1 << 20, 0) is None


def test_the_nearest_copy_is_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("nail\n" * 50, encoding="utf-8")
    found = SourceFiles(RunPaths(tmp_path / "run"), {}).find(path, "nail", 0, 250, 151)
    assert found is not None
    assert (found.start, found.line) == (150, 31)


def tracer_of(tokenizer: Tokenizer, text: str) -> Tracer:
    ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
    array = suffix_array(np.array(ids, np.uint16), tokenizer.eos_token_id)
    learned: Any = SimpleNamespace(array=array, held_out=None, document_at=lambda _: 0, source=lambda *_: None)
    return Tracer(tokenizer, cast(Any, SimpleNamespace(texts=[learned], missing=[])))


def test_a_passage_has_whole_characters() -> None:
    """The tokenizer spells letters that it has not learnt by their bytes, of which two letters can share the first."""
    tokenizer = CharactersTokenizerSettings().train(lambda: iter(["abc abc"]), 7)
    tracer = tracer_of(tokenizer, "abcЖЖЖabc")
    for found in (tracer.trace("abcЩЩЩabc", 2), tracer.trace_ids(tokenizer.encode("abcЩЩЩabc"), 2)):
        assert [(each.text, each.start, each.stop) for each in found] == [("abc", 0, 3), ("abc", 6, 9)]
        assert (found[0].num_copies, found[1].num_copies, found[0].held_out_share) == (1, 2, None)
    (found,) = tracer.trace_ids(tokenizer.encode("abcЖЖЖabc"), 2)
    assert (found.text, found.start, found.stop) == ("abcЖЖЖabc", 0, 9)


def test_what_a_tokenizer_cannot_spell_matches_nothing() -> None:
    state = {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1, "b": 2, EOS_TOKEN: 3}, "unk_token": "<unk>"}
    backend = Backend.from_str(json.dumps({**EMPTY, "model": state}))
    tokenizer = Tokenizer(backend)
    assert tokenizer.unknown_id == 0
    found = tracer_of(tokenizer, "a b x y z a b").trace("b p q r a b", 2)
    assert [each.text for each in found] == ["a b"]
