"""The schema of POST /v1/completions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptsmith.serve.chat.schemas.common import SamplingFields, TokenIds
from gptsmith.serve.chat.schemas.other_servers import HintFields


class CompletionRequest(SamplingFields, HintFields):
    """POST /v1/completions"""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1)]
        | None
    ) = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
