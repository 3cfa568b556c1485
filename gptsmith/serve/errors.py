"""Errors in OpenAI's shape, which its clients turn into exceptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from gptsmith.base.errors import GptsmithError, UserError
from gptsmith.generate.request import ContextOverflowError, QueueFullError
from gptsmith.text.tokenizer import TooManyTokensError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
RETRY_AFTER_S = 1


class ApiError(GptsmithError):
    """An answer that is an error.

    Attributes:
        status: of HTTP.
        message: for people.
        param: the field that is wrong; None if it is none.
        code: for programs.
        headers: what goes with it, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's shape."""
        kind = TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self, write: Callable[[ApiError], dict[str, Any]] | None = None) -> JSONResponse:
        """The answer; `write` gives its body in the form of another API than OpenAI's."""
        return JSONResponse(self.body() if write is None else write(self), self.status, headers=self.headers)


def refused(param: str, message: str, code: str = "invalid_value") -> ApiError:
    """The error for a field that is not allowed."""
    return ApiError(400, f"{param}: {message}", param=param, code=code)


def unsupported(param: str, message: str) -> ApiError:
    """The error for a field, or for a value of it, that means something that this server does not do."""
    return refused(param, message, "unsupported_parameter")


def overloaded(message: str, retry_after_s: int = RETRY_AFTER_S) -> ApiError:
    """The error for a request that may be made again soon."""
    return ApiError(429, message, code="queue_full", headers={"Retry-After": str(retry_after_s)})


def draining() -> ApiError:
    """The error for a request to a server that is about to leave."""
    return ApiError(
        503,
        "the server is shutting down and accepts no new requests",
        code="shutting_down",
        headers={"Retry-After": str(RETRY_AFTER_S), "Connection": "close"},
    )


def api_error(error: Exception, param: str | None = None) -> ApiError:
    """Any error for a client; one that is our own fault says nothing but that it is."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextOverflowError | TooManyTokensError):
        return ApiError(400, str(error), param=param, code="context_length_exceeded")
    if isinstance(error, QueueFullError):
        return overloaded(str(error))
    if isinstance(error, UserError):
        return ApiError(400, str(error), param=param, code="invalid_value")
    if isinstance(error, HTTPException):
        message = {404: "there is nothing at this address", 405: "this address does not take this method"}
        return ApiError(
            error.status_code,
            message.get(error.status_code, error.detail),
            code={404: "not_found", 405: "method_not_allowed"}.get(error.status_code),
            headers=error.headers,
        )
    return ApiError(500, "internal error: see the log of the server", code="internal_error")


async def error_response(request: Request, error: Exception) -> JSONResponse:
    """The answer for an error that a route raised on purpose."""
    return api_error(error).response(request.scope.get("error_body"))
