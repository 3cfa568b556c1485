"""The requests of the verbs that train: options of the command line, arguments in Python, and `request` in run.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import Settings
from gptsmith.base.verbs import Count, PathText, PathTexts, not_recorded


class TrainingRequest(Settings):
    """The arguments of every verb that trains or plans training."""

    made_by: ClassVar[str] = ""
    """The verb whose runs have such a request, in run.toml."""

    sources: PathTexts = Field(default_factory=list)
    """Files, folders and patterns to train on."""
    validation: PathTexts = Field(default_factory=list)
    """Files to validate on, instead of a share of the sources."""
    config: PathText | None = None
    """A run.toml to take settings from."""
    settings: Sequence[str] = Field(default_factory=list)
    """Any setting, such as model.num_layers=6, above everything else."""
    started: SkipJsonSchema[float | None] = not_recorded()
    """The `time.monotonic()` at which the verb started, from which its time counts; now if not given."""

    def recorded(self) -> dict[str, Any]:
        """The request as run.toml keeps it, without what has its default."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def option_settings(self) -> dict[str, dict[str, Any]]:
        """The settings that options stand for, by the name of the option."""
        return {}


class PlanRequest(TrainingRequest):
    """The arguments of `plan`."""

    preset: str = "smith"
    """The preset that the model's shape starts from: smith, gpt1, gpt2, ..., gpt3-175b."""
    minutes: float | None = Field(default=None, gt=0)
    """The time that the whole command may take."""
    hours: SkipJsonSchema[float | None] = not_recorded(gt=0)
    """The same in hours."""
    params: Count | None = None
    """Parameters that the model's blocks should have, such as 3M."""
    tokenizer: PathText | None = None
    """A kind of tokenizer (bpe, characters, bytes), or the path of one in Hugging Face's format."""

    @model_validator(mode="before")
    @classmethod
    def _hours_are_minutes(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        minutes, hours = data.get("minutes"), data.get("hours")
        if minutes is not None and hours is not None:
            raise ConfigurationError(f"--minutes {minutes:g} and --hours {hours:g} were both given: give one of them")
        total = minutes if hours is None else hours * 60
        if isinstance(total, int | float) and not 0 < total < float("inf"):
            raise ConfigurationError(f"a time of {total:g} minutes trains nothing: write --minutes 10 or --hours 2")
        return {**data, "minutes": total, "hours": None}

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.params is not None and self.preset != "smith":
            raise ConfigurationError(
                f"--params chooses the size of the default model; the preset {self.preset} has its own"
            )
        self._require_a_text()
        return self

    def _require_a_text(self) -> None:
        if not self.sources:
            raise ConfigurationError("name the text to plan for: files, folders or patterns")
        if self.minutes is None:
            raise ConfigurationError("say how long: gptsmith plan TEXT --minutes 10")

    def option_settings(self) -> dict[str, dict[str, Any]]:
        if self.tokenizer is None:
            return {}
        path = str(self.tokenizer)
        table = {"kind": "huggingface", "path": path} if Path(path).exists() else {"kind": path}
        return {"--tokenizer": {"tokenizer": table}}


class PretrainRequest(PlanRequest):
    """The arguments of `pretrain`."""

    made_by = "pretrain"

    tokens: Count | None = None
    """Tokens to train on, such as 5M; with --resume, in all."""
    target_loss: float | None = None
    """Stop at this validation loss, in nats per token."""
    encoding: SkipJsonSchema[str | None] = not_recorded()
    """The encoding of text that is not UTF-8, such as latin-1."""
    out: SkipJsonSchema[PathText | None] = not_recorded()
    """The run folder; runs/NAME, after the first source, if not given."""
    resume: SkipJsonSchema[PathText | None] = not_recorded()
    """Resume this run, for more tokens or to a lower loss if given."""

    @model_validator(mode="before")
    @classmethod
    def _encoding_is_a_setting(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("encoding") is not None:
            setting = f'data.encoding="{data["encoding"]}"'
            return {**data, "encoding": None, "settings": [setting, *data.get("settings", ())]}
        return data

    def _require_a_text(self) -> None:
        if self.resume is None:
            if not self.sources:
                raise ConfigurationError("name the text to train on: files, folders or patterns")
        elif self.recorded().keys() - {"tokens", "target_loss", "settings"} or self.out is not None:
            raise ConfigurationError(
                "--resume takes the run's own text and settings: with it, give only --tokens, --target-loss and --set"
            )

    def option_settings(self) -> dict[str, dict[str, Any]]:
        options = super().option_settings()
        if self.target_loss is not None:
            options["--target-loss"] = {"train": {"target_loss": self.target_loss}}
        return options


class FinetuneRequest(TrainingRequest):
    """The arguments of `finetune`."""

    made_by = "finetune"

    base: PathText = ""
    """The run to start from."""
    sources: PathTexts = Field(default_factory=list)
    """Files of conversations, labelled texts or preferences; or of plain text."""
    validation: PathTexts = Field(default_factory=list)
    """Files to choose the best weights and settings by, instead of a share of the sources."""
    test: PathTexts = Field(default_factory=list)
    """Files of the test split, scored once at the end, instead of a share of the sources."""
    objective: str | None = None
    """The objective, such as sft, dpo or grpo; chosen by the data if not given."""
    epochs: float | None = Field(default=None, gt=0)
    """Times that every example is read."""
    lora: int | None = Field(default=None, gt=0)
    """Train LoRA adapters of this rank instead of all weights."""
    trials: int | None = Field(default=None, gt=0)
    """Search for better hyperparameters in so many trials, judged by the validation data."""
    skip_bad: SkipJsonSchema[bool] = not_recorded(False)
    """Skip examples that cannot be trained on, instead of stopping at the first."""
    out: SkipJsonSchema[PathText | None] = not_recorded()
    """The new run's folder; beside the base, with the objective's name after it, if not given."""
    resume: SkipJsonSchema[PathText | None] = not_recorded()
    """Resume this run."""
    reward: SkipJsonSchema[Callable[..., float] | None] = not_recorded()
    """For `grpo`: a function of the messages, the answer and the true answer, instead of the one that
    `train.objective.reward` names. In Python only."""

    @model_validator(mode="after")
    def _names_a_base_and_data(self) -> Self:
        if self.resume is not None:
            if self.recorded().keys() - {"settings"} or self.out is not None or self.skip_bad:
                raise ConfigurationError("--resume takes the run's own base, data and trials: with it, give only --set")
        elif not self.base or not self.sources:
            raise ConfigurationError(
                "name a trained run and the data of the task: gptsmith finetune runs/mine answers.jsonl"
            )
        return self

    def option_settings(self) -> dict[str, dict[str, Any]]:
        return {"--skip-bad": {"examples": {"skip_bad": True}}} if self.skip_bad else {}
