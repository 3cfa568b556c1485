"""Texts at URLs that are not prepared ones: each is refused in one line that says what to do."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptsmith.store.objects import Store
from tests.workflows.conftest import Outcome

TAKES_TEXT: dict[str, list[str]] = {
    "pretrain": ["pretrain", "{url}", "--out", "{out}"],
    "pretrain on several": ["pretrain", "{text}", "{url}", "--out", "{out}"],
    "prepare": ["prepare", "{url}", "--out", "{out}"],
    "finetune": ["finetune", "{run}", "{url}", "--out", "{out}"],
    "evaluate": ["evaluate", "{run}", "{url}"],
}
UNPREPARED = (
    "holds no prepared text (prepared.json is missing), and no other text is read at a URL: copy it to a folder here "
    "and name that, or put it into the store prepared (gptsmith prepare FOLDER --out memory://BUCKET/NAME)"
)
ON_THE_WEB = "is on the web, where nothing is read or written: download it first and give its path, or give a URL of "


@pytest.fixture
def refused(
    call: Callable[..., Outcome], trained: dict[str, Any], text: Path, tmp_path: Path
) -> Callable[[list[str], str], str]:
    """The line with which a command refuses a URL."""

    def of(command: list[str], url: str) -> str:
        places = {"url": url, "run": trained["run"], "text": text, "out": tmp_path / "out"}
        outcome = call(*(word.format(**places) for word in command))
        assert (outcome.code, outcome.out) == (2, "")
        assert not (tmp_path / "out").exists()
        return " ".join(outcome.err.split())

    return of


@pytest.mark.parametrize("command", TAKES_TEXT.values(), ids=TAKES_TEXT)
def test_raw_text_at_a_url_is_to_be_copied(command: list[str], refused: Callable[[list[str], str], str]) -> None:
    url = f"memory://{uuid.uuid4().hex}/texts"
    Store(url).write("smiths.txt", b"An old smith.")
    assert f"{url} {UNPREPARED}" in refused(command, url)
    assert f"{url}/smiths.txt {UNPREPARED}" in refused(command, f"{url}/smiths.txt")


@pytest.mark.parametrize("command", TAKES_TEXT.values(), ids=TAKES_TEXT)
def test_text_on_the_web_is_to_be_downloaded(command: list[str], refused: Callable[[list[str], str], str]) -> None:
    assert f"'https://example.org/smiths.txt' {ON_THE_WEB}" in refused(command, "https://example.org/smiths.txt")
    assert "'az://box/a' is in no store that is known: give a URL of s3:// or gs://" in refused(command, "az://box/a")


def test_nothing_at_a_url_is_a_spelling(refused: Callable[[list[str], str], str]) -> None:
    url = f"memory://{uuid.uuid4().hex}/texts"
    line = refused(TAKES_TEXT["pretrain"], url)
    assert f"{url} holds no prepared text (prepared.json is missing): check the spelling, or prepare it" in line


def test_texts_and_models_on_the_web_are_told_from_those_in_a_store(refused: Callable[[list[str], str], str]) -> None:
    assert ON_THE_WEB in refused(["audit", "{url}"], "https://example.org/smiths.txt")
    assert "s3://box/a is in a store, and audit takes" in refused(["audit", "{url}"], "s3://box/a")
    assert ON_THE_WEB in refused(["finetune", "{url}", "{text}"], "https://example.org/model")
    assert ON_THE_WEB in refused(["pretrain", "{text}", "--out", "{url}"], "https://example.org/model")
