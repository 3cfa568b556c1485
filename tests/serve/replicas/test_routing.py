"""Which replica answers a request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import pytest
from starlette.datastructures import Headers

from gptsmith.serve.openai.stored_responses import StoredResponses, replica_of
from gptsmith.serve.replicas import routing
from gptsmith.serve.replicas.process import ReplicaProcess
from gptsmith.serve.replicas.routing import Replica, Router, Ties, ties_of

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A nail?"}]
LATER = [*TURNS, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]


NO_TIES = Ties()


@dataclass
class Process:
    port: int = 1
    num_active: int = 0
    exit_code: int | None = None


def router(count: int) -> Router:
    return Router([Replica(number, cast(ReplicaProcess, Process())) for number in range(1, count + 1)])


def first(made: Router, ties: Ties = NO_TIES) -> int:
    """The replica that answers; it is busy from now on."""
    chosen = made.order(ties)[0]
    made.answered(ties, chosen)
    chosen.process.num_active += 1
    return chosen.number


def ties(path: str, body: Any, affinity: str = "") -> Ties:
    return ties_of(path, Headers({"x-prefix-affinity": affinity} if affinity else {}), json.dumps(body).encode())


def test_ids_name_the_replica_that_keeps_a_response() -> None:
    assert replica_of(StoredResponses(1, 12).new_id("resp_")) == 12
    for name in (
        StoredResponses(1).new_id("resp_"),
        "",
        "resp_",
        "resp_2_",
        "resp_x_00",
        "resp_²_00",
        f"resp_{10**30}_0",
    ):
        assert replica_of(name) is None


@pytest.mark.parametrize(
    ("body", "kept_by"),
    [
        ({"previous_response_id": "resp_2_0a", "input": "resp_1_0a"}, 2),
        ({"input": [{"id": "msg_3_0a"}]}, 3),
        ({"input": [{"type": "item_reference", "id": "fc_3_0a"}, {"role": "user", "content": "x"}]}, 3),
        ({"input": [{"role": "assistant", "id": "msg_3_0a", "content": "x"}]}, None),
        ({"input": "resp_2_0a"}, None),
        ({"previous_response_id": 2, "input": [1, None]}, None),
        ([], None),
    ],
)
def test_a_request_goes_where_what_it_refers_to_is_kept(body: Any, kept_by: int | None) -> None:
    assert ties("/v1/responses", body).kept_by == kept_by
    assert ties("/v1/chat/completions", body).kept_by is None


def test_the_path_of_a_stored_response_names_its_replica() -> None:
    for path in ("/v1/responses/resp_2_0a", "/v1/responses/resp_2_0a/input_items"):
        assert ties_of(path, Headers(), b"") == Ties(2)
    assert ties_of("/v1/responses/other", Headers(), b"") == Ties(None)


def test_all_turns_of_a_conversation_are_known() -> None:
    for path, name in (("/v1/chat/completions", "messages"), ("/v1/responses", "input"), ("/api/chat", "messages")):
        begin = ties(path, {name: TURNS})
        assert begin.conversation
        assert ties(path, {name: LATER, "temperature": 0}) == begin
        assert ties(path, {name: LATER[1:]}) != begin
    assert ties("/v1/chat/completions", {"messages": TURNS}, "mine") == ties("/v1/completions", {"prompt": "x"}, "mine")
    assert ties("/v1/completions", {"prompt": "a" * 2000}) == ties("/v1/completions", {"prompt": "a" * 3000})
    assert ties("/v1/completions", {"prompt": "a"}) != ties("/v1/completions", {"prompt": "b"})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"messages": [[]], "input": {}}', b'{"prompt": 1}']
)
def test_a_body_that_is_not_sound_goes_anywhere(body: bytes) -> None:
    assert ties_of("/v1/responses", Headers(), body).kept_by is None
    assert len(router(2).order(ties_of("/v1/responses", Headers(), body))) == 2


def test_the_least_busy_answers_and_equals_take_turns() -> None:
    made = router(3)
    assert [first(made) for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    made.replicas[2].process.num_active = 0
    assert [first(made), first(made)] == [3, 3]


def test_a_conversation_stays_unless_its_replica_is_much_busier() -> None:
    made, talk = router(2), Ties(conversation=b"a")
    assert [first(made, talk), first(made, talk)] == [1, 1]
    assert first(made, talk) == 2  # two more than the other
    made.replicas[0].process.num_active = made.replicas[1].process.num_active = 0
    assert first(made, talk) == 2  # whose cache is newer


def test_those_that_are_down_are_not_asked() -> None:
    made = router(3)
    cast(Process, made.replicas[1].process).exit_code = -9
    cast(Process, made.replicas[2].process).port = 0
    assert [first(made) for _ in range(3)] == [1, 1, 1]
    assert first(made, Ties(kept_by=2)) == 1  # what it kept is gone
    assert first(made, Ties(kept_by=99)) == 1
    cast(Process, made.replicas[0].process).exit_code = 0
    assert made.order(Ties()) == []


def test_what_is_kept_is_asked_of_its_replica_alone() -> None:
    made = router(2)
    made.replicas[1].process.num_active = 50
    assert [replica.number for replica in made.order(Ties(kept_by=2))] == [2]


def test_so_many_conversations_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_CONVERSATIONS", 2)
    made = router(2)
    for name in (b"a", b"b", b"c"):
        first(made, Ties(conversation=name))
    assert list(made._places) == [b"b", b"c"]
