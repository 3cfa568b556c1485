"""`conversations.json` of ChatGPT's "Export data": each conversation is a tree of messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from gptsmith.data.exports import ChatExport, ChatMessage, are_objects_with

CITATION = re.compile("\ue200[^\ue201]*\ue201")
"""A reference to a search result, in private characters."""


class ChatGptExport(ChatExport):
    kind: Literal["chatgpt"] = "chatgpt"

    def matches(self, value: Any) -> bool:
        listed = [value] if isinstance(value, dict) else value
        return are_objects_with(listed, "mapping") and isinstance(listed[0]["mapping"], dict)

    def conversations(self, value: Any) -> Iterator[list[ChatMessage]]:
        for conversation in [value] if isinstance(value, dict) else value:
            yield [message for node in _shown(conversation) if (message := _message(node)) is not None]


def _shown(conversation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The nodes of the branch that a person last saw, in order: answers that were written anew are not in it."""
    mapping = conversation["mapping"]
    name: Any = conversation.get("current_node")
    if name not in mapping:
        children = {child for node in mapping.values() for child in node.get("children") or ()}
        name = next((root for root in mapping if root not in children), None)
        seen = set()
        while name not in seen and (
            below := [child for child in mapping[name].get("children") or () if child in mapping]
        ):
            seen.add(name)
            name = below[-1]
    branch: dict[str, Mapping[str, Any]] = {}
    while name in mapping and name not in branch:
        branch[name] = mapping[name]
        name = mapping[name].get("parent")
    return list(branch.values())[::-1]


def _message(node: Mapping[str, Any]) -> ChatMessage | None:
    """What a person or the model said to the other in a node; None for what only programs saw."""
    message = node.get("message") or {}
    role = (message.get("author") or {}).get("role")
    content = message.get("content") or {}
    is_hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    if role not in ("system", "user", "assistant") or is_hidden or message.get("recipient", "all") != "all":
        return None
    if content.get("content_type") not in ("text", "multimodal_text"):
        return None
    parts = [part for part in content.get("parts") or () if isinstance(part, str)]
    return ChatMessage(CITATION.sub("", "\n".join(parts)), role=role)
