"""Everything besides the noisy gradients that would read the private data: refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptsmith.base.errors import ConfigurationError
from gptsmith.data.folder_splits import source_splits
from gptsmith.data.settings import DataSettings
from gptsmith.run.distributed import Processes
from gptsmith.train.objectives import ObjectiveSettings
from gptsmith.train.request import FinetuneRequest, TrainingRequest
from gptsmith.train.run_settings import ExampleSettings, RunSettings
from gptsmith.train.settings import TrainSettings

OPTIONS = {
    "minutes": "the number of steps would depend on how long the private data takes: give --max-steps or --epochs",
    "trials": "each trial reads the private data, and choosing among them gives some of it away: give the settings",
}
CHOOSES = "the last weights are the result, because choosing by private data gives some of it away"
SETTINGS = {
    "target_loss": "the number of steps is fixed",
    "patience_evaluations": "the number of steps is fixed",
    "max_forgetting": CHOOSES,
    "min_kept_answers": CHOOSES,
}
"""Settings of the group `train` that stay at their defaults."""
FRACTIONS = {
    "data": {"validation_fraction": DataSettings().validation_fraction},
    "examples": {name: getattr(ExampleSettings(), name) for name in ("validation_fraction", "test_fraction")},
}
"""The settings that hold back a part of the data, and their defaults."""


def refuse_leaks(table: Mapping[str, Any], request: TrainingRequest) -> None:
    """Checks that nothing but noisy gradients will read the private data.

    Args:
        table: the settings of the run, as far as they are known.

    Raises:
        ConfigurationError: something else would; the message says what to change.
    """
    train = table.get("train", {})
    for name, why in OPTIONS.items():
        if getattr(request, name, None) is not None:
            raise ConfigurationError(f"--private takes no --{name}: {why}")
    for name, why in SETTINGS.items():
        if name in train and train[name] != TrainSettings.model_fields[name].default:
            raise ConfigurationError(f"--private takes no train.{name}: {why}")
    for group, fractions in FRACTIONS.items():
        for name, usual in fractions.items() if group == "data" or isinstance(request, FinetuneRequest) else ():
            if table.get(group, {}).get(name, usual):
                raise ConfigurationError(
                    f"--private takes no {group}.{name}: every figure of held-out private data gives some of it away: "
                    "set it to 0, as --private does, and give public files by --validation"
                )
    own = source_splits(request.sources)
    if own.validation or own.test:
        raise ConfigurationError(
            f"{(own.validation or own.test)[0]} belongs to the private data, and figures of it would give some of it "
            "away: name the files to train on, and public ones by --validation"
        )


def refuse_pretraining_leaks(table: Mapping[str, Any], settings: RunSettings, processes: Processes) -> None:
    """The same of a new model.

    Raises:
        ConfigurationError: something else would read the private data, or several processes are to train.
    """
    if processes.world_size > 1:
        raise ConfigurationError("--private trains in one process: leave torchrun out")
    refuse_leaks(table, settings.request)
    refuse_objective(settings.train.objective, {})
    if settings.tokenizer.learns_from_text:
        raise ConfigurationError(
            f"--private takes no {settings.tokenizer.kind} tokenizer of the private text, whose vocabulary anybody can "
            "read: give --tokenizer bytes, or the path of a public one"
        )


def refuse_objective(objective: ObjectiveSettings, given: Mapping[str, Any]) -> None:
    """Checks that an objective learns from each example by itself.

    Args:
        given: its settings, as a person wrote them.

    Raises:
        ConfigurationError: it does not.
    """
    if not objective.is_separable:
        raise ConfigurationError(
            f"--private cannot train with the objective {objective.kind}: its loss of an example depends on other "
            "examples, or on what the model writes"
        )
    if objective.text_labels and "labels" not in given:
        raise ConfigurationError(
            "--private takes no labels from the examples, because a rare one would give its example away: list them by "
            '--set \'train.objective.labels=["...", "..."]\''
        )
