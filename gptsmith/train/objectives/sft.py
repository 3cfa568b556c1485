"""Supervised tuning on conversations: predict what the assistant writes, and where it ends (Ouyang et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

from gptsmith.data.shapes import Example
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.model.gpt import GPT
from gptsmith.train.objectives import Batch, Term
from gptsmith.train.objectives.next_token import next_token_nats
from gptsmith.train.samples import Encoder, ExampleObjective, Sample, packed_batch


class SftSettings(ExampleObjective):
    """The sum of -ln p(token | tokens before it) over the assistant's tokens."""

    kind: Literal["sft"] = "sft"
    shape: ClassVar[str] = "chat"
    packed: ClassVar[bool] = True

    def sample(self, example: Example, encoder: Encoder) -> Sample:
        return Sample(example.place, [encoder.conversation(cast(ChatExample, example).messages)])

    def collate(self, rows: Sequence[Sequence[Sample]]) -> Batch:
        return packed_batch(rows)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"chat": batch.num_tokens}

    def loss(self, model: GPT, batch: Batch) -> dict[str, Term]:
        return {"chat": Term(next_token_nats(model, batch), batch.num_tokens)}
