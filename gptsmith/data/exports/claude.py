"""`conversations.json` of Claude's "Export data"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from gptsmith.data.exports import ChatExport, ChatMessage, are_objects_with

ROLES = {"human": "user", "assistant": "assistant"}


class ClaudeExport(ChatExport):
    kind: Literal["claude"] = "claude"

    def matches(self, value: Any) -> bool:
        return are_objects_with(value, "chat_messages")

    def conversations(self, value: Any) -> Iterator[list[ChatMessage]]:
        for conversation in value:
            messages = conversation["chat_messages"]
            yield [
                ChatMessage(_text(message), role=ROLES[message["sender"]])
                for message in messages
                if message.get("sender") in ROLES
            ]


def _text(message: Mapping[str, Any]) -> str:
    """The words of a message, without thoughts and calls of tools."""
    parts = [part["text"] for part in message.get("content") or () if part.get("type") == "text" and part.get("text")]
    return "\n\n".join(parts) or message.get("text") or ""
