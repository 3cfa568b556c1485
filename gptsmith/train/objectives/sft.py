"""Supervised fine-tuning on conversations: predict the assistant's turns, and where they end (Ouyang et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import TRAIN, ChangedTurnError
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.examples import ExampleObjective
from gptsmith.train.encoder import Encoder, FittedConversation
from gptsmith.train.objectives import Term
from gptsmith.train.objectives.next_token import cross_entropy_sum
from gptsmith.train.samples import Sample, packed_batch


class SftSettings(ExampleObjective):
    """The sum of -ln p(token | tokens before it) over the assistant's tokens."""

    kind: Literal["sft"] = "sft"
    shapes: ClassVar[tuple[str, ...]] = ("chat",)
    priority: ClassVar[int] = 1
    usual_epochs: ClassVar[float] = 3.0
    usual_lora_learning_rate: ClassVar[float] = 2.5e-4
    raises_small_rates: ClassVar[bool] = True
    packed: ClassVar[bool] = True
    is_separable: ClassVar[bool] = True

    def samples(self, example: Example, encoder: Encoder) -> list[Sample]:
        chat = cast(ChatExample, example)
        messages, tools = chat.messages, chat.tools
        try:
            return [_sample(example, encoder.conversation(messages, tools))]
        except ChangedTurnError:  # each answer as the template shows it while it is the last
            answers = [turn for turn in enumerate(messages, 1) if turn[1]["role"] == "assistant"]
            ends = [number for number, message in answers if message.get(TRAIN) is not False]
            turns = [encoder.conversation(messages[:end], tools, only_last=True) for end in ends]
            return [_sample(example, turn, part) for part, turn in enumerate(turns)]

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        return self.samples(example, encoder)[-1]

    def collate(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        return packed_batch(rows)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.kind: batch.num_tokens}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        return {self.kind: Term(cross_entropy_sum(model, batch), batch.num_tokens)}


def _sample(example: Example, fitted: FittedConversation, part: int = 0) -> Sample:
    return Sample(example.place, fitted.sequences, num_omitted=fitted.num_omitted, part=part)
