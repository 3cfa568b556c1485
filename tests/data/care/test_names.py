"""Listed names: whole words in the cases that people write, also across lines, found by `audit` and redacted."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gptsmith
from gptsmith.base.errors import ConfigurationError, DataError, UserError
from gptsmith.commands.audit import summary_of
from gptsmith.data.care.finders.name import NameSettings
from gptsmith.data.care.lists import names_in
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers import KINDS as TOKENIZERS


def found(text: str, *names: str) -> list[str]:
    return [text[start:stop] for start, stop in NameSettings(names=names).find(text)]


CASES: dict[str, tuple[str, list[str], list[str]]] = {
    "whole words": ("Berg, Bergen, (Berg) 3Berg Berg's Berg-Hansen _Berg_", ["Berg"], ["Berg"] * 5),
    "capitals": ("Berg BERG berg bERG", ["Berg"], ["Berg", "BERG"]),
    "small letters": ("nemo Nemo NEMO", ["nemo"], ["nemo", "Nemo", "NEMO"]),
    "each word": ("Anna BERG, ANNA Berg, anna berg", ["Anna Berg"], ["Anna BERG", "ANNA Berg"]),
    "line ends": ("Anna\nBerg, Anna \n  Berg, Anna\n\nBerg", ["Anna Berg"], ["Anna\nBerg", "Anna \n  Berg"]),
    "the longest": ("Anna Berg and Anna", ["Anna", "Anna Berg", "Berg"], ["Anna Berg", "Anna"]),
    "signs": ("@anna O'Brien O'BRIEN J.Berg C++", ["@anna", "O'Brien", "C++"], ["@anna", "O'Brien", "O'BRIEN", "C++"]),
    "accents": ("Änne A\u0308nne Anne Ann\u0300e", ["Änne", "Ann"], ["Änne", "A\u0308nne"]),
    "sharp s": ("Weiß WEISS", ["Weiß"], ["Weiß", "WEISS"]),
    "no spaces": ("昨日、山田太郎さんが。", ["山田太郎"], ["山田太郎"]),
    "none": ("Anna", [], []),
}


@pytest.mark.parametrize("case", CASES)
def test_names_are_found_as_people_write_them(case: str) -> None:
    text, names, expected = CASES[case]
    assert found(text, *names) == expected


@given(
    st.lists(st.sampled_from(["Anna", "Berg", "Bo", "ANNA", "\n", " ", "x", "-"]), max_size=12).map("".join),
    st.lists(st.sampled_from(["Anna", "Anna Berg", "Bo", "Bo Anna"]), unique=True),
)
def test_spans_are_in_order_and_apart_and_what_is_redacted_has_none(text: str, names: list[str]) -> None:
    finder = NameSettings(names=tuple(names))
    spans = list(finder.find(text))
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    for start, stop in reversed(spans):
        text = text[:start] + finder.placeholder + text[stop:]
    assert not list(finder.find(text))


TEXTS = {
    "a.txt": "Anna\nBerg wrote to anna.berg@example.org about the berg. " + "word " * 90,
    "b.txt": "It was BERG who called, and Bergen that answered. " + "word " * 80,
    "c.txt": "Nobody is named. " + "word " * 70,
}


def test_the_list_of_an_audit_redacts_what_it_found(write: Callable[..., Path], tmp_path: Path) -> None:
    texts, names, out = write(TEXTS), tmp_path / "names.txt", tmp_path / "found.jsonl"
    names.write_text("\ufeffAnna Berg\n\n  Berg \r\nBerg\n", encoding="utf-8")
    assert names_in(names) == ("Anna Berg", "Berg")
    figures = gptsmith.audit(texts, names=names, out=out)
    found = [each for each in figures["findings"] if each["kind"] == "name"]
    listed = [(Path(each["file"]).name, each["line"], each["text"]) for each in found]
    assert sorted(listed) == [("a.txt", 1, "Anna\nBerg"), ("b.txt", 1, "BERG")]
    assert figures["counts"] == {"name": 2, "email": 1}
    data = prepare(
        [texts], settings=DataSettings(), tokenizer=TOKENIZERS.validate("bytes"), seed=1, cache=tmp_path / "cache",
        redact_passages=[out],
    )  # fmt: skip
    left = {data.corpus.text(number).partition(".")[0] for number in range(len(data.corpus))}
    assert left == {"<NAME> wrote to anna", "It was <NAME> who called, and Bergen that answered", "Nobody is named"}
    assert data.summary["redacted"] == {"name": 2}
    assert gptsmith.audit(texts, names=names, kind=["phone"])["counts"] == {"name": 2}
    assert summary_of(figures)[-1].startswith("Other names, addresses and what has another form are not looked for")
    assert gptsmith.audit(texts)["counts"] == {"email": 1}  # without a list, no name is looked for
    with pytest.raises(ConfigurationError, match="no such kind of finding: name"):
        DataSettings.parse({"redact": ["name"]}, "data")


def test_the_list_is_neither_learnt_from_nor_overwritten(write: Callable[..., Path]) -> None:
    texts = write({**TEXTS, "names.txt": "Anna Berg"})
    with pytest.raises(UserError, match="is one of the texts, and would be learnt from: keep the list somewhere else"):
        gptsmith.audit(texts, names=texts / "names.txt")
    with pytest.raises(UserError, match="would be overwritten"):
        gptsmith.audit(texts / "a.txt", names=texts / "names.txt", out=texts / "names.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n \n", "holds no names: write one name or word per line"),
        (b"Anna\n--\n", "line 2: no letter or digit in it"),
        (b"x" * 201, "line 1: a name of 201 characters, and at most 200"),
        (b"Anna\nBj\xf8rn", "byte 7 is not UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_list_of_names_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        names_in(path)


def test_a_list_of_names_that_are_not_there_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"kind": "name", "text": "Otto"}), encoding="utf-8")
    with pytest.raises(DataError, match="none of the listed names stands in these texts"):
        prepare(
            [write(TEXTS)], settings=DataSettings(), tokenizer=TOKENIZERS.validate("bytes"), seed=1,
            cache=tmp_path / "cache", redact_passages=[listed],
        )  # fmt: skip
