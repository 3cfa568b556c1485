"""An audit of texts as one HTML file that opens offline. What was found is hidden until it is clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.base.files import readable_bytes
from gptsmith.base.hints import shell_command
from gptsmith.data.care.finders import KINDS
from gptsmith.data.care.findings import hidden
from gptsmith.pages.shell import Html, element, page, section

MAX_SHOWN = 500
"""Findings of the page; `--out` writes all of them."""
BAR_WIDTH, BAR_HEIGHT = 160, 10
INSTALL = "To tell languages: pip install 'gptsmith[audit]'"
SIGNS = {
    "replacement_characters": "characters that could not be read (U+FFFD)",
    "doubly_encoded": "UTF-8 that was read as another encoding (Ã©, â€™)",
}


def audit_page(figures: Mapping[str, Any], sources: Sequence[str]) -> str:
    """The page of an audit of texts, by its figures."""
    named = ", ".join(sources)
    quality = figures["quality"]
    content = [
        element("header", element("h1", "What is in these texts"), element("p", named, class_="soft")),
        element("p", "This page holds what was found, secrets too: do not share it.", class_="notice"),
        _headline(figures),
        section("Personal data and secrets", *_findings(figures), name="findings"),
        section("Words with a capital that few documents have", *_names(quality["capitalised"]), name="names"),
        section("Languages", *_languages(quality), name="languages"),
        section("Lengths and compression", *_sizes(quality), name="sizes"),
        section("Lines that many documents have", *_boilerplate(quality["boilerplate"]), name="boilerplate"),
        section("Encodings", *_encodings(quality), name="encodings"),
    ]
    return page(f"{named}: audit", content)


def _headline(figures: Mapping[str, Any]) -> Html:
    values = {
        "documents": f"{figures['num_documents']:,}",
        "text": readable_bytes(figures["num_bytes"]),
        "findings": f"{len(figures['findings']):,}",
        "secrets": f"{figures['num_secrets']:,}",
        "near duplicates": f"{len(figures['near_duplicates']):,}",
    }
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in values.items()),
        class_="headline",
    )


def _findings(figures: Mapping[str, Any]) -> list[Html]:
    found = figures["findings"]
    if not found:
        return [_soft("Nothing was found. Names, addresses and what has another form are not looked for.")]
    counts = [(KINDS.settings(kind).noun, number) for kind, number in figures["counts"].items()]
    more = len(found) - MAX_SHOWN
    return [
        _bars(("kind", "findings"), counts),
        _soft("Click a line to see the text. Change secrets where others have read them."),
        *map(_finding, found[:MAX_SHOWN]),
        *(
            [_soft(f"{more:,} more: {shell_command('audit', 'TEXT', '--out', 'found.jsonl')} writes all of them.")]
            if more > 0
            else []
        ),
    ]


def _finding(found: Mapping[str, Any]) -> Html:
    """A line that says the kind and the place, and behind it the text."""
    line = "" if found["line"] is None else f", line {found['line']:,}"
    shown = f" {hidden(found['text'])}" if found["is_secret"] else ""
    summary = element(
        "summary",
        f"{found['kind'].replace('_', ' ')}{shown}",
        element("span", f" · {found['file']}{line}", class_="soft"),
    )
    return element("details", summary, element("p", found["text"], class_="text"))


def _names(names: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not names:
        return [_soft("There are none.")]
    rows = [(each["words"], each["count"], each["num_documents"]) for each in names]
    return [_soft("Nobody knows which are names: judge for yourself."), _table(("words", "times", "documents"), rows)]


def _languages(quality: Mapping[str, Any]) -> list[Html]:
    if quality["languages"] is None:
        return [_soft(INSTALL)]
    if not quality["languages"]:
        return [_soft("The documents are too short to tell.")]
    named = [("not sure" if code == "und" else code, number) for code, number in quality["languages"].items()]
    return [_soft("By the first words of each document, as ISO 639-3 codes."), _bars(("language", "documents"), named)]


def _sizes(quality: Mapping[str, Any]) -> list[Html]:
    quantiles = list(quality["bytes"])
    rows = [
        ("bytes", *(readable_bytes(quality["bytes"][name]) for name in quantiles)),
        ("compressed to", *(f"{value:.0%}" for value in quality["compression"].values())),
    ]
    listed = [
        element("details", element("summary", words), _table(("document", "compressed to"), _ratios(quality[name])))
        for name, words in (
            ("repetitive", "Those that can be compressed most: repeated text, lists, markup"),
            ("noisy", "Those that can be compressed least: noise, encoded data, many short names"),
        )
        if quality[name]
    ]
    return [
        _soft("Of the documents, from the smallest to the largest; compression by zlib, of 500 bytes and more."),
        _table(("share of documents", *quantiles), rows),
        *listed,
    ]


def _ratios(documents: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [
        (f"{each['file']}, bytes {each['start']:,} to {each['stop']:,}", f"{each['ratio']:.0%}") for each in documents
    ]


def _boilerplate(lines: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not lines:
        return [_soft("No longer line is in three documents or more.")]
    return [_table(("documents", "line"), [(each["num_documents"], each["line"]) for each in lines])]


def _encodings(quality: Mapping[str, Any]) -> list[Html]:
    return [_bars(("sign of a broken encoding", "documents"), [(SIGNS[k], n) for k, n in quality["encodings"].items()])]


def _soft(words: str) -> Html:
    return element("p", words, class_="soft")


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Html:
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    body = [
        element("tr", *(element("td", f"{cell:,}" if isinstance(cell, int) else cell) for cell in row)) for row in rows
    ]
    return element("div", element("table", element("thead", head), element("tbody", *body)), class_="scroll")


def _bars(columns: tuple[str, str], rows: Sequence[tuple[str, int]]) -> Html:
    """A table of counts, each with a bar of its length."""
    most = max((number for _, number in rows), default=0) or 1
    return _table((*columns, ""), [(name, number, _bar(number / most)) for name, number in rows])


def _bar(share: float) -> Html:
    rect = element("rect", width=f"{BAR_WIDTH * share:.1f}", height=str(BAR_HEIGHT), rx="2", fill="currentColor")
    return element("svg", rect, width=str(BAR_WIDTH), height=str(BAR_HEIGHT), class_="c0", aria_hidden="true")
