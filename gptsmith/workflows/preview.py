"""Examples as a model will see them, before anything is trained."""

from __future__ import annotations

from typing import Any, cast

from gptsmith.base.errors import UserError
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.train.datasets.examples import ExampleSet
from gptsmith.train.datasets.rollouts import RolloutSet
from gptsmith.train.finetuning import Task, task_of

NUM_EXAMPLES = 3


def preview(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The first examples, each with its place, its label where it has one, and its sequences as lists of pieces:
    `{"text": ..., "trained": ...}`, one for each token.

    Raises:
        UserError: the base, an example or a setting cannot be used, or the data is plain text.
    """
    task = task_of(table, judges=False)
    samples = task.samples
    if isinstance(samples, RolloutSet):
        examples = cast(list[ChatExample], samples.parts.train[:NUM_EXAMPLES])
        prompts = [(example, samples.prompt(example)) for example in examples]
        return [
            {"place": example.place, "sequences": [pieces(task, ids, [False] * len(ids))]} for example, ids in prompts
        ]
    if not isinstance(samples, ExampleSet):
        raise UserError("a preview shows examples, and this data is plain text: every token of it is trained")
    shown = (samples.objective.sample(example, samples.encoder) for example in samples.parts.train[:NUM_EXAMPLES])
    labels = getattr(samples.objective, "labels", [])
    return [
        {
            "place": sample.place,
            **({"label": labels[sample.label]} if labels else {}),
            "sequences": [pieces(task, sequence.ids, sequence.trained) for sequence in sample.sequences],
        }
        for sample in shown
    ]


def pieces(task: Task, ids: list[int], trained: list[bool]) -> list[dict[str, Any]]:
    """Each token's text, and whether the model is trained to write it."""
    tokenizer = task.base.tokenizer
    return [
        {"text": tokenizer.decode([number], keep_special=True), "trained": is_trained}
        for number, is_trained in zip(ids, trained, strict=True)
    ]
