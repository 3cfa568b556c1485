"""Everything that Anthropic's own client can send is honoured, passed over as a hint, or refused by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from anthropic.types.beta import message_count_tokens_params, message_create_params
from pydantic import BaseModel
from typing_extensions import is_typeddict

from gptsmith.serve.anthropic import schemas
from gptsmith.serve.anthropic.request_mapping import UNSUPPORTED, chat_request
from gptsmith.serve.anthropic.schemas import MessagesRequest, OtherBlock
from gptsmith.serve.errors import ApiError
from gptsmith.serve.parsing import parse_body

from ..conftest import QUESTION, Served

CREATE = message_create_params.MessageCreateParamsBase
COUNT = message_count_tokens_params.MessageCountTokensParams
OURS: dict[str, type[BaseModel]] = {
    "MessageCreateParamsBase": schemas.MessagesRequest,
    "MessageCountTokensParams": schemas.CountTokensRequest,
    "BetaUserMessageParam": schemas.InputMessage,
    "BetaAssistantMessageParam": schemas.InputMessage,
    "BetaSystemMessageParam": schemas.InputMessage,
    "BetaTextBlockParam": schemas.TextBlock,
    "BetaThinkingBlockParam": schemas.ThinkingBlock,
    "BetaToolUseBlockParam": schemas.ToolUseBlock,
    "BetaToolResultBlockParam": schemas.ToolResultBlock,
    "BetaToolParam": schemas.ClientTool,
    "BetaToolChoiceAutoParam": schemas.ToolChoice,
    "BetaToolChoiceAnyParam": schemas.ToolChoice,
    "BetaToolChoiceToolParam": schemas.ToolChoice,
    "BetaToolChoiceNoneParam": schemas.ToolChoice,
    "BetaThinkingConfigEnabledParam": schemas.Thinking,
    "BetaThinkingConfigAdaptiveParam": schemas.Thinking,
    "BetaThinkingConfigDisabledParam": schemas.Thinking,
    "BetaOutputConfigParam": schemas.OutputConfig,
    "BetaJSONOutputFormatParam": schemas.OutputFormat,
    "BetaContextManagementConfigParam": schemas.ContextManagement,
}
IN_A_HEADER = {"betas"}


def typed_dicts(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    """All objects within a type, by name, with the types of their fields."""
    if is_typeddict(kind):
        if kind.__name__ not in found:
            found[kind.__name__] = get_type_hints(kind)
            for inner in found[kind.__name__].values():
                typed_dicts(inner, found)
    else:
        for inner in get_args(kind):
            typed_dicts(inner, found)
    return found


SENDABLE = typed_dicts(CREATE, {}) | typed_dicts(COUNT, {})


def literals(kind: Any) -> Iterator[str]:
    """The values that a field can have."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for inner in get_args(kind):
            yield from literals(inner)


@pytest.mark.parametrize("name", OURS)
def test_every_field_is_known(name: str) -> None:
    known = {field.alias or own for own, field in OURS[name].model_fields.items()}
    assert SENDABLE[name].keys() - IN_A_HEADER <= known


def members(field: str, within: str) -> dict[str, Any]:
    """The objects directly in a field of an object of the client's, by their type."""

    def objects(kind: Any) -> Iterator[Any]:
        if is_typeddict(kind):
            yield kind
        else:
            for inner in get_args(kind):
                yield from objects(inner)

    found = {kind.__name__: SENDABLE[kind.__name__] for kind in objects(SENDABLE[within][field])}
    return {kind: name for name, fields in found.items() for kind in literals(fields.get("type"))}


def refusal(more: dict[str, Any]) -> str:
    """Why a request is refused; empty if it is not."""
    body = {"model": "chat", "max_tokens": 5, "messages": QUESTION, **more}
    try:
        chat_request(parse_body(json.dumps(body).encode(), MessagesRequest))
    except ApiError as error:
        return error.message
    return ""


def test_every_block_is_known_or_refused_by_its_type() -> None:
    handled = {"text", "thinking", "tool_use", "tool_result"}
    others = set(literals(OtherBlock.model_fields["type"].annotation))
    for role in ("User", "Assistant"):
        assert members("content", f"Beta{role}MessageParam").keys() - handled <= others
    for kind in others:
        assert kind in refusal({"messages": [{"role": "user", "content": [{"type": kind}]}]})


def test_every_tool_is_known_or_refused_by_its_type() -> None:
    kinds = members("tools", "MessageCreateParamsBase").keys() - {"custom"}
    assert {"bash_20250124", "mcp_toolset", "tool_search_tool_regex"} <= kinds
    for kind in kinds:
        assert f"{kind} is Anthropic's own" in refusal({"tools": [{"type": kind, "name": "x"}]})


def test_what_is_not_done_is_refused_with_a_reason() -> None:
    for name, reason in UNSUPPORTED.items():
        assert refusal({name: {"type": "x"}}) == f"{name}: {reason}"
        assert refusal({name: None}) == ""
    tool = {"name": "forge", "input_schema": {"type": "object"}}
    assert "tools.0.allowed_callers" in refusal({"tools": [{**tool, "allowed_callers": ["code_execution_20250825"]}]})
    for name in ("clear_at", "output_config"):
        assert f"messages.0.{name}" in refusal(
            {"messages": [{"role": "system", "content": "Hm.", name: {}}, *QUESTION]}
        )
    for kind in literals(SENDABLE["BetaThinkingConfigBetweenToolsParam"]["type"]):
        assert "thinking.type" in refusal({"thinking": {"type": kind}})


def test_what_agents_send_is_honoured(served: Served) -> None:
    tool = {
        "name": "forge",
        "input_schema": {"type": "object", "properties": {"tool": {"enum": ["nail"]}}, "required": ["tool"]},
        "input_examples": [{"tool": "nail"}],
        "allowed_callers": ["direct"],
        "defer_loading": True,
        "eager_input_streaming": True,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    body = {
        "model": "chat",
        "max_tokens": 60,
        "messages": [*QUESTION, {"role": "system", "content": "Now."}],
        "tools": [tool],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 9000}},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "me"},
        "speed": "fast",
        "seed": 1,
    }
    answer = served.ask(
        "POST", "/v1/messages?beta=true", body, {"anthropic-beta": "context-management-2025-06-27"}
    ).json
    assert answer["context_management"] == {"applied_edits": []}
    assert answer["content"][0]["input"] == {"tool": "nail"}


def test_an_output_format_is_kept(served: Served) -> None:
    schema = {"type": "object", "properties": {"tool": {"enum": ["nail"]}}, "required": ["tool"]}
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    body = {"model": "chat", "max_tokens": 60, "messages": QUESTION, "seed": 1, **form}
    answer = served.ask("POST", "/v1/messages", body)
    assert answer.json["content"][0]["text"].replace(" ", "") == '{"tool":"nail"}'
    wrong = {"output_config": {"format": {"type": "json_schema", "schema": {"type": 5}}}}
    assert "output_config.format" in served.ask("POST", "/v1/messages", {**body, **wrong}).json["error"]["message"]
