"""`serve --no-recital`: every route is guarded, says how a text ended that could only recite, and the start says it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gptsmith
from gptsmith.serve.anthropic.events import stop_fields
from tests.serve.conftest import QUESTION, Served, serving

NUM_TOKENS = 5
GREEDY = {"temperature": 0, "max_tokens": 16}
PROMPT = "The old smith"
LEARNT: dict[str, Any] = {"type": "string", "const": "The old smith forges a nail of iron."}


@pytest.fixture(scope="module")
def guarded(runs: Path) -> Iterator[Served]:
    with serving([str(runs / name) for name in ("base", "chat", "labels")], no_recital=NUM_TOKENS) as running:
        yield running


def test_every_route_is_guarded_and_choices_too(guarded: Served, runs: Path) -> None:
    expected = gptsmith.generate(runs / "base", PROMPT, no_recital=NUM_TOKENS, **GREEDY)["text"]
    assert expected != gptsmith.generate(runs / "base", PROMPT, **GREEDY)["text"]
    made = guarded.client().completions.create(model="base", prompt=PROMPT, n=2, **GREEDY)
    assert [choice.text for choice in made.choices] == [expected, expected]
    body = {"model": "base", "prompt": PROMPT, "stream": False, "raw": True}
    answer = guarded.ask("POST", "/api/generate", {**body, "options": {"temperature": 0, "num_predict": 16}})
    assert answer.json["response"] == expected
    assert guarded.gauge("gptsmith_recital_guarded_tokens_total") >= 3


def test_a_text_that_could_only_recite_says_so_by_every_api(guarded: Served) -> None:
    schema = {"name": "learnt", "schema": LEARNT}
    client = guarded.client()
    form: Any = {"type": "json_schema", "json_schema": schema}
    chat = client.chat.completions.create(model="chat", messages=QUESTION, response_format=form, max_tokens=40)
    assert chat.choices[0].finish_reason == "content_filter"
    assert 0 < len(chat.choices[0].message.content or "") < len(LEARNT["const"])
    text: Any = {"format": {"type": "json_schema", **schema}}
    response = client.responses.create(model="chat", input="5: a nail?", text=text, max_output_tokens=40)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"
    asked = {"model": "chat", "messages": QUESTION, "format": LEARNT, "stream": False}
    assert guarded.ask("POST", "/api/chat", asked).json["done_reason"] == "content_filter"
    assert stop_fields("content_filter", None, has_calls=False)["stop_reason"] == "refusal"


def test_what_is_written_without_a_part_of_the_network_is_guarded(guarded: Served, served: Served, runs: Path) -> None:
    guard = guarded.state.models.loaded["base"].engine.recital_guard
    assert guard is not None
    texts = [file.read_text(encoding="utf-8") for file in (runs / "smiths").iterdir()]
    asked = {"model": "base", "prompt": PROMPT, "reply": " forges", "start": 1, "methods": ["alternatives"]}
    recites = []
    for server in (guarded, served):
        answer = server.ask("POST", "/v1/explain", {**asked, "switch_off": ["blocks.1.attention.heads.0"]})
        whole = PROMPT + answer.json["rewritten"]
        ends = range(guard.num_bytes, len(whole) + 1)
        recites.append(any(whole[end - guard.num_bytes : end] in text for end in ends for text in texts))
    assert recites == [False, True]


def test_a_model_of_a_folder_whose_text_is_missing_does_not_load(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "models" / "elsewhere"
    shutil.copytree(runs / "base", run)
    (run / "data.json").write_text('{"fingerprint": "0", "corpus_sha256": "0", "files": {}}', encoding="utf-8")
    with serving([str(tmp_path / "models")], no_recital=NUM_TOKENS) as running:
        answer = running.ask("POST", "/v1/completions", {"model": "elsewhere", "prompt": PROMPT})
    assert answer.status == 500
    assert "--no-recital" in answer.error["message"]
