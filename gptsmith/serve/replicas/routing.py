"""Which replica answers a request: the one that keeps what it refers to, the one that has answered the turns before, or
the one with the fewest requests."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from gptsmith.serve.errors import ApiError
from gptsmith.serve.openai.stored_responses import replica_of
from gptsmith.serve.parsing import parse_object
from gptsmith.serve.replicas.process import ReplicaProcess

AFFINITY_HEADER = "x-prefix-affinity"
RESPONSES = "/v1/responses"
MAX_LEAD = 1
"""How many requests more than the least busy replica the one of a conversation may have."""
MAX_CONVERSATIONS = 10_000
PROMPT_CHARACTERS = 1000
"""A prompt goes where others went that begin with the same so many."""


@dataclass
class Replica:
    """A place among the replicas, and the process that has it now.

    Attributes:
        number: from 1.
        num_restarts: how often a process has ended and another was started.
    """

    number: int
    process: ReplicaProcess
    num_restarts: int = 0

    @property
    def is_up(self) -> bool:
        """Whether its process lives and takes requests."""
        return bool(self.process.port) and self.process.exit_code is None


@dataclass(frozen=True)
class Ties:
    """What ties a request to a replica.

    Attributes:
        kept_by: the number of the replica that keeps a response it refers to.
        conversation: the same for all turns of a conversation; empty if it has none.
    """

    kept_by: int | None = None
    conversation: bytes = b""


def ties_of(path: str, headers: Headers, body: bytes) -> Ties:
    """What ties a request to a replica, whose body need not be sound."""
    if path.startswith(f"{RESPONSES}/"):
        return Ties(replica_of(path.split("/")[3]))
    given = headers.get(AFFINITY_HEADER, "")
    try:
        asked = parse_object(body) if body else {}
    except ApiError:  # which the replica says
        return Ties()
    kept_by = next((number for name in _references(asked) if (number := replica_of(name))), None)
    begin = given or _first_turn(asked)
    digest = hashlib.sha256(repr(begin).encode()).digest() if begin else b""
    return Ties(kept_by if path == RESPONSES else None, digest)


def _references(asked: Mapping[str, Any]) -> list[str]:
    """The ids of stored responses and items that a request refers to."""
    items = asked.get("input")
    found = [asked.get("previous_response_id")]
    if isinstance(items, list):
        found += [item.get("id") for item in items if isinstance(item, dict) and "role" not in item]
    return [name for name in found if isinstance(name, str)]


def _first_turn(asked: Mapping[str, Any]) -> Any:
    """The beginning that all turns of a conversation have: up to the first words of a person."""
    for name in ("messages", "input"):
        turns = asked.get(name)
        if isinstance(turns, list) and turns:
            people = (
                number for number, turn in enumerate(turns) if isinstance(turn, dict) and turn.get("role") == "user"
            )
            return [asked.get("system"), asked.get("instructions"), turns[: next(people, 0) + 1]]
    prompt = asked.get("prompt", asked.get("input"))
    return prompt[:PROMPT_CHARACTERS] if isinstance(prompt, str | list) else None


class Router:
    """Chooses replicas. It keeps where conversations are, and nothing of what they say."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas
        self._places: OrderedDict[bytes, int] = OrderedDict()
        self._last = 0

    def order(self, ties: Ties) -> list[Replica]:
        """The replicas that can answer a request, the best first; another one is for when a better one refuses."""
        there = [replica for replica in self.replicas if replica.is_up]
        kept = [replica for replica in there if replica.number == ties.kept_by]
        if kept or not there:
            return kept
        # Of those that are equally busy, the one whose turn it is.
        count = len(self.replicas)
        there.sort(key=lambda replica: (replica.process.num_active, (replica.number - self._last - 1) % count))
        most = there[0].process.num_active + MAX_LEAD
        known = self._places.get(ties.conversation)
        there.sort(key=lambda replica: replica.number != known or replica.process.num_active > most)
        self._last = there[0].number
        return there

    def answered(self, ties: Ties, replica: Replica) -> None:
        """Notes which replica has a conversation in its cache now."""
        if not ties.conversation:
            return
        self._places[ties.conversation] = replica.number
        self._places.move_to_end(ties.conversation)
        if len(self._places) > MAX_CONVERSATIONS:
            self._places.popitem(last=False)
