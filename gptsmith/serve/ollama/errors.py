"""Errors in Ollama's form, and what it has that is not done here."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gptsmith.base.hints import shell_command
from gptsmith.serve.errors import ApiError
from gptsmith.serve.state import State

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def error_body(error: ApiError) -> dict[str, Any]:
    """An error in Ollama's form."""
    return {"error": error.message}


async def refuse_change(_: State, request: Request) -> Response:
    """Refuses what would change which models there are.

    Raises:
        ApiError: always.
    """
    raise ApiError(
        400,
        f"{request.url.path} is not done here: models are named when the server is "
        f"started: {shell_command('serve', 'MODEL')}",
    )
