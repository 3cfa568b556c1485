"""What may be sent: OpenAI's fields, and a few of our own. An unknown one is refused by name.

None means everywhere that a field was not given, as OpenAI's clients send it.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from gptsmith.base.errors import did_you_mean
from gptsmith.serve.errors import ApiError
from gptsmith.serve.settings import ServeSettings

MAX_STOPS = 16
MAX_TOKEN_ID = 2**31 - 1
MAX_SEED = 2**63

Count = Annotated[int, Field(ge=1, le=MAX_TOKEN_ID)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Words = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Logit = Annotated[float, Field(ge=-100, le=100)]
TokenKey = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Ids = Annotated[list[TokenId], Field(min_length=1)]


class Body(BaseModel):
    """An object in a request."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


B = TypeVar("B", bound=Body)


# Sampling


class StreamOptions(Body):
    """What a stream tells besides the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Whether chunks are padded, so that their length does not betray the text to whoever sees the encrypted line."""


class SamplingBody(Body):
    """What completions and chat both have."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Count | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    max_tokens: Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED, lt=MAX_SEED)] | None = None
    stop: Words | Annotated[list[Words], Field(max_length=MAX_STOPS)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    logit_bias: Annotated[dict[TokenKey, Logit], Field(max_length=1024)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None


class CompletionBody(SamplingBody):
    """POST /v1/completions"""

    prompt: str | Annotated[list[str], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)] | None = (
        None
    )
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


# Conversations


class TextPart(Body):
    """A piece of a message."""

    type: Literal["text"]
    text: str


class RefusalPart(Body):
    """A piece of the assistant's message that says that it will not answer."""

    type: Literal["refusal"]
    refusal: str


class MediaPart(BaseModel):
    """A piece that is no text. It is known, so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["image_url", "input_audio", "file", "input_image", "input_file"]


TextContent = str | Annotated[list[TextPart], Field(min_length=1)]
Part = Annotated[TextPart | MediaPart, Field(discriminator="type")]
AnswerPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class SystemMessage(Body):
    """What the model is told before the conversation."""

    role: Literal["system", "developer"]
    content: TextContent
    name: str | None = None


class UserMessage(Body):
    """What a person says."""

    role: Literal["user"]
    content: str | Annotated[list[Part], Field(min_length=1)]
    name: str | None = None


class CalledFunction(Body):
    """A function and what it is given, as the model wrote it."""

    name: str
    arguments: str


class FunctionCall(Body):
    """A call that the model made."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class CalledCustom(Body):
    """A tool of free text and what it is given."""

    name: str
    input: str


class CustomCall(Body):
    """A call of a tool of free text."""

    id: str
    type: Literal["custom"]
    custom: CalledCustom


Call = Annotated[FunctionCall | CustomCall, Field(discriminator="type")]


class AssistantMessage(Body):
    """What the model said."""

    role: Literal["assistant"]
    content: str | Annotated[list[AnswerPart], Field(min_length=1)] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: CalledFunction | None = None
    audio: dict[str, Any] | None = None


class ToolMessage(Body):
    """What a tool gave."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: str


class FunctionMessage(Body):
    """What a function gave, as it was written before there were tools."""

    role: Literal["function"]
    content: str | None
    name: str


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage, Field(discriminator="role")
]


# Tools


class Function(Body):
    """A function that the model may call."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Body):
    """A function, as a tool."""

    type: Literal["function"]
    function: Function


class Grammar(Body):
    """What the text for a tool must be."""

    syntax: Literal["lark", "regex"]
    definition: Words


class TextFormat(Body):
    """Any text."""

    type: Literal["text"]


class GrammarFormat(Body):
    """A text of a grammar."""

    type: Literal["grammar"]
    grammar: Grammar


class Custom(Body):
    """A tool that is given a text."""

    name: Name
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None


class CustomTool(Body):
    """A tool that is given a text, as a tool."""

    type: Literal["custom"]
    custom: Custom


Tool = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]


class Named(Body):
    """The name of a tool."""

    name: str


class FunctionChoice(Body):
    """The function that must be called."""

    type: Literal["function"]
    function: Named


class CustomChoice(Body):
    """The tool of free text that must be called."""

    type: Literal["custom"]
    custom: Named


class AllowedTools(Body):
    """Which of the tools may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[Annotated[FunctionChoice | CustomChoice, Field(discriminator="type")]], Field(min_length=1)]


class AllowedChoice(Body):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[FunctionChoice | CustomChoice | AllowedChoice, Field(discriminator="type")]
)


# What the answer must be


class JsonSchema(Body):
    """A schema with its name."""

    name: Name
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class AnyText(Body):
    """No rule."""

    type: Literal["text"]


class AnyObject(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Body):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(Body):
    """A text that a regular expression matches. Not of OpenAI's."""

    type: Literal["regex"]
    regex: Words


class LarkFormat(Body):
    """A text of a grammar in Lark's form. Not of OpenAI's."""

    type: Literal["grammar"]
    grammar: Words


ResponseFormat = Annotated[AnyText | AnyObject | SchemaFormat | RegexFormat | LarkFormat, Field(discriminator="type")]


class Prediction(Body):
    """What the answer is expected to be like; it may make an answer faster, never different."""

    type: Literal["content"]
    content: TextContent


class ChatBody(SamplingBody):
    """POST /v1/chat/completions"""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKEN_ID)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Function], Field(min_length=1, max_length=128)] | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    continue_final_message: bool | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: dict[str, Any] | None = None
    prediction: Prediction | None = None
    reasoning_effort: Effort | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None


