"""Forms of calls without tags: an object, or a list of them, that is the whole answer. A model writes them where its
chat template does; every other model writes calls in tags (see `gptsmith.text.tool_calls`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from gptsmith.base.json_text import json_text
from gptsmith.text.tool_calls import PROBED_CALL


@dataclass(frozen=True)
class CallForm:
    """How an answer is written that calls functions.

    Attributes:
        key: the name of the arguments in a call.
        begin: before the first call.
        separator: between two calls; None if an answer has one call alone.
        end: after the last call.
        token: the special token before all, of a tokenizer that has it; else it is text.
        id_length: the letters that the template wants an id of a call to have; None for any number.
    """

    key: str
    begin: str = ""
    separator: str | None = None
    end: str = ""
    token: str = ""
    id_length: int | None = None

    def opening(self, special_tokens: Mapping[str, int]) -> str:
        """The text before the first call."""
        return self.begin if self.token in special_tokens else self.token + self.begin

    def before(self, name: str) -> str:
        """The text before the arguments of a function."""
        return f'{{"name": "{name}", "{self.key}": '

    after = "}"

    def call_id(self, name: str) -> str:
        """An id of a call as the template takes it: the same for the same one."""
        return name if self.id_length is None else hashlib.sha256(name.encode()).hexdigest()[: self.id_length]

    def is_written(self, rendered: str) -> bool:
        """Whether a template wrote the probed call in this form."""
        function = PROBED_CALL["function"]
        call = self.before(function["name"]) + json_text(function["arguments"])
        start = rendered.find(call)
        return start >= 0 and rendered[:start].rstrip().endswith(f"{self.token} {self.begin}".strip())


LLAMA = CallForm("parameters")
"""Llama 3.1 and later: one object."""
MISTRAL = CallForm("arguments", "[", ", ", "]", token="[TOOL_CALLS]", id_length=9)
"""Mistral's instruct models from version 3 of their tokenizer on: a list behind a special token."""
CALL_FORMS = (MISTRAL, LLAMA)


def call_form(rendered: str) -> CallForm | None:
    """The form in which a template wrote the probed conversation; None if it is none of these."""
    return next((form for form in CALL_FORMS if form.is_written(rendered)), None)
