"""The schemas of POST /tokenize and POST /detokenize."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gptsmith.serve.chat.schemas.chat import ChatMessage
from gptsmith.serve.chat.schemas.common import Schema, TokenId


class TokenizeRequest(Schema):
    """POST /tokenize: of a text, or of a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(Schema):
    """POST /detokenize"""

    model: str | None = None
    tokens: list[TokenId]
