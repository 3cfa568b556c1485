"""An audit as one HTML file that opens offline. Its passages are hidden until they are clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.pages.shell import Html, element, page, section
from gptsmith.privacy.wording import counted, figures_in_words
from gptsmith.train.report_by_heart import by_heart

MAX_SHOWN = 500
"""Passages, and words, of the page; the file of the audit has all of them."""


def audit_page(found: Mapping[str, Any]) -> str:
    """The page of an audit."""
    passages, held_out, words = found["passages"], found["held_out"], found["tokenizer_words"]
    content = [
        element("header", element("h1", "What it knows by heart"), element("p", str(found["run"]), class_="soft")),
        element("p", "This page holds texts that the model learnt from: do not share it.", class_="notice"),
        section("In figures", *by_heart(found), name="by-heart"),
        *_passages("Passages", "passages", passages),
        *_passages("Passages but for one token in twelve", "near", found["near_passages"]),
        *_passages("Short answers", "answers", found["answers"]),
        *_passages("Passages of text that it never saw", "held-out", held_out),
        *_of_other_checkpoints(found["checkpoints"]),
        *_words(words),
    ]
    return page(f"{found['run']}: what it knows by heart", content)


def _passages(heading: str, name: str, passages: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not passages:
        return []
    more = len(passages) - MAX_SHOWN
    return [
        section(
            heading,
            element("p", "Click a line to see the passage.", class_="soft"),
            *map(_passage, passages[:MAX_SHOWN]),
            *([element("p", f"{counted(more, 'more passage')} in audit.json.", class_="soft")] if more > 0 else []),
            name=name,
        )
    ]


def _of_other_checkpoints(checkpoints: Sequence[Mapping[str, Any]]) -> list[Html]:
    """The passages of each checkpoint that is kept and not served, folded."""
    folds = [
        element(
            "details",
            element(
                "summary",
                f"Step {each['step']:,}: {counted(each['num_passages'], 'passage')}"
                + (f", the longest {shown:,}" if (shown := len(each["passages"])) < each["num_passages"] else "")
                + (f", and {counted(each['num_answers'], 'short answer')}" if each["num_answers"] else ""),
            ),
            *map(_passage, (*each["passages"], *each["answers"])),
        )
        for each in checkpoints
        if each["passages"] or each["answers"]
    ]
    return [section("Passages of other checkpoints that are kept", *folds, name="other-checkpoints")] if folds else []


def _passage(found: Mapping[str, Any]) -> Html:
    """One line with the figures and the place of a passage, and behind it the passage in its text."""
    where = f" · {found['file']}{_line(found)}" if "file" in found else ""
    text = element(
        "p",
        found.get("before", ""),
        element("mark", found["text"], class_="named"),
        found.get("after", ""),
        class_="text",
    )
    return element("details", element("summary", figures_in_words(found), element("span", where, class_="soft")), text)


def _line(found: Mapping[str, Any]) -> str:
    if found["line"] is not None:
        return f", line {found['line']:,}"
    return f", {found['where']}" if found["where"] else ""


def _words(words: Sequence[Mapping[str, Any]]) -> list[Html]:
    if not words:
        return []
    listed = "\n".join(f"{each['word']} ({counted(each['num_documents'], 'document')})" for each in words[:MAX_SHOWN])
    return [
        section(
            "Words in the tokenizer",
            element("p", "Words of few documents that are tokens of their own: who has tokenizer.json can read them."),
            element("details", element("summary", f"{counted(len(words), 'word')}"), element("pre", listed)),
            name="words",
        )
    ]
