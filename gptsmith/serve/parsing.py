"""Reads the body of a request into its schema, or says which field is wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from gptsmith.base.errors import did_you_mean
from gptsmith.base.wrong_values import problem_in_words
from gptsmith.serve.chat.schemas.common import Schema
from gptsmith.serve.errors import ApiError
from gptsmith.serve.settings import ServeSettings

B = TypeVar("B", bound=Schema)

MAX_OBJECTS = 10_000
"""Objects and lists in a body. A conversation of a thousand turns has fewer, and reading more takes long."""
MAX_NAMES = 30_000
MAX_VALUES = 200_000
"""Values in a body, such as token ids."""
MAX_NAMED_ERRORS = 1000
"""Of a body with more wrong fields than this, none is named: listing them takes long."""
SHORT_BYTES = 20_000
"""Longer bodies are read on another thread."""
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


async def read_body(
    request: Request,
    kind: type[B],
    settings: ServeSettings,
    run_on_reader: Callable[[Callable[[], B]], Awaitable[B]],
) -> B:
    """The body of a request, checked.

    Args:
        run_on_reader: calls a function on another thread.

    Raises:
        ApiError: it is too long, too slow, or not what it should be; the field is named.
    """
    data = await body_bytes(request, settings.max_body_bytes, settings.body_timeout_s)
    if len(data) <= SHORT_BYTES:
        return parse_body(data, kind)
    return await run_on_reader(lambda: parse_body(data, kind))


async def body_bytes(request: Request, most: int, timeout_s: float) -> bytes:
    """The body of a request as it came.

    Raises:
        ApiError: it has more than `most` bytes, or takes longer than `timeout_s` to arrive.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _bytes(request, most)
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {timeout_s:g} s") from None
    except ClientDisconnect:
        raise ApiError(400, "the client left before its request was whole") from None


async def _bytes(request: Request, most: int) -> bytes:
    too_long = ApiError(413, f"the body has more than the {most:,} bytes allowed", code="request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
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
        ApiError: it is not JSON, not an object, has too many parts, or a field is wrong; it is named.
    """
    given = parse_object(data)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _field_error(error, given, kind) from None


def parse_object(data: bytes) -> dict[str, Any]:
    """The fields of JSON text, whatever they are.

    Raises:
        ApiError: it is not JSON, not an object, or has too many parts.
    """
    _check_size(data)
    try:
        given = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(given, dict):
        raise ApiError(400, "the body is JSON, but not an object", code="invalid_json")
    return given


def _check_size(data: bytes) -> None:
    """
    Raises:
        ApiError: JSON text has too many parts.
    """
    size = _Size()
    size.add(data)
    if not size.is_too_large:
        return
    # The signs within strings are text. One string after the other, so that other threads go on.
    size, end = _Size(), 0
    for string in STRING.finditer(data):
        size.add(data[end : string.start()])
        end = string.end()
        if size.is_too_large:
            break
    else:
        size.add(data[end:])
    if size.is_too_large:
        raise ApiError(
            400,
            f"the body has more than {MAX_OBJECTS:,} objects and lists, {MAX_NAMES:,} names or {MAX_VALUES:,} values: "
            "send less",
            code="request_too_large",
        )


@dataclass
class _Size:
    """How much there is in JSON text, by its signs."""

    num_objects: int = 0
    num_names: int = 0
    num_values: int = 0

    def add(self, data: bytes) -> None:
        self.num_objects += data.count(b"{") + data.count(b"[")
        self.num_names += data.count(b":")
        self.num_values += data.count(b",")

    @property
    def is_too_large(self) -> bool:
        return self.num_objects > MAX_OBJECTS or self.num_names > MAX_NAMES or self.num_values > MAX_VALUES


def _field_error(error: ValidationError, given: Any, kind: type[Schema]) -> ApiError:
    """The error for a field. Of the alternatives of a field, the one that matched furthest counts."""
    if error.error_count() > MAX_NAMED_ERRORS:
        return ApiError(400, f"the body has {error.error_count():,} wrong fields", code="invalid_value")
    details = error.errors(include_url=False)
    first = max(details, key=lambda detail: (detail["loc"][:1] == details[0]["loc"][:1], len(detail["loc"])))
    param = _path(first["loc"], given, first["type"])
    if first["type"] == "extra_forbidden":
        hint = f" ({did_you_mean(str(first['loc'][0]), kind.model_fields)})" if len(first["loc"]) == 1 else ""
        return ApiError(400, f"{param}: no such field{hint}", param=param, code="unknown_parameter")
    code = {"missing": "missing_required_parameter"}.get(first["type"], "invalid_value")
    if first["type"].endswith("_type"):
        code = "invalid_type"
    others = {problem_in_words(each) for each in details if _path(each["loc"], given, each["type"]) == param}
    message = problem_in_words(first) if first["type"] == "missing" else "; or ".join(sorted(others))
    return ApiError(400, f"{param}: {message}", param=param, code=code)


def _path(loc: tuple[int | str, ...], given: Any, problem: str) -> str:
    """`messages.0.content` for where a problem lies; the names of alternatives, which are no places, are left out."""
    path: list[str] = []
    for number, part in enumerate(loc):
        is_last = number == len(loc) - 1
        if not is_last and _is_alternative(loc[number : number + 2], given, problem):
            continue
        if (isinstance(given, dict) and part in given) or (
            isinstance(given, list) and isinstance(part, int) and part < len(given)
        ):
            given = given[part]  # type: ignore[index]
            path.append(str(part))
        elif is_last and problem == "missing":
            path.append(str(part))
    return ".".join(path)


def _is_alternative(parts: tuple[int | str, ...], given: Any, problem: str) -> bool:
    """Whether the first of two parts of a place is the type or role of an object, and the second a field of it."""
    if not isinstance(given, dict) or parts[0] not in (given.get("type"), given.get("role")):
        return False
    inner = given.get(str(parts[0]))
    is_missing = problem == "missing" and not (isinstance(inner, dict) and parts[1] not in inner)
    return parts[1] in given or is_missing
