"""The schemas of Ollama's requests. An unknown field is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gptsmith.generate.sampling import SMALLEST
from gptsmith.serve.chat.schemas.chat import FunctionTool
from gptsmith.serve.chat.schemas.common import (
    MAX_SEED,
    MAX_STOPS,
    MAX_TOKEN_ID,
    DocumentsField,
    NonEmptyText,
    Penalty,
    Schema,
    StopText,
)
from gptsmith.serve.chat.schemas.other_servers import HintFields


class OllamaOptions(HintFields):
    """How text is sampled, and hints of Ollama's that change no text."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=MAX_TOKEN_ID)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED, lt=MAX_SEED)] | None = None
    num_predict: Annotated[int, Field(ge=-2, le=MAX_TOKEN_ID)] | None = None
    """-1 and -2: up to the end of the context."""
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    repeat_penalty: Annotated[float, Field(ge=SMALLEST, le=10)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=MAX_TOKEN_ID)] | None = None
    """0 turns penalties off; otherwise they count all tokens, as with -1."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    penalize_newline: Literal[True] | None = None
    vocab_only: Literal[False] | None = None
    embedding_only: Literal[False] | None = None
    logits_all: Any = None
    f16_kv: Any = None


class OllamaModelFields(Schema):
    """The fields of every request about a model."""

    model: NonEmptyText
    """With or without `:latest`."""
    keep_alive: float | str | None = None
    """How long a model of a folder of models stays loaded after this request."""
    options: OllamaOptions | None = None


class OllamaGenerationFields(OllamaModelFields, DocumentsField):
    """The fields of both endpoints that generate text."""

    stream: bool | None = None
    """Streams unless it is false."""
    format: Literal["", "json"] | dict[str, Any] | None = None
    think: bool | Literal["low", "medium", "high"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    truncate: bool | None = None
    """Whether the beginning of what is too long is omitted; it is unless this is false."""
    shift: Any = None


class OllamaCalledFunction(Schema):
    """A function and its arguments."""

    name: str
    arguments: dict[str, Any]
    index: int | None = None
    description: str | None = None


class OllamaToolCall(Schema):
    """A call by the model."""

    id: str | None = None
    type: Literal["function"] | None = None
    function: OllamaCalledFunction


class OllamaMessage(Schema):
    """A message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[OllamaToolCall] | None = None
    tool_name: str | None = None
    name: str | None = None
    """The older name of `tool_name`."""
    tool_call_id: str | None = None


class OllamaChatRequest(OllamaGenerationFields):
    """The body of POST /api/chat."""

    messages: list[OllamaMessage] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None


class OllamaGenerateRequest(OllamaGenerationFields):
    """The body of POST /api/generate."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    template: str | None = None
    suffix: str | None = None
    context: list[int] | None = None
    images: list[Any] | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None


class OllamaShowRequest(Schema):
    """The body of POST /api/show."""

    model: NonEmptyText
    verbose: bool | None = None


class OllamaEmbeddingsRequest(OllamaModelFields):
    """The body of POST /api/embeddings."""

    prompt: str | None = None


class OllamaEmbedRequest(OllamaModelFields):
    """The body of POST /api/embed."""

    input: str | list[str]
    truncate: bool | None = None
    dimensions: int | None = None
