"""A task is prepared once, with its few-shot prompts, and run on any number of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.data.readers import ReadSettings
from gptsmith.data.skipped import Skipped
from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.prompt import Prompt
from gptsmith.evaluate.tasks import Example, TaskResult, TaskSettings


@dataclass(frozen=True)
class PreparedTask:
    """A task's examples with their prompts, the same for every model.

    Attributes:
        prompts: each example's prompt, after its few-shot examples.
        skipped: records of the files of which no example could be made.
    """

    settings: TaskSettings
    examples: list[Example]
    prompts: list[Prompt]
    skipped: Skipped

    @property
    def num_predictions(self) -> int:
        """The number of replies that are generated, or of choices that are scored: the total of `observe`."""
        return sum(max(1, len(example.choices)) for example in self.examples)


def prepare_task(
    task: TaskSettings,
    sources: Sequence[str | Path],
    *,
    num_shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
    reading: ReadSettings | None = None,
    skip_bad: bool = False,
) -> PreparedTask:
    """Read or generate the examples of a task.

    Args:
        num_shots: how many other examples stand with their answers before each (few-shot prompting).
        limit: the number of examples; all if None.
        seed: decides which examples are drawn.
        reading: how the files are read.
        skip_bad: whether records of which no example can be made are skipped, instead of stopping at the first.

    Raises:
        UserError: the examples cannot be read, or are too few for the shots.
    """
    examples = task.examples(sources, seed=seed, limit=limit, reading=reading, skip_bad=skip_bad)
    prompts = [example.prompt for example in examples.scored]
    if num_shots:
        prompts = [
            example.prompt.with_shots(_shots(examples.shots, example, num_shots, derived_seed(seed, "shots", number)))
            for number, example in enumerate(examples.scored)
        ]
    return PreparedTask(task, examples.scored, prompts, examples.skipped)


def run_task(task: PreparedTask, model: LanguageModel, observe: Observe = lambda _: None) -> TaskResult:
    """A model's result in a task. `observe` sees the number of predictions so far."""
    predictions = task.settings.predict(model, task.examples, task.prompts, observe)
    return task.settings.aggregate(task.examples, predictions)


def _shots(pool: Sequence[Example], scored: Example, num_shots: int, seed: int) -> list[tuple[Prompt, str]]:
    """Examples that the seed draws, with their answers; none has the prompt of the one that is scored.

    Raises:
        UserError: there are not so many.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = (pool[number] for number in generator.permutation(len(pool)))
    others = (other for other in drawn if other.prompt != scored.prompt)
    shots = [(other.prompt, other.answer) for other in islice(others, num_shots)]
    if len(shots) < num_shots:
        raise UserError(
            f"--shots {num_shots}: besides {scored.place} there are only {len(shots)} examples to show: set fewer"
        )
    return shots
