"""POST /v1/trace: the files that a served model learnt from, for people who may see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ..conftest import QUESTION, Served

LEARNT = "The old smith sells a plough of steel."


@pytest.fixture
def elsewhere(served: Served) -> Iterator[Served]:
    """The server as if other machines reached it."""
    served.state.host = "0.0.0.0"
    yield served
    served.state.host = "127.0.0.1"


def test_a_text_is_found_in_the_file_that_a_models_base_learnt_it_from_and_is_forgotten_on_a_copy(
    served: Served, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = runs / "smiths" / "part0.txt"
    lines = file.read_text(encoding="utf-8").split("\n")
    learnt = "\n".join(lines[2:12])
    with caplog.at_level("INFO", logger="gptsmith.serve"):
        answer = served.ask("POST", "/v1/trace", {"model": "chat", "text": f"Hm. {learnt}"})
    assert answer.status == 200, answer.data
    found = max(answer.json["sources"], key=lambda source: source["num_tokens"])
    assert found["passage"] in learnt
    assert len(found["passage"]) > 0.9 * len(learnt)
    assert (Path(found["file"]).name, found["state"]) == ("part0.txt", "unchanged")
    assert lines[found["line"] - 1].endswith(found["passage"].split("\n")[0])
    assert file.read_bytes()[found["start"] : found["stop"]].decode() == found["passage"]
    assert found["held_out_share"] < 0.02
    assert not any("smith" in line for line in caplog.messages)
    named = {name: found[name] for name in ("run", "place", "num_tokens")}
    word = {"model": "chat", "messages": QUESTION, "reply": "The smith forges a sword.", "start": 4}
    before = [each.clone() for each in served.state.models.loaded["chat"].loaded.model.parameters()]
    forgotten = served.ask("POST", "/v1/trace", {**word, "forget": named}).json["forgotten"]
    assert forgotten["test"]["num_random"] == 20
    assert forgotten["verdict"] in ("holds", "no better than chance")
    assert (Path(forgotten["file"]).name, forgotten["says"][-1]) == ("part0.txt", ".")
    for old, new in zip(before, served.state.models.loaded["chat"].loaded.model.parameters(), strict=True):
        assert torch.equal(old, new)
    for without in ("reply", "start"):
        error = served.ask("POST", "/v1/trace", {**word, without: None, "forget": named}).error
        assert (error["param"], "give all of the reply, and start" in error["message"]) == (without, True)
    for odd in ({**named, "run": "elsewhere"}, {**named, "place": 10**9}):
        assert served.ask("POST", "/v1/trace", {**word, "forget": odd}).error["param"] == "forget"


def test_others_see_no_sources_unless_they_are_shared(elsewhere: Served) -> None:
    answer = elsewhere.ask("POST", "/v1/trace", {"model": "chat", "text": LEARNT})
    assert (answer.status, answer.error["code"]) == (403, "sources_not_shared")
    assert "--share-sources" in answer.error["message"]
    elsewhere.state.shares_sources = True
    try:
        assert elsewhere.ask("POST", "/v1/trace", {"model": "chat", "text": LEARNT}).status == 200
    finally:
        elsewhere.state.shares_sources = False
