"""Words are found in every spelling, and as whole words alone."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.privacy import wanted as module
from gptsmith.privacy.wanted import Wanted

LETTERS = st.text("abÄöéßŁ", min_size=1, max_size=6)


def places(words: str, text: str) -> list[str]:
    return [text[start:stop] for start, stop in Wanted(words).spans(text)]


@pytest.mark.parametrize(
    "spelled",
    ["Anna Berg", "ANNA BERG", "anna  berg", "Anna\nBerg", "Anna\tBerg"],
)
def test_case_and_space_do_not_matter(spelled: str) -> None:
    assert places("Anna Berg", f"... of {spelled}, who") == [spelled]


def test_apostrophes_and_hyphens_are_alike() -> None:
    assert places("O'Neil-Rae", "O\u2019Neil\u2011Rae and O'Neil-Rae") == ["O\u2019Neil\u2011Rae", "O'Neil-Rae"]


def test_parts_of_words_are_not_found() -> None:
    assert not places("Ann Berg", "Joann Berg, Ann Bergman")
    assert places("+49 170 1", "call +49 170 1!") == ["+49 170 1"]


@given(st.lists(LETTERS, min_size=1, max_size=3), st.sampled_from(["NFC", "NFD"]), st.sampled_from(["NFC", "NFD"]))
def test_accents_are_found_in_either_form(words: list[str], one: str, other: str) -> None:
    asked, stands = (unicodedata.normalize(form, " ".join(words)) for form in (one, other))  # type: ignore[arg-type]
    assert places(asked, f"x, {stands}; y") == [stands]


@given(st.lists(LETTERS, min_size=1, max_size=3), st.booleans())
def test_a_file_has_what_json_spells(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "found.jsonl"
    name = " ".join(words)
    path.write_text(json.dumps({"text": f"of {name}."}, ensure_ascii=ascii_only), encoding="utf-8")
    assert Wanted(name).is_in(path)
    assert not Wanted(f"{name} q").is_in(path)


@pytest.mark.parametrize("space", ["\n", "\r\n", "\t", "\u00a0", "  "])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_file_has_them_on_two_lines_of_a_json_string(tmp_path: Path, space: str, ascii_only: bool) -> None:
    path = tmp_path / "found.jsonl"
    path.write_text(json.dumps({"text": f"of Anna{space}Berg."}, ensure_ascii=ascii_only), encoding="utf-8")
    assert Wanted("Anna Berg").is_in(path)


def test_a_block_may_end_inside_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    path = tmp_path / "a.bin"
    for before in range(50, 70):
        path.write_bytes(b"\xff" * before + b"Anna Berg" + b"\x00" * 30)
        assert Wanted("anna berg").is_in(path)
    assert not Wanted("anna berg").is_in(tmp_path / "missing")


def test_no_words_are_refused() -> None:
    with pytest.raises(UserError, match="--find has no words"):
        Wanted("  ")
