"""A question whose answer is written: the model's likeliest reply is compared with the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from gptsmith.base.errors import UserError
from gptsmith.data.shapes.chat import ChatShape
from gptsmith.evaluate.language_model import Candidate, Observe
from gptsmith.evaluate.measure import Measure
from gptsmith.evaluate.prompt import Prompt
from gptsmith.evaluate.scorers import KINDS as CHECKS
from gptsmith.evaluate.scorers import AnyCheck
from gptsmith.evaluate.tasks import Example, Marks, TaskSettings, records_of, unlike

PATTERN = "pattern:"


class GeneratedSettings(TaskSettings):
    """Accuracy of replies."""

    kind: Literal["generated"] = "generated"
    fields: ClassVar[str] = (
        "question and answer; prompt and answer; messages and answer; or a conversation that ends in it"
    )
    check: AnyCheck = CHECKS.field("exact")
    """When a reply is right."""
    max_tokens: int = Field(default=256, gt=0)
    """The most tokens of a reply; half of the model's context where that is less."""

    @field_validator("check", mode="before")
    @classmethod
    def _spelled_in_a_word(cls, check: Any) -> Any:
        """`pattern:REGEX`, as rewards are spelled, is the table of that pattern."""
        if isinstance(check, str) and check.startswith(PATTERN):
            return {"kind": "pattern", "pattern": check.removeprefix(PATTERN)}
        return check

    def read(self, sources: Sequence[str | Path]) -> list[Example]:
        return [self._example(place, fields) for place, fields in records_of(sources)]

    def _example(self, place: str, fields: Mapping[str, Any]) -> Example:
        try:
            *question, answer = ChatShape().example(_as_chat(fields), place).messages
            self.check.require(answer["content"])
        except (KeyError, TypeError, AttributeError, StopIteration):
            raise unlike(place, fields, self.fields) from None
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        # A prompt is the beginning of a text as it stands.
        is_text = isinstance(fields.get("prompt"), str) and len(question) == 1
        prompt = Prompt.written(question[0]["content"]) if is_text else Prompt.of(question)
        return Example(place, prompt, answer["content"])

    def ask(
        self, candidate: Candidate, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[str]:
        return candidate.reply(prompts, self.max_tokens, observe)

    def aggregate(self, examples: Sequence[Example], answers: Sequence[str]) -> Marks:
        right = [self.check.is_right(reply, example.answer) for example, reply in zip(examples, answers, strict=True)]
        baseline = self.check.baseline([example.answer for example in examples])
        return Marks([Measure.share("accuracy", np.array(right), baseline)])


def _as_chat(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with an answer as the record of a conversation."""
    answer = fields.get("answer")
    if answer is None:
        return fields
    if isinstance(turns := fields.get("messages"), list):
        return {"messages": [*turns, {"role": "assistant", "content": str(answer)}]}
    if "prompt" in fields:
        return {"question": fields["prompt"], "answer": answer, "system": fields.get("system")}
    return fields
