"""Tables in files that somebody else may have written, checked before anything is taken from them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gptsmith.base.errors import UserError, one_line, shown
from gptsmith.base.wrong_values import problem_in_words


class Document(BaseModel):
    """The keys of a table that the program relies on, with their types. Others are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True)

    @classmethod
    def checked(cls, value: Any, origin: object, error: type[UserError] = UserError) -> dict[str, Any]:
        """The table itself, if it holds what is relied on.

        Args:
            origin: the file that it comes from.
            error: the error that is raised.

        Raises:
            UserError: it is no table, or a key is missing or of another type.
        """
        if not isinstance(value, dict):
            raise error(f"{origin} is not a table")
        try:
            cls.model_validate(value)
        except ValidationError as problem:
            first = problem.errors()[0]
            key = one_line(".".join(str(part) for part in first["loc"]), 100)
            given = "" if first["type"] == "missing" else f" (given: {shown(first['input'])})"
            raise error(f"{origin}: {key}: {problem_in_words(first)}{given}") from None
        return value
