"""The tools of a chat completion, in the form before there were tools too."""

from __future__ import annotations

from gptsmith.serve.chat.schemas.chat import FunctionChoice, FunctionTool, ToolChoice, ToolName
from gptsmith.serve.chat.tools import Toolset, make_toolset, request_toolset
from gptsmith.serve.errors import refused
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest


def resolve_tools(body: ChatCompletionRequest) -> Toolset | None:
    """The tools of a request for a chat completion, those of the older form too; None if none may be called.

    Raises:
        ApiError: they are not allowed, or both forms are there.
    """
    if body.functions and body.tools:
        raise refused("functions", "it is the older form of tools: give one of them")
    if body.function_call is not None and not body.functions:
        raise refused("function_call", "it needs functions")
    if not body.functions:
        return request_toolset(body)
    named = body.function_call
    choice: ToolChoice | None = (
        FunctionChoice(type="function", function=named) if isinstance(named, ToolName) else named
    )
    tools = [FunctionTool(type="function", function=function) for function in body.functions]
    return make_toolset(tools, choice, False)