# Responses


class InputText(Body):
    """A piece of a message to the model, or of its own."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class InputMedia(BaseModel):
    """A piece that is no text. It is known, so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["input_image", "input_file", "input_audio"]


class InputMessage(Body):
    """A turn."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: (
        str
        | Annotated[
            list[Annotated[InputText | InputMedia | RefusalPart, Field(discriminator="type")]], Field(min_length=1)
        ]
    )
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: str | None = None


class InputCall(Body):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class InputResult(Body):
    """What a function gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class InputCustomCall(Body):
    """A call of a tool of free text."""

    type: Literal["custom_tool_call"]
    call_id: str
    name: str
    input: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class InputCustomResult(Body):
    """What a tool of free text gave."""

    type: Literal["custom_tool_call_output"]
    call_id: str
    output: str
    id: str | None = None


class FlatFunction(Body):
    """A function that the model may call."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FlatGrammarFormat(Grammar):
    """A text of a grammar."""

    type: Literal["grammar"]


class FlatCustom(Body):
    """A tool that is given a text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[TextFormat | FlatGrammarFormat, Field(discriminator="type")] | None = None


class HostedTool(BaseModel):
    """A tool that runs at OpenAI's. It is known, so that it can be refused by its name."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal[
        "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp",
        "computer", "computer_use_preview", "local_shell", "shell", "apply_patch",
    ]  # fmt: skip


class FlatChoice(Body):
    """The tool that must be called."""

    type: Literal["function", "custom"]
    name: str


class FlatSchema(Body):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Body):
    """What the text must be."""

    format: Annotated[AnyText | AnyObject | FlatSchema, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Body):
    """How much thought goes before an answer."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Body):
    """What a stream of events tells besides the text."""

    include_obfuscation: bool | None = None


class ResponseBody(Body):
    """POST /v1/responses"""

    model: str
    input: (
        Words
        | Annotated[
            list[InputMessage | InputCall | InputResult | InputCustomCall | InputCustomResult], Field(min_length=1)
        ]
    )
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKEN_ID)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    text: TextConfig | None = None
    tools: (
        Annotated[
            list[Annotated[FlatFunction | FlatCustom | HostedTool, Field(discriminator="type")]], Field(max_length=128)
        ]
        | None
    ) = None
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    include: list[str] | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    prompt: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    max_tool_calls: Count | None = None
    moderation: dict[str, Any] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None


# The rest


class EmbeddingBody(Body):
    """POST /v1/embeddings"""

    model: str
    input: Words | Annotated[list[Words], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None


class TokenizeBody(Body):
    """POST /tokenize: of a text, or of a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeBody(Body):
    """POST /detokenize"""

    model: str | None = None
    tokens: list[TokenId]


# Reading them


async def read_body(request: Request, kind: type[B], settings: ServeSettings) -> B:
    """The body of a request, checked.

    Raises:
        ApiError: it is too long, too slow, or not what it should be; the field is named.
    """
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            data = await _bytes(request, settings.max_body_bytes)
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {settings.body_timeout_s:g} s") from None
    except ClientDisconnect:
        raise ApiError(400, "the client left before its request was whole") from None
    return parse_body(data, kind)


async def _bytes(request: Request, most: int) -> bytes:
    too_long = ApiError(413, f"the body has more than the {most:,} bytes allowed", code="request_too_large")
    length = request.headers.get("content-length", "")
    # The server's own reader has refused lengths that are no numbers.
    if length and int(length) > most:
        raise too_long
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise too_long
    return bytes(data)


def parse_body(data: bytes, kind: type[B]) -> B:
    """The object that JSON text spells out.

    Raises:
        ApiError: it is not JSON, not an object, or a field is wrong; it is named.
    """
    try:
        given = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(given, dict):
        raise ApiError(400, "the body is JSON, but not an object", code="invalid_json")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _field_error(error, given, kind) from None


def _field_error(error: ValidationError, given: Any, kind: type[Body]) -> ApiError:
    """What is wrong with a field. Of the alternatives of a field, that is told which went furthest."""
    details = error.errors(include_url=False, include_context=False)
    first = max(details, key=lambda detail: (detail["loc"][:1] == details[0]["loc"][:1], len(detail["loc"])))
    param = _path(first["loc"], given, first["type"])
    if first["type"] == "extra_forbidden":
        hint = f" ({did_you_mean(str(first['loc'][0]), kind.model_fields)})" if len(first["loc"]) == 1 else ""
        return ApiError(400, f"{param}: no such field{hint}", param=param, code="unknown_parameter")
    code = {"missing": "missing_required_parameter"}.get(first["type"], "invalid_value")
    if first["type"].endswith("_type"):
        code = "invalid_type"
    others = {detail["msg"] for detail in details if _path(detail["loc"], given, detail["type"]) == param}
    message = first["msg"] if first["type"] == "missing" else "; or ".join(sorted(others))
    return ApiError(400, f"{param}: {message}", param=param, code=code)


def _path(loc: tuple[int | str, ...], given: Any, problem: str) -> str:
    """`messages.0.content` for where a problem lies; the names of alternatives, which are no places, are left out."""
    path: list[str] = []
    for number, part in enumerate(loc):
        is_last = number == len(loc) - 1
        if (isinstance(given, dict) and part in given) or (
            isinstance(given, list) and isinstance(part, int) and part < len(given)
        ):
            given = given[part]  # type: ignore[index]
            path.append(str(part))
        elif is_last and problem == "missing":
            path.append(str(part))
    return ".".join(path)
