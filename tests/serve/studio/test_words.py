"""The words of the studio: the same names and gaps in every language, and each name that a page uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gptsmith.serve.static import FOLDER

STUDIO = FOLDER / "studio"
PLACES = (FOLDER, STUDIO)
ENTRY = re.compile(r'^  "([\w.]+)": "((?:[^"\\]|\\.)*)",$', re.MULTILINE)
USED = re.compile(r'\bt\("([\w.]+)"')
NAMED = re.compile(r'"((?:chat|why)\.\w+)"')
"""Names of words that are chosen between before they are looked up."""


def words(language: str, place: Path = STUDIO) -> dict[str, str]:
    """The texts of a language by name, each of one line."""
    text = (place / f"words_{language}.js").read_text(encoding="utf-8")
    found = dict(ENTRY.findall(text))
    assert len(found) == len(re.findall(r'^  "', text, re.MULTILINE)), "a name twice, or an entry of several lines"
    return found


@pytest.mark.parametrize("place", PLACES)
def test_languages_have_the_same_names_and_gaps(place: Path) -> None:
    english, chinese = words("en", place), words("zh", place)
    assert english.keys() == chinese.keys()
    for name, text in english.items():
        assert set(re.findall(r"\{(\w+)", text)) == set(re.findall(r"\{(\w+)", chinese[name])), name


@pytest.mark.parametrize("place", PLACES)
def test_each_name_that_a_page_uses_is_there(place: Path) -> None:
    sources = [file.read_text(encoding="utf-8") for file in place.glob("*.js") if not file.name.startswith("words_")]
    used = {name for text in sources for name in USED.findall(text)}
    assert used <= words("en", place).keys() | words("en", FOLDER).keys()


def test_each_word_of_the_chat_page_is_used() -> None:
    sources = [file.read_text(encoding="utf-8") for file in FOLDER.glob("*.js") if not file.name.startswith("words_")]
    used = {name for text in sources for name in NAMED.findall(text)}
    unused = {name for name in words("en", FOLDER).keys() - used if not name.endswith("_why")}
    assert all(name.startswith(("chat.state_", "chat.set.", "chat.help.")) for name in unused), unused


def test_charts_are_translated() -> None:
    """Each word that a chart or a table of a run is made of has its translation."""
    pages = FOLDER.parents[1] / "pages"
    source = "".join((pages / name).read_text(encoding="utf-8") for name in ("charts.js", "curves.js", "story.js"))
    ours = {text for name, text in words("en").items() if name.startswith("chart.")}
    assert set(re.findall(r'\bword\("([^"]+)"\)', source)) <= ours
    listed = re.findall(
        r'(?:title|unit|train_loss|validation_loss|step|num_tokens|seconds|linear|log|over|beside): "([^"]*)"', source
    )
    assert {text for text in listed if text} <= ours


@pytest.mark.parametrize("place", PLACES)
def test_chinese_sentences_have_chinese_punctuation(place: Path) -> None:
    for name, text in words("zh", place).items():
        if re.search(r"[\u4e00-\u9fff]", text):
            narrow = re.search(r"[,;:?!()]|[\u4e00-\u9fff）}]\.", text)
            assert not narrow, f"{name} has {narrow and narrow[0]!r}, which is full width in Chinese: {text}"
