"""The problems of values, in this program's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, AllowInfNan, BaseModel, Field, TypeAdapter, ValidationError

from gptsmith.base.wrong_values import problem_in_words


class Group(BaseModel):
    """A group with a value that has no default."""

    value: int


def refuse(_: Any) -> Any:
    raise ValueError("it is Tuesday")


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Annotated[float, Field(ge=4.5, le=8.5)], 3, "must be at least 4.5"),
        (Annotated[float, Field(ge=4.5, le=8.5)], 16, "must be at most 8.5"),
        (Annotated[float, Field(gt=0)], 0.0, "must be greater than 0"),
        (Annotated[int, Field(gt=0)], 0, "must be greater than 0"),
        (Annotated[int, Field(lt=7)], 7, "must be less than 7"),
        (Annotated[int, Field(multiple_of=64)], 65, "must be a multiple of 64"),
        (Annotated[float, AllowInfNan(False)], float("nan"), "must be a finite number"),
        (int, [], "must be an integer"),
        (int, "many", "must be an integer"),
        (int, 1.5, "must be an integer"),
        (int, "1" * 5000, "must be an integer with fewer digits"),
        (float, [], "must be a number"),
        (float, "many", "must be a number"),
        (bool, [], "must be true or false"),
        (bool, "perhaps", "must be true or false"),
        (str, 3, "must be text"),
        (Literal["a", "b", "c"], "d", "must be 'a', 'b' or 'c'"),
        (dict[str, int], 3, "must be a table"),
        (list[int], 3, "must be a list"),
        (tuple[int, ...], 3, "must be a list"),
        (Sequence, 3, "must be of the type Sequence"),
        (Group, {}, "is missing"),
        (None, 3, "must be left out"),
        (Annotated[str, Field(min_length=2)], "a", "must have at least 2 characters"),
        (Annotated[str, Field(max_length=1)], "ab", "must have at most 1 characters"),
        (Annotated[list[int], Field(min_length=2)], [1], "must have at least 2 elements, and has 1"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "must have at most 1 elements, and has 2"),
        (Annotated[int, AfterValidator(refuse)], 3, "it is Tuesday"),
    ],
)
def test_problems_are_said_in_one_form(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert problem_in_words(caught.value.errors()[0]) == words
