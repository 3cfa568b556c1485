"""A day of a channel in Slack's "Export workspace data": `general/2024-01-15.json`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from gptsmith.data.exports import ChatExport, ChatMessage, are_objects_with, seconds

SPOKEN = (None, "thread_broadcast", "me_message", "bot_message", "file_share")
"""The subtypes of messages that people or their bots wrote."""
MARKUP = re.compile(r"<([@#!]?)([^|>\s]*)(?:\|([^>]*))?>")


class SlackExport(ChatExport):
    kind: Literal["slack"] = "slack"

    def matches(self, value: Any) -> bool:
        is_day = are_objects_with(value, "type", "ts") and all(message["type"] == "message" for message in value[:20])
        return is_day or _lists_people_or_channels(value)

    def conversations(self, value: Any) -> Iterator[list[ChatMessage]]:
        if _lists_people_or_channels(value):
            return
        names = {message["user"]: _name(message) for message in value if message.get("user")}
        conversations: dict[str, list[ChatMessage]] = {}
        for message in sorted(value, key=lambda message: seconds(message["ts"]) or 0.0):
            if message.get("subtype") in SPOKEN:
                text = _plain(str(message.get("text") or ""), names)
                said = ChatMessage(text, _name(message), time_s=seconds(message["ts"]))
                # The answers in a thread stand between the messages of the channel.
                conversations.setdefault(str(message.get("thread_ts", "")), []).append(said)
        yield from conversations.values()


def _lists_people_or_channels(value: Any) -> bool:
    """Whether the file is the export's `users.json` or `channels.json`, which have no messages."""
    return are_objects_with(value, "id", "profile", "deleted") or are_objects_with(value, "id", "creator", "members")


def _name(message: Mapping[str, Any]) -> str:
    profile = message.get("user_profile") or {}
    names = (profile.get("display_name"), profile.get("real_name"), profile.get("name"), message.get("username"))
    return next((str(name) for name in names if name), str(message.get("user", "unknown")))


def _plain(text: str, names: Mapping[str, str]) -> str:
    """A text without Slack's markup of links and names."""

    def shown(match: re.Match[str]) -> str:
        sign, target, label = match.groups()
        if sign == "@":
            return f"@{label or names.get(target, target)}"
        if sign:
            return ("#" if sign == "#" else "@") + (label or target)
        return label or target

    return html.unescape(MARKUP.sub(shown, text))
