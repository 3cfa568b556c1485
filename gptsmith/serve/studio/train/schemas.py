"""The bodies of the requests that plan and start a training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptsmith.serve.chat.schemas.common import NonEmptyText, Schema

MAX_MINUTES = 60 * 24 * 7
MAX_VALUE_CHARACTERS = 2000


class Wish(Schema):
    """What a person wants to train.

    Attributes:
        data: a collection, or a path in the studio's folder.
        part: the part of a collection that is learnt from (see `data.parts`); None leaves it to the studio.
        base: the `id` of one of the models that were found; None trains from nothing.
        options: values of the verb's options by their names, such as `lora`.
        settings: values of settings by their paths, as `--set` reads them.
    """

    data: NonEmptyText
    minutes: Annotated[float, Field(gt=0, le=MAX_MINUTES)]
    part: str | None = None
    base: str | None = None
    options: Annotated[dict[str, bool | int | float | str], Field(max_length=50)] = Field(default_factory=dict)
    settings: Annotated[dict[str, Annotated[str, Field(max_length=MAX_VALUE_CHARACTERS)]], Field(max_length=200)] = (
        Field(default_factory=dict)
    )


class PlanWish(Wish):
    """A training to plan.

    Attributes:
        is_exact: whether the verb `plan` is to say how it will be; else what is known at once is enough.
        instead_of: the job of a plan that is no longer wanted.
    """

    is_exact: bool = False
    instead_of: str | None = None


class StartWish(Wish):
    """A training to start, as a run of a name."""

    name: Annotated[str, Field(max_length=200)] = ""
