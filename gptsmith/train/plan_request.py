"""The request of `plan`, which is for a new model or for a fine-tuning."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.hints import shell_command
from gptsmith.base.verbs import Count
from gptsmith.data.sources import Sources
from gptsmith.train.request import FinetuneRequest, NewModelRequest, TuningRequest


class PlanRequest(TuningRequest, NewModelRequest):
    """The arguments of `plan`."""

    sources: Sources = Field(default_factory=list)
    """Files, folders and glob patterns to train on; to plan a fine-tuning, the model first and then its examples."""
    gpus: int | None = Field(default=None, gt=0)
    """Plan for so many GPUs on paper, without a text."""
    gpu: str = "h100"
    """Their kind: a100, h100, h200, b200, ..."""
    tokens: Count | None = None
    """With --gpus, tokens to train on, such as 300B."""

    def _require_a_text(self) -> None:
        if self.gpus is None and not self.sources:
            raise ConfigurationError("name the text to plan for: files, folders or patterns")
        if self.gpus is None and self.tokens is not None:
            raise ConfigurationError("--tokens goes with --gpus: say how long this machine is to train by --minutes")
        if self.gpus is not None and (self.sources or self.minutes is not None):
            given = "--minutes" if self.minutes is not None else str(self.sources[0])
            raise ConfigurationError(f"--gpus plans on paper, for a preset: leave {given} out, and say --tokens")

    def _given(self) -> dict[str, Any]:
        """What does not stand at its default."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        fields = type(self).model_fields
        return {n: value for n, value in values.items() if value != fields[n].get_default(call_default_factory=True)}

    def of_new_model(self) -> NewModelRequest:
        """The same for a model that is trained from scratch.

        Raises:
            ConfigurationError: something is given that is for a fine-tuning alone, or no time is.
        """
        given = self._given()
        shared = NewModelRequest.model_fields.keys()
        if more := sorted(given.keys() - shared):
            raise ConfigurationError(
                f"--{more[0].replace('_', '-')} is for a fine-tuning: to plan one, name its model first "
                f"({shell_command('plan', 'RUN', 'DATA')})"
            )
        if self.minutes is None and self.private is None:
            raise ConfigurationError(f"say how long: {shell_command('plan', 'TEXT', '--minutes', 10)}")
        return NewModelRequest.parse(given)

    def of_tuning(self) -> FinetuneRequest:
        """The same for a fine-tuning of the first source on the others.

        Raises:
            ConfigurationError: something is given that is for a new model alone, or no examples are.
        """
        given = self._given()
        if more := sorted(given.keys() - FinetuneRequest.model_fields.keys()):
            raise ConfigurationError(f"--{more[0]} is for a new model, and {self.sources[0]} is a trained one")
        base, *sources = self.sources
        if not sources:
            raise ConfigurationError(
                f"{base} is a trained model: name the data to tune it on too ({shell_command('plan', base, 'DATA')})"
            )
        return FinetuneRequest.parse({**given, "base": base, "sources": sources})
