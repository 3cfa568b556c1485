"""The audit in one line: counts alone, once per corpus, of a part where there is much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.hints import shell_command
from gptsmith.data.care import brief_audit
from gptsmith.data.corpus import Corpus, read_corpus
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes.chat import ChatExample

MAIL, KEY = "anna.berg@example.org", "AKIAIOSFODNN7EXAMPLE"
FILES = {
    **{f"{number}.txt": f"{number}: " + "word " * 50 for number in range(9)},
    "a.txt": f"Write to {MAIL} or {MAIL}.",
    "b.txt": f"The key is {KEY}, says {MAIL}. " + "word " * 50,
}


@pytest.fixture
def corpus(write: Callable[..., Path]) -> Corpus:
    return read_corpus([write(FILES)], DataSettings(), default_cache())


def test_what_is_found_is_counted_and_not_shown(corpus: Corpus) -> None:
    audit = brief_audit.of_corpus(corpus)
    assert audit == brief_audit.BriefAudit({"email": 3, "api_key": 1}, num_found=2, num_read=11, is_part=False)
    (line,) = audit.lines("documents")
    counts = "found in 2 of 11 documents: secrets 1, e-mail addresses 3"
    assert line == f"{counts}; {shell_command('audit', 'TEXT')} lists them"
    kept = (corpus.folder / brief_audit.KEPT_FILE).read_text(encoding="utf-8")
    assert not any(words in kept + line for words in ("anna", "AKIA"))


def test_it_takes_its_time_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    first = brief_audit.of_corpus(corpus)
    with monkeypatch.context() as patch:
        patch.setattr(brief_audit, "findings_in", None)
        assert brief_audit.of_corpus(corpus) == first
    with monkeypatch.context() as patch:  # other finders find other things
        patch.setattr(brief_audit, "source_sha256", lambda _: "another version")
        patch.setattr(brief_audit, "all_finders", list)
        assert brief_audit.of_corpus(corpus).counts == {}
    assert brief_audit.of_corpus(corpus) == first
    for content in ("", "[]", '{"counts": {}, "odd": 1}'):  # a file that is damaged is made again
        (corpus.folder / brief_audit.KEPT_FILE).write_text(content, encoding="utf-8")
        assert brief_audit.of_corpus(corpus) == first


def test_of_much_text_blocks_that_lie_evenly_over_it_are_looked_at(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {
        f"{number:03}.txt": f"{number} " + "æ" * 40 + f" x{number}@example.org " + "-" * 40 for number in range(100)
    }
    corpus = read_corpus([write(lines)], DataSettings(), default_cache())
    monkeypatch.setattr(brief_audit, "MAX_BYTES", 3_000)
    monkeypatch.setattr(brief_audit, "BLOCK_BYTES", 300)
    audit = brief_audit.of_corpus(corpus)
    assert audit.is_part
    assert 10 <= audit.num_found <= audit.num_read <= 40
    assert sum(stop - start for _, start, stop in brief_audit._spans(corpus)) == 3_000
    documents = [document for document, _, _ in brief_audit._spans(corpus)]
    assert documents[0] == 0
    assert documents[-1] == 99
    assert "(only a part was looked at)" in audit.lines("documents")[0]


def test_every_text_of_examples_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = [{"role": "user", "content": f"I am {MAIL}"}, {"role": "assistant", "content": f"And I am {MAIL}."}]
    clean = ChatExample("line 1", ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}))
    examples = [*[clean] * 9, ChatExample("line 2", tuple(turns))]
    assert brief_audit.of_examples(examples) == brief_audit.BriefAudit({"email": 2}, 1, 10, False)
    assert brief_audit.of_examples(examples[:9]).lines("examples") == []
    assert brief_audit.of_examples([]).lines("examples") == []
    monkeypatch.setattr(brief_audit, "MAX_EXAMPLES", 4)
    audit = brief_audit.of_examples(examples)
    assert (audit.num_read, audit.is_part) == (4, True)
