"""The server's log: ids, counts and places in the code, never anybody's text."""

from __future__ import annotations

import logging
import traceback
from contextvars import ContextVar
from pathlib import Path

LOGGER = logging.getLogger("gptsmith.serve")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


def log_failure(error: BaseException) -> None:
    """Says where in the code something went wrong. The message stays out of it: it may quote what a person wrote."""
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    LOGGER.error("%s failed: %s at %s", REQUEST_ID.get(), type(error).__name__, " < ".join(reversed(places[-6:])))
