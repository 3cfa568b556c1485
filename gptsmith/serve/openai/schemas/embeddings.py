"""The schema of POST /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gptsmith.serve.chat.schemas.common import Count, NonEmptyText, Schema, TokenIds


class EmbeddingRequest(Schema):
    """POST /v1/embeddings"""

    model: str | None = None
    input: (
        NonEmptyText
        | Annotated[list[NonEmptyText], Field(min_length=1)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    normalize: bool | None = None
    """Whether vectors have length 1, which they have by default. Not of OpenAI's."""
    dimensions: Count | None = None
    user: str | None = None
