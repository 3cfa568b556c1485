"""What marks are enough for: which objective learns from them, and with which settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.serve.studio.marks.examples import Objective
from gptsmith.train.finetuning_defaults import usual_learning_rate
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.objectives.dpo import DpoSettings
from gptsmith.train.objectives.kto import KtoSettings
from gptsmith.train.objectives.sft import SftSettings

NEEDED = 20
"""Marks that an objective needs at least: by as many, an improvement was seen (LOG.md)."""
NEEDED_OF_EACH = 5
"""Of them, thumbs up and thumbs down."""
THUMBS_PER_CHOICE = 2
"""A choice says of two answers what a thumb says of one."""
LORA_PARAMETERS, LORA_RANK = 5e7, 8
"""Models from this size on are tuned by adapters, which forget less and fit in memory; smaller ones learn too slowly by
them."""
TIMES_USUAL: Mapping[Objective, float] = {"sft": 0.05, "dpo": 1.0, "kto": 2.0}
"""The learning rate of all weights, beside the usual one, for so many epochs of so few examples. Adapters have
the usual one."""
MAX_FORGETTING = 0.1
"""The bits per byte of general text that may be lost, as a fraction."""
MOST_EPOCHS, LEAST_EPOCHS, EXAMPLES_IN_ALL = 10.0, 2.0, 1000
"""As many epochs as read so many examples."""
VALIDATION_FRACTION, LEAST_VALIDATION_PROMPTS = 0.1, 5
"""Fewer prompts leave nothing to validate on, nor to keep what is forgotten within bounds."""

SETTINGS: Mapping[Objective, type[ObjectiveSettings]] = {"sft": SftSettings, "kto": KtoSettings, "dpo": DpoSettings}
MARK_OF = {"sft": "edits", "kto": "thumbs", "dpo": "choices"}


@dataclass(frozen=True)
class Available:
    """How many marks there are, by what they are."""

    edits: int = 0
    thumbs_up: int = 0
    thumbs_down: int = 0
    choices: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not any(self.plain().values())

    def plain(self) -> dict[str, int]:
        """They, as JSON."""
        return asdict(self)

    def missing(self) -> dict[str, int]:
        """Of each sort of mark, how many more are needed for the objective that learns from it."""
        each = max(0, NEEDED_OF_EACH - self.thumbs_up) + max(0, NEEDED_OF_EACH - self.thumbs_down)
        return {
            "edits": max(0, NEEDED - self.edits),
            "thumbs": max(each, NEEDED - self.thumbs_up - self.thumbs_down),
            "choices": max(0, NEEDED - self.choices),
        }

    def count(self, objective: Objective) -> int:
        """How many of them an objective is made for."""
        return {"sft": self.edits, "dpo": self.choices, "kto": self.thumbs_up + self.thumbs_down}[objective]

    def objective(self) -> Objective | None:
        """The objective that learns most: of those with enough marks, SFT from edits if they are not fewer than other
        marks, DPO if there are not twice as many thumbs as choices, else KTO. None if there are too few of each."""
        missing, thumbs = self.missing(), self.count("kto")
        weights: dict[Objective, float] = {"sft": self.edits, "dpo": self.choices, "kto": thumbs / THUMBS_PER_CHOICE}
        enough = [objective for objective in weights if not missing[MARK_OF[objective]]]
        return max(enough, key=weights.__getitem__, default=None)


def available(counts: Iterable[Mapping[str, Any]], model: str) -> Available:
    """How many marks of a model can be learnt from, by the number of those of each model, kind and verdict."""
    of = {(row["kind"], row["verdict"]): int(row["count"]) for row in counts if row["model"] == model}
    choices = of.get(("choice", "first"), 0) + of.get(("choice", "second"), 0)
    return Available(of.get(("edit", "edited"), 0), of.get(("thumb", "up"), 0), of.get(("thumb", "down"), 0), choices)


@dataclass(frozen=True)
class Recipe:
    """How a model is improved.

    Attributes:
        num_examples: what it learns from.
        lora: the rank of adapters; None if all weights are trained.
        is_validated: whether there are prompts enough to choose the weights by, and to keep to `MAX_FORGETTING`.
    """

    objective: Objective
    num_examples: int
    epochs: float
    learning_rate: float
    lora: int | None
    is_validated: bool

    def plain(self) -> dict[str, Any]:
        """It, as JSON."""
        return asdict(self)

    def arguments(self) -> list[str]:
        """The options of `finetune`."""
        settings = ["examples.test_fraction=0", "examples.skip_bad=true"]
        fraction = VALIDATION_FRACTION if self.is_validated else 0
        settings.append(f"examples.validation_fraction={fraction}")
        if self.is_validated:  # by few examples, which might prefer the old weights: the person decides that
            settings += [f"train.max_forgetting={MAX_FORGETTING}", "train.evaluate_at_start=false"]
        words = ["--objective", self.objective, "--epochs", f"{self.epochs:g}"]
        words += ["--learning-rate", f"{self.learning_rate:g}"]
        words += [] if self.lora is None else ["--lora", str(self.lora)]
        return [*words, *(word for setting in settings for word in ("--set", setting))]


def recipe(objective: Objective, num_examples: int, num_prompts: int, config: GPTConfig) -> Recipe:
    """How a model of a shape is improved by so many examples of so many prompts."""
    num_parameters = cost(config).num_parameters
    adapts = num_parameters >= LORA_PARAMETERS or config.linear.has_adapters
    rate = usual_learning_rate(SETTINGS[objective], config.embed_dim, num_parameters, adapts=adapts)
    if not adapts:
        rate = float(f"{TIMES_USUAL[objective] * rate:.2g}")
    epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, EXAMPLES_IN_ALL / num_examples))
    is_validated = num_prompts >= LEAST_VALIDATION_PROMPTS
    lora = LORA_RANK if adapts and not config.linear.has_adapters else None
    return Recipe(objective, num_examples, float(f"{epochs:.2g}"), rate, lora, is_validated)
