"""A question with a free-form answer: the model's greedy reply is scored against the right one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from gptsmith.base.errors import DataError
from gptsmith.data.shapes.chat import ChatShape
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.metric import Metric
from gptsmith.evaluate.prompt import Prompt
from gptsmith.evaluate.scorers import KINDS as SCORERS
from gptsmith.evaluate.scorers import AnyScorer
from gptsmith.evaluate.tasks import Example, TaskResult, TaskSettings

PATTERN = "pattern:"


class GeneratedSettings(TaskSettings):
    """Accuracy of replies."""

    kind: Literal["generated"] = "generated"
    fields: ClassVar[str] = (
        "question and answer; prompt and answer; messages and answer; or a conversation that ends in it"
    )
    scorer: AnyScorer = SCORERS.field("exact")
    """How a reply is compared with the right answer."""
    max_tokens: int = Field(default=256, gt=0)
    """The most tokens of a reply; half of the model's context if that is less."""

    @field_validator("scorer", mode="before")
    @classmethod
    def _in_one_word(cls, scorer: Any) -> Any:
        """`pattern:REGEX`, the spelling of rewards, stands for the table of that pattern."""
        if isinstance(scorer, str) and scorer.startswith(PATTERN):
            return {"kind": "pattern", "pattern": scorer.removeprefix(PATTERN)}
        return scorer

    def example(self, fields: Mapping[str, Any], place: str) -> Example:
        chat = ChatShape().example(_as_chat(fields), place)
        *question, answer = chat.messages
        if chat.tools or answer.get("tool_calls"):
            raise DataError("it has tools, and replies are compared as texts: leave such examples out")
        self.scorer.validate_answer(answer["content"])
        # A prompt is the beginning of a text, given verbatim.
        is_text = isinstance(fields.get("prompt"), str) and len(question) == 1
        prompt = Prompt.from_text(question[0]["content"]) if is_text else Prompt.from_messages(question)
        return Example(place, prompt, answer["content"])

    def predict(
        self, model: LanguageModel, examples: Sequence[Example], prompts: Sequence[Prompt], observe: Observe
    ) -> list[str]:
        return model.reply(prompts, self.max_tokens, observe)

    def aggregate(self, examples: Sequence[Example], predictions: Sequence[str]) -> TaskResult:
        correct = [
            self.scorer.is_correct(reply, example.answer) for example, reply in zip(examples, predictions, strict=True)
        ]
        baseline = self.scorer.baseline([example.answer for example in examples])
        return TaskResult([Metric.proportion("accuracy", np.array(correct), baseline)])


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
