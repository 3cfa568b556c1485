"""Fields and objects that the schemas of several endpoints share.

None always means that a field was not given, as OpenAI's clients send it. An unknown field is refused by name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema

from gptsmith.generate.sampling import SMALLEST

MAX_STOPS = 16
MAX_TOKEN_ID = 2**31 - 1
MAX_SEED = 2**63

Count = Annotated[int, Field(ge=1, le=MAX_TOKEN_ID)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
NonEmptyText = Annotated[str, Field(min_length=1)]
StopText = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
LogitBias = Annotated[float, Field(ge=-100, le=100)]
TokenKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]


def _fail_fast(schema: Any) -> None:
    """Has all lists within a schema stop at the first error."""
    if isinstance(schema, dict):
        if schema.get("type") in ("list", "tuple", "set"):
            schema["fail_fast"] = True
        for part in schema.values():
            _fail_fast(part)
    elif isinstance(schema, list):
        for part in schema:
            _fail_fast(part)


class Schema(BaseModel):
    """An object in a request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Each list is read up to its first wrong item: a body may have half a million, and only one is named."""
        schema = handler(source)
        _fail_fast(schema)
        return schema


OFF = {"top_p": 0, "max_tokens": -1, "max_completion_tokens": -1, "max_output_tokens": -1, "stop": ""}
"""Values with which clients say that a field is not given."""


class StreamOptions(Schema):
    """What a stream contains besides the text."""

    include_usage: bool | None = None
    continuous_usage_stats: Literal[False] | None = None
    include_obfuscation: bool | None = None
    """Whether chunks are padded, so that their length does not betray the text to whoever sees the encrypted line."""


class GenerationFields(Schema):
    """The fields of every endpoint that generates text."""

    model: str | None = None
    """May be left out if one model is served."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    """`auto` omits the beginning of a prompt that is too long for the context; else it is refused."""
    stream: bool | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _without_what_is_off(self) -> Self:
        """Fields whose value says that they are off are as if they were not given."""
        for name, off in OFF.items():
            if getattr(self, name, None) == off:
                setattr(self, name, None)
        return self


class DocumentsField(Schema):
    """Whether the last question is looked up in the server's documents. Not of other servers'."""

    documents: bool | None = None
    """False looks up nothing."""


class SamplingFields(GenerationFields):
    """The fields of texts that are sampled."""

    top_k: Annotated[int, Field(ge=-1, le=MAX_TOKEN_ID)] | None = None
    """0 and -1 keep all tokens."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=SMALLEST, le=10)] | None = None
    repeat_penalty: Annotated[float, Field(ge=SMALLEST, le=10)] | None = None
    """The name of `repetition_penalty` in llama.cpp and Ollama."""
    repeat_last_n: Annotated[int, Field(ge=-1, le=-1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    max_tokens: Annotated[int, Field(ge=-1, le=MAX_TOKEN_ID)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED, lt=MAX_SEED)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    """An empty text stops nothing."""
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    logit_bias: Annotated[dict[TokenKey, LogitBias], Field(max_length=1024)] | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _under_one_name(self) -> Self:
        """Top-k that keeps all tokens is as large as it can be; the penalty of another name has its usual one."""
        if self.top_k is not None and self.top_k < 1:
            self.top_k = MAX_TOKEN_ID
        if self.repetition_penalty is None:
            self.repetition_penalty = self.repeat_penalty
        return self


class TextPart(Schema):
    """A part of a message."""

    type: Literal["text"]
    text: str
    cache_control: Any = None


class RefusalPart(Schema):
    """A part of the assistant's message that declines to answer."""

    type: Literal["refusal"]
    refusal: str


class Grammar(Schema):
    """A grammar for the input of a tool."""

    syntax: Literal["lark", "regex"]
    definition: NonEmptyText


class TextFormat(Schema):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Schema):
    """Any JSON object."""

    type: Literal["json_object"]
