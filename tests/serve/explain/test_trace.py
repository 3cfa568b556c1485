"""POST /v1/trace: the files that a served model learnt from, for people who may see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import Served

LEARNT = "The old smith sells a plough of steel."


@pytest.fixture
def elsewhere(served: Served) -> Iterator[Served]:
    """The server as if other machines reached it."""
    served.state.host = "0.0.0.0"
    yield served
    served.state.host = "127.0.0.1"


def test_a_text_is_found_in_the_file_that_the_base_of_a_model_learnt_it_from(
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


def test_others_see_no_sources_unless_they_are_shared(elsewhere: Served) -> None:
    answer = elsewhere.ask("POST", "/v1/trace", {"model": "chat", "text": LEARNT})
    assert (answer.status, answer.error["code"]) == (403, "sources_not_shared")
    assert "--share-sources" in answer.error["message"]
    elsewhere.state.shares_sources = True
    try:
        assert elsewhere.ask("POST", "/v1/trace", {"model": "chat", "text": LEARNT}).status == 200
    finally:
        elsewhere.state.shares_sources = False
