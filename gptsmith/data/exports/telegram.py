"""`result.json` of Telegram Desktop's "Export chat history", of one chat or of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from gptsmith.data.exports import ChatExport, ChatMessage, seconds


class TelegramExport(ChatExport):
    kind: Literal["telegram"] = "telegram"

    def matches(self, value: Any) -> bool:
        return isinstance(value, dict) and bool(chats := _chats(value)) and all(map(_is_chat, chats[:20]))

    def conversations(self, value: Any) -> Iterator[list[ChatMessage]]:
        for chat in _chats(value):
            yield [
                ChatMessage(
                    _text(message.get("text")),
                    message.get("from") or "Deleted Account",
                    time_s=seconds(message.get("date_unixtime", message.get("date"))),
                )
                for message in chat["messages"]
                if message.get("type") == "message"
            ]


def _chats(value: dict[str, Any]) -> list[Any]:
    if isinstance(chats := value.get("chats"), dict):
        return list(chats.get("list") or ())
    return [value]


def _is_chat(chat: Any) -> bool:
    messages = chat.get("messages") if isinstance(chat, dict) else None
    return (
        isinstance(messages, list)
        and "type" in chat
        and all(isinstance(each, dict) and each.get("type") in ("message", "service") for each in messages[:20])
    )


def _text(text: Any) -> str:
    """The words of a message: a text, or pieces of which some are links, names or bold."""
    pieces = text if isinstance(text, list) else [text]
    return "".join(piece if isinstance(piece, str) else str((piece or {}).get("text", "")) for piece in pieces)
