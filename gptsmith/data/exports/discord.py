"""A channel of Discord as DiscordChatExporter writes it in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from gptsmith.data.exports import ChatExport, ChatMessage, are_objects_with, seconds

SPOKEN = ("Default", "Reply", "ThreadStarterMessage")
"""The types of messages that people wrote."""


class DiscordExport(ChatExport):
    kind: Literal["discord"] = "discord"

    def matches(self, value: Any) -> bool:
        return (
            isinstance(value, dict)
            and "channel" in value
            and are_objects_with(value.get("messages"), "author", "content", "timestamp")
        )

    def conversations(self, value: Any) -> Iterator[list[ChatMessage]]:
        yield [
            ChatMessage(
                message.get("content") or "",
                message["author"].get("nickname") or message["author"].get("name") or "unknown",
                time_s=seconds(message.get("timestamp")),
            )
            for message in value["messages"]
            if message.get("type", "Default") in SPOKEN
        ]
