"""The schema of POST /v1/classify."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptsmith.serve.chat.schemas.common import NonEmptyText, Schema


class ClassifyRequest(Schema):
    """POST /v1/classify, as vLLM has it"""

    model: str | None = None
    input: NonEmptyText | Annotated[list[NonEmptyText], Field(min_length=1)]
    user: str | None = None
