"""The request of `prepare`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.base.hints import shell_command
from gptsmith.base.verbs import Assignments, PathText, not_recorded
from gptsmith.train.request import PretrainRequest
from gptsmith.train.text_request import TextRequest

GROUPS = ("data", "tokenizer")


class PrepareRequest(TextRequest):
    """The arguments of `prepare`."""

    tokenizer: PathText | None = None
    """Tokenizer to train (bpe, characters, bytes), or its path."""
    seed: int | None = None
    """Random seed of the split, and of trainings that name none."""
    settings: Assignments = Field(default_factory=list)
    """Any setting of data or tokenizer: tokenizer.vocab_size=8000."""
    out: PathText = Field(default="", exclude=True)
    """Folder or URL (s3://...) to write the prepared text to."""
    workers: int | None = not_recorded()
    """Processes at a time; by default, one for each processor."""
    executor: Literal["local", "slurm", "ray"] = Field(default="local", exclude=True)
    """Where they run: local, slurm or ray."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        example = shell_command("prepare", "my_texts/", "--out", "prepared/my_texts")
        if not self.sources:
            raise ConfigurationError(f"name the text to prepare: files, folders or patterns ({example})")
        if not self.out:
            raise ConfigurationError(f"say where to write the prepared text, by --out ({example})")
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(f"--workers {self.workers} prepares nothing: give 1 or more, or leave it out")
        for assignment in self.settings:
            key = str(assignment).partition("=")[0].strip()
            group = key.partition(".")[0]
            if group not in GROUPS and key != "train.seed":
                advice = did_you_mean(group, GROUPS)
                raise ConfigurationError(f"{key} is no setting of a text ({advice}): give it to pretrain")
        return self

    def of_training(self) -> PretrainRequest:
        """The same for a run that is trained on the text: of its settings, a preparation keeps those of the text."""
        shared = [*TextRequest.model_fields, "tokenizer"]
        given: dict[str, Any] = {name: value for name in shared if (value := getattr(self, name)) not in (None, [])}
        return PretrainRequest.parse(given)
