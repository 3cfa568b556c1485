"""Figures of the quality of texts, and the page that shows them."""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.base.cache_folder import default_cache
from gptsmith.base.console import meter
from gptsmith.data.care import quality as quality_module
from gptsmith.data.care.quality import language_of, quality
from gptsmith.data.corpus import read_corpus
from gptsmith.data.settings import DataSettings

NOTICE = "All rights reserved by the publisher."
GERMAN = "Der alte Schmied sprach lange mit Anna Berg, und Anna Berg hörte ihm den ganzen Abend zu. "
NOISE = base64.b64encode(random.Random(1).randbytes(900)).decode()
TEXTS = {
    **{
        f"{n}.txt": f"The old smith number {n} sold his ploughs to every farmer of Norway.\n{NOTICE}\n"
        for n in range(8)
    },
    "german.txt": GERMAN * 6 + "\n" + NOTICE,
    "noise.txt": NOISE,
    "same.txt": "ab " * 400,
    "odd.txt": "The cafÃ© of the old smith was closed for all of the winter. \ufffd",
}


def figures_of(texts: Path) -> dict[str, Any]:
    return quality(read_corpus([texts], DataSettings(), default_cache()), meter)


def test_what_is_repeated_noise_and_broken_is_named(write: Callable[..., Path]) -> None:
    figures = figures_of(write(TEXTS))
    assert figures["num_read"] == len(TEXTS)
    assert Path(figures["repetitive"][0]["file"]).name == "same.txt"
    assert Path(figures["noisy"][0]["file"]).name == "noise.txt"
    assert figures["boilerplate"] == [{"line": NOTICE, "num_documents": 9}]
    assert figures["encodings"] == {"replacement_characters": 1, "doubly_encoded": 1}
    assert figures["bytes"]["100%"] == max(len(text.encode()) for text in TEXTS.values())
    assert 0 < figures["compression"]["0%"] < figures["compression"]["50%"] < figures["compression"]["100%"] < 1


def test_words_with_a_capital_are_listed_if_few_documents_have_them(write: Callable[..., Path]) -> None:
    listed = {each["words"]: each for each in figures_of(write(TEXTS))["capitalised"]}
    assert listed["Anna Berg"] == {"words": "Anna Berg", "count": 12, "num_documents": 1}
    assert not listed.keys() & {"Norway", "The", "Der", "All"}


def test_languages_are_told(write: Callable[..., Path]) -> None:
    assert language_of(GERMAN) == "deu"
    assert language_of("12 " * 40) is None
    assert language_of("Hm.") is None
    languages = figures_of(write(TEXTS))["languages"]
    assert languages["deu"] == 1
    assert max(languages, key=lambda code: languages[code]) == "eng"


def test_without_the_library_no_language_is_told(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whatlang", None)
    assert figures_of(write(TEXTS))["languages"] is None


def test_of_much_text_a_part_is_looked_at(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_module, "MAX_BYTES", 1_000)
    monkeypatch.setattr(quality_module, "DOCUMENT_BYTES", 200)
    figures = figures_of(write(TEXTS))
    assert 0 < figures["num_read"] < len(TEXTS)
    assert figures["bytes"]["100%"] <= 200


def test_the_page_opens_offline_hides_what_was_found_and_is_for_its_owner(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    texts = write({**TEXTS, "<b>.txt": "Write to anna.berg@example.org; the key is AKIAIOSFODNN7EXAMPLE.\n" * 3})
    out = tmp_path / "audit.html"
    figures = gptsmith.audit(texts, html=out)
    assert out.stat().st_mode & 0o777 == 0o600
    page = out.read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "<b>.txt" not in page
    assert "&lt;b&gt;.txt" in page
    for found in figures["findings"]:  # only behind a line to click
        before, _, _ = page.partition(found["text"])
        assert page.count(found["text"]) == 3
        assert before.rfind("<details>") > before.rfind("</details>")
        assert before.rfind("</summary>") > before.rfind("<summary>")
    assert "api key AKIA…" in page
    assert NOTICE in page
