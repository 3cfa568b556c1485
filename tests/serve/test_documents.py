"""Answers of a server that searches documents: their sources, in every API, and each passage by its id."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import gptsmith
from gptsmith.retrieval.documents import Documents
from gptsmith.retrieval.grounding import NOTHING_FOUND

from ..retrieval.conftest import FORGE
from ..workflows.conftest import Outcome
from ..workflows.conftest import call as call  # a fixture
from .conftest import Served, serving

ASKED = {"model": "chat", "messages": [{"role": "user", "content": "Who opened the forge?"}], "max_tokens": 4}
UNKNOWN = {**ASKED, "messages": [{"role": "user", "content": "Who is president of Zimbabwe?"}]}


@pytest.fixture(scope="module")
def knowing(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a document."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "forge.md").write_text(FORGE, encoding="utf-8")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    documents = Documents([folder])
    with serving([str(runs / name) for name in ("base", "chat")], documents=documents) as served:
        yield served


def answered(served: Served, path: str, body: dict[str, Any]) -> Any:
    answer = served.ask("POST", path, body)
    assert answer.status == 200, answer.data
    return answer.json


def check(documents: dict[str, Any]) -> None:
    assert documents["found"]
    source = documents["sources"][0]
    assert (source["number"], source["file"], source["line"]) == (1, "forge.md", 5)
    assert source["headings"] == ["The forge", "Steel"]
    assert "Aldric Penhallow" in source["text"]


def test_an_answer_has_its_sources(knowing: Served) -> None:
    answer = answered(knowing, "/v1/chat/completions", ASKED)
    check(answer["documents"])
    plain = answered(knowing, "/v1/chat/completions", {**ASKED, "documents": False})
    assert "documents" not in plain
    assert answer["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 100


def test_a_stream_has_them_in_its_last_chunk(knowing: Served) -> None:
    data = knowing.ask("POST", "/v1/chat/completions", {**ASKED, "stream": True}).data.decode()
    chunks = [json.loads(line.removeprefix("data: ")) for line in data.split("\n\n") if line.startswith("data: {")]
    assert [chunk for chunk in chunks if "documents" in chunk] == chunks[-1:]
    check(chunks[-1]["documents"])


def test_openais_client_takes_them(knowing: Served) -> None:
    messages: Any = ASKED["messages"]
    answer = knowing.client().chat.completions.create(model="chat", messages=messages, max_tokens=4)
    check(answer.model_extra["documents"])  # type: ignore[index]


def test_what_documents_do_not_hold_is_said(knowing: Served) -> None:
    answer = answered(knowing, "/v1/chat/completions", UNKNOWN)
    assert answer["documents"] == {"found": False, "note": NOTHING_FOUND, "sources": []}
    plain = answered(knowing, "/v1/chat/completions", {**UNKNOWN, "documents": False})
    assert answer["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


def test_every_api_has_them(knowing: Served) -> None:
    check(answered(knowing, "/v1/messages", ASKED)["documents"])
    streamed = knowing.ask("POST", "/v1/messages", {**ASKED, "stream": True}).data.decode()
    (event,) = [line for line in streamed.split("\n") if '"message_delta"' in line and line.startswith("data: ")]
    check(json.loads(event.removeprefix("data: "))["documents"])
    response = {"model": "chat", "input": "Who opened the forge?", "max_output_tokens": 4}
    check(answered(knowing, "/v1/responses", response)["documents"])
    streamed = knowing.ask("POST", "/v1/responses", {**response, "stream": True}).data.decode()
    last = json.loads(streamed.strip().rpartition("data: ")[2])
    check(last["response"]["documents"])
    ollama = {"model": "chat", "messages": ASKED["messages"], "options": {"num_predict": 4}}
    lines = [json.loads(line) for line in knowing.ask("POST", "/api/chat", ollama).data.splitlines()]
    assert [line for line in lines if "documents" in line] == lines[-1:]
    check(lines[-1]["documents"])
    check(answered(knowing, "/api/chat", {**ollama, "stream": False})["documents"])
    for path, body in (
        ("/v1/messages", ASKED),
        ("/v1/responses", response),
        ("/api/chat", {**ollama, "stream": False}),
    ):
        assert "documents" not in answered(knowing, path, {**body, "documents": False})


def test_an_answer_that_goes_on_keeps_its_passages(knowing: Served) -> None:
    begun = [*ASKED["messages"], {"role": "assistant", "content": "It was Aldric"}]  # type: ignore[misc]
    answer = answered(knowing, "/v1/chat/completions", {**ASKED, "messages": begun, "continue_final_message": True})
    check(answer["documents"])


def test_a_passage_is_shown_with_what_is_around_it(knowing: Served) -> None:
    source = answered(knowing, "/v1/chat/completions", ASKED)["documents"]["sources"][0]
    passage = knowing.ask("GET", f"/v1/documents/{source['id']}").json
    assert passage["text"].startswith("## Steel")
    assert passage["before"].startswith("# The forge")
    assert passage["after"].startswith("## Prices")
    assert knowing.ask("GET", "/v1/documents/none-1").status == 404


def test_what_is_searched_is_described(knowing: Served, served: Served) -> None:
    described = knowing.ask("GET", "/v1/documents").json
    assert (described["num_files"], described["num_passages"]) == (1, 3)
    assert [*described["skipped"]] == ["photo.jpg"]
    assert "--documents" in served.ask("GET", "/v1/documents").error["message"]
    assert "documents" not in answered(served, "/v1/chat/completions", ASKED)


def test_the_terminal_shows_numbered_sources(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "forge.md").write_text(FORGE + "\x1b[31m\n", encoding="utf-8")
    lines = "Who opened the forge?\nWho is the president of Zimbabwe?\n/regenerate\n"
    asked = ("chat", runs / "chat", "--documents", tmp_path / "notes", "--max-tokens", 4, "--seed", 1)
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    told = call(*asked).err
    assert "documents searched: 1 (3 passages)" in told
    assert "[1] forge.md, line 5, The forge > Steel: ## Steel Aldric Penhallow opened the forge" in told
    assert told.count(NOTHING_FOUND) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    first, second, _ = map(json.loads, call(*asked, "--json").out.splitlines())
    check(first["documents"])
    assert second["documents"]["found"] is False
    refused = call("chat", runs / "base", "--documents", tmp_path / "notes")
    assert refused.code == 2
    assert "documents are for models that were tuned on conversations" in refused.err
    assert "no such file or folder" in call("chat", runs / "chat", "--documents", tmp_path / "none").err


def test_python_has_them_too(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "forge.md").write_text(FORGE, encoding="utf-8")
    talk = gptsmith.chat(runs / "chat", documents=tmp_path, max_tokens=4, device="cpu")
    talk.say("Who opened the forge?")
    assert talk.grounding is not None
    assert talk.grounding.sources[0].file == "forge.md"
    assert talk.messages[0] == {"role": "user", "content": "Who opened the forge?"}
    served = gptsmith.serve(runs / "chat", documents=tmp_path, port=0, device="cpu", background=True)
    with served as server, urlopen(f"{server.address}/v1/documents") as answer:
        assert json.load(answer)["num_files"] == 1
