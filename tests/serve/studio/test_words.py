"""The words of the studio: the same names and gaps in every language, and each name that a page uses."""

from __future__ import annotations

import re

from gptsmith.serve.static import FOLDER

STUDIO = FOLDER / "studio"
ENTRY = re.compile(r'^  "([\w.]+)": "((?:[^"\\]|\\.)*)",$', re.MULTILINE)
USED = re.compile(r'\bt\("([\w.]+)"')


def words(language: str) -> dict[str, str]:
    """The texts of a language by name, each of one line."""
    text = (STUDIO / f"words_{language}.js").read_text(encoding="utf-8")
    found = dict(ENTRY.findall(text))
    assert len(found) == len(re.findall(r'^  "', text, re.MULTILINE)), "a name twice, or an entry of several lines"
    return found


def test_languages_have_the_same_names_and_gaps() -> None:
    english, chinese = words("en"), words("zh")
    assert english.keys() == chinese.keys()
    for name, text in english.items():
        assert set(re.findall(r"\{(\w+)", text)) == set(re.findall(r"\{(\w+)", chinese[name])), name


def test_each_name_that_a_page_uses_is_there() -> None:
    used = {name for file in STUDIO.glob("*.js") for name in USED.findall(file.read_text(encoding="utf-8"))}
    assert used <= words("en").keys()


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


def test_chinese_sentences_have_chinese_punctuation() -> None:
    for name, text in words("zh").items():
        if re.search(r"[\u4e00-\u9fff]", text):
            narrow = re.search(r"[,;:?!()]|[\u4e00-\u9fff）}]\.", text)
            assert not narrow, f"{name} has {narrow and narrow[0]!r}, which is full width in Chinese: {text}"
