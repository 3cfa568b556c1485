"""A task's questions, with others and their answers before each: the same for every model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.evaluate.language_model import Candidate, Observe
from gptsmith.evaluate.prompt import Prompt
from gptsmith.evaluate.tasks import Example, Marks, TaskSettings


class Exam:
    """Questions to put to models.

    Attributes:
        examples: what is asked.
        prompts: each question, after its shots.
    """

    def __init__(
        self,
        task: TaskSettings,
        sources: Sequence[str | Path],
        *,
        num_shots: int = 0,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        """Reads or makes the examples.

        Args:
            num_shots: how many other examples are shown with their answers before each question (few-shot).
            limit: how many are asked; all where it is not given.
            seed: which examples are drawn.

        Raises:
            UserError: the examples cannot be read, or are too few for the shots.
        """
        self.task = task
        self.examples = task.examples(sources, "test", seed=seed, limit=limit)
        self.prompts = [example.prompt for example in self.examples]
        if num_shots:
            pool = task.examples(sources, "train", seed=seed)
            self.prompts = [
                example.prompt.after(_shots(pool, example, num_shots, derived_seed(seed, "shots", number)))
                for number, example in enumerate(self.examples)
            ]

    def take(self, candidate: Candidate, observe: Observe = lambda _: None) -> Marks:
        """What a model's answers are worth."""
        return self.task.aggregate(self.examples, self.task.ask(candidate, self.examples, self.prompts, observe))

    @property
    def num_answers(self) -> int:
        """How many replies are written, or choices scored: what `observe` counts to."""
        return sum(max(1, len(example.choices)) for example in self.examples)


def _shots(pool: Sequence[Example], asked: Example, num_shots: int, seed: int) -> list[tuple[Prompt, str]]:
    """Examples that the seed draws, with their answers; none asks what is asked.

    Raises:
        UserError: there are not so many.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = (pool[number] for number in generator.permutation(len(pool)))
    others = (other for other in drawn if other.prompt != asked.prompt)
    shots = [(other.prompt, other.answer) for other in islice(others, num_shots)]
    if len(shots) < num_shots:
        raise UserError(
            f"--shots {num_shots}: besides {asked.place} there are only {len(shots)} examples to show: ask for fewer"
        )
    return shots
