"""Responses that are kept in memory, so that the next request can refer to them instead of sending all again."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from gptsmith.serve.chat.ids import new_id
from gptsmith.serve.errors import ApiError, refused
from gptsmith.serve.json_slices import json_bytes
from gptsmith.serve.openai.schemas.responses import InputItem, ItemReference, MessageItem, ResponsesRequest

NOT_STORED = (
    "is not stored here: it was made with store: false, it was deleted, others have taken its place, or the server has "
    "started anew; send the whole conversation as input"
)
ID_PREFIXES = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
}
REPLICA = re.compile(r"[a-z]+_(\d{1,9})_[0-9a-f]+")
ITEM: TypeAdapter[Any] = TypeAdapter(InputItem)


@dataclass(frozen=True)
class Conversation:
    """The items that a response answers.

    Attributes:
        items: all of them, none of which refers to another.
        num_bytes: what they take as JSON.
    """

    items: Sequence[Any]
    num_bytes: int


@dataclass(frozen=True)
class StoredResponse:
    """A response.

    Attributes:
        conversation: what it answers, with its own output.
        response: the answer as it was sent.
        num_bytes: what both take as JSON.
    """

    conversation: Conversation
    response: dict[str, Any]
    num_bytes: int

    @property
    def input_items(self) -> Sequence[Any]:
        """What it answers, without its own output."""
        return self.conversation.items[: len(self.conversation.items) - len(self.response["output"])]


class StoredResponses:
    """The latest responses, as many as fit. Any thread may call it.

    Ids name the replica that keeps what they stand for, as `resp_2_` and digits, where there are several.
    """

    def __init__(self, max_bytes: int, replica: int | None = None) -> None:
        self.max_bytes, self.num_bytes, self.replica = max_bytes, 0, replica
        self._lock = threading.Lock()
        self._responses: OrderedDict[str, StoredResponse] = OrderedDict()
        self._items: dict[str, tuple[str, Any]] = {}
        """By the id of an item: the response that has it, and the item."""

    def new_id(self, prefix: str) -> str:
        """An id for a response or an item of one."""
        return new_id(prefix if self.replica is None else f"{prefix}{self.replica}_")

    def add(self, conversation: Conversation, response: dict[str, Any]) -> None:
        """Keeps a response; the oldest make room. One that is larger than all the room is not kept."""
        output = [ITEM.validate_python(item) for item in response["output"]]
        items = [*conversation.items, *output]
        whole = Conversation(items, conversation.num_bytes + _num_bytes(output))
        size = whole.num_bytes + len(json_bytes(response))
        with self._lock:
            if size > self.max_bytes:
                return
            while self.num_bytes + size > self.max_bytes:
                self._drop(next(iter(self._responses)))
            self._responses[response["id"]] = StoredResponse(whole, response, size)
            self.num_bytes += size
            for item in items:
                if item.id is not None:
                    self._items[item.id] = response["id"], item

    def get(self, name: str) -> StoredResponse | None:
        """The response of an id; None if it is not there."""
        with self._lock:
            return self._responses.get(name)

    def delete(self, name: str) -> bool:
        """Forgets a response; returns whether it was there."""
        with self._lock:
            is_there = name in self._responses
            if is_there:
                self._drop(name)
            return is_there

    def conversation(self, body: ResponsesRequest) -> Conversation:
        """The items of a request, each with an id, and those that it refers to in their place. It may take long.

        Raises:
            ApiError: it refers to what is not stored.
        """
        given = body.input
        items: list[Any] = [MessageItem(role="user", content=given)] if isinstance(given, str) else list(given)
        with self._lock:
            for number, item in enumerate(items):
                if isinstance(item, ItemReference):
                    if item.id not in self._items:
                        raise refused(f"input.{number}.id", f"an item {item.id[:100]} {NOT_STORED}", "item_not_found")
                    items[number] = self._items[item.id][1]
                elif item.id is None:
                    items[number] = item.model_copy(update={"id": self.new_id(ID_PREFIXES[item.type])})
            name = body.previous_response_id
            previous = None if name is None else self._responses.get(name)
        if name is not None and previous is None:
            message = f"a response {name[:100]} {NOT_STORED}"
            raise refused("previous_response_id", message, "previous_response_not_found")
        before = Conversation((), 0) if previous is None else previous.conversation
        return Conversation([*before.items, *items], before.num_bytes + _num_bytes(items))

    def _drop(self, name: str) -> None:
        dropped = self._responses.pop(name)
        self.num_bytes -= dropped.num_bytes
        for item in dropped.conversation.items:
            if item.id is not None and self._items.get(item.id, ("", None))[0] == name:
                del self._items[item.id]


def _num_bytes(items: Sequence[Any]) -> int:
    return sum(len(item.model_dump_json(exclude_none=True)) for item in items)


def replica_of(name: str) -> int | None:
    """The replica that keeps a response or an item; None if its id names none."""
    found = REPLICA.fullmatch(name)
    return None if found is None else int(found[1])


def not_found(name: str) -> ApiError:
    """The error for the id of a response that is not there."""
    return ApiError(404, f"a response {name[:100]} {NOT_STORED}", code="not_found")
