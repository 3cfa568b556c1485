"""The requests of the verbs that train: options of the command line, arguments in Python, and `request` in run.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.hints import shell_command
from gptsmith.base.settings import Settings, assignments_of
from gptsmith.base.verbs import Assignments, Count, PathText, not_recorded
from gptsmith.data.sources import Sources

READ_PATHS = frozenset({"base", "sources", "validation", "test"})
"""The fields of a request that name what is read whenever its run is trained."""


class TrainingRequest(Settings):
    """The arguments of every verb that trains or plans training."""

    made_by: ClassVar[str] = ""
    """The verb whose runs have such a request, in run.toml."""

    sources: Sources = Field(default_factory=list)
    """Files, folders and glob patterns to train on."""
    validation: Sources = Field(default_factory=list)
    """Files to validate on. By default, a part of the sources is held out."""
    config: PathText | None = None
    """A run.toml to read settings from."""
    settings: Assignments = Field(default_factory=list)
    """Any setting, such as model.num_layers=6; overrides all other sources. May be repeated."""
    started: SkipJsonSchema[float | None] = not_recorded()
    """The `time.monotonic()` at which the verb started, from which its time counts; now if not given."""

    def recorded(self) -> dict[str, Any]:
        """The request as run.toml keeps it, without what has its default."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def located(self, locate: Callable[[str | Path], str]) -> Self:
        """The same request with each of the paths that are read as `locate` gives it.

        Raises:
            CheckpointError: one is not there.
        """
        found: dict[str, Any] = {}
        for name in READ_PATHS & type(self).model_fields.keys():
            value = getattr(self, name)
            found[name] = locate(value) if isinstance(value, str | Path) else [locate(path) for path in value]
        return self.model_copy(update=found)

    def option_settings(self) -> dict[str, dict[str, Any]]:
        """The settings that options stand for, by the name of the option."""
        return {}


class PlanRequest(TrainingRequest):
    """The arguments of `plan`."""

    preset: str = "smith"
    """Preset for the shape of the model: smith, gpt1, gpt2, ..., gpt3-175b."""
    minutes: float | None = Field(default=None, gt=0)
    """Time budget of the whole command, in minutes."""
    hours: SkipJsonSchema[float | None] = not_recorded(gt=0)
    """Time budget of the whole command, in hours."""
    params: Count | None = None
    """Number of parameters of the model's blocks, such as 3M."""
    tokenizer: PathText | None = None
    """Tokenizer to train (bpe, characters or bytes), or the path of one in Hugging Face's format."""

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
            raise ConfigurationError(f"say how long: {shell_command('plan', 'TEXT', '--minutes', 10)}")

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
    """Tokens to train on, such as 5M; with --resume, counted from the start of the run."""
    target_loss: float | None = None
    """Stop at this validation loss, in nats per token."""
    encoding: SkipJsonSchema[str | None] = not_recorded()
    """Encoding of the files that are not UTF-8, such as latin-1."""
    encoding_errors: SkipJsonSchema[Literal["strict", "replace"] | None] = not_recorded()
    """Bytes that are not in their file's encoding: strict refuses the file, replace reads them as U+FFFD."""
    out: SkipJsonSchema[PathText | None] = not_recorded()
    """The new run folder. By default runs/NAME, named after the first source."""
    resume: SkipJsonSchema[PathText | None] = not_recorded()
    """The run to resume; --tokens and --target-loss can extend it."""
    callbacks: SkipJsonSchema[Sequence[Any]] = not_recorded(())
    """In Python only: `gptsmith.Callback` objects, which are called between the steps of training."""

    @model_validator(mode="before")
    @classmethod
    def _encoding_is_a_setting(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        for name in ("encoding", "encoding_errors"):
            if data.get(name) is not None:
                setting = f'data.{name}="{data[name]}"'
                data = {**data, name: None, "settings": [setting, *assignments_of(data.get("settings", ()))]}
        return data

    def _require_a_text(self) -> None:
        if self.resume is None:
            if not self.sources:
                raise ConfigurationError("name the text to train on: files, folders or patterns")
        elif self.recorded().keys() - {"tokens", "target_loss", "settings"} or self.out is not None:
            raise ConfigurationError(
                "--resume uses the run's own text and settings: with it, give only --tokens, --target-loss and --set"
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
    sources: Sources = Field(default_factory=list)
    """Files of conversations, labelled texts, preferences or plain text."""
    validation: Sources = Field(default_factory=list)
    """Files that select the best weights and settings. By default, a part of the sources is held out."""
    test: Sources = Field(default_factory=list)
    """Files of the test split, scored once at the end. By default, a part of the sources is held out."""
    objective: str | None = None
    """Objective, such as sft, dpo or grpo. By default it follows from the data."""
    epochs: float | None = Field(default=None, gt=0)
    """Number of passes over the examples. The default depends on the objective."""
    lora: int | None = Field(default=None, gt=0)
    """Train LoRA adapters of this rank instead of all weights."""
    trials: int | None = Field(default=None, gt=0)
    """Search hyperparameters in this many trials; the validation loss selects the best."""
    me: SkipJsonSchema[str | None] = not_recorded()
    """In an exported chat (WhatsApp, Telegram, Discord, Slack): the person whom the model is to answer as."""
    skip_bad: SkipJsonSchema[bool] = not_recorded(False)
    """Skip examples that cannot be trained on, instead of stopping at the first."""
    out: SkipJsonSchema[PathText | None] = not_recorded()
    """The new run folder. By default RUN-OBJECTIVE, beside the base."""
    resume: SkipJsonSchema[PathText | None] = not_recorded()
    """The run to resume."""
    reward: SkipJsonSchema[Callable[..., float] | None] = not_recorded()
    """For `grpo`, in Python only: a reward function of the messages, the completion and the reference answer. Overrides
    `train.objective.reward`."""
    callbacks: SkipJsonSchema[Sequence[Any]] = not_recorded(())
    """In Python only: `gptsmith.Callback` objects, which are called between the steps of training."""

    @model_validator(mode="after")
    def _names_a_base_and_data(self) -> Self:
        if self.resume is not None:
            if self.recorded().keys() - {"settings"} or self.out is not None or self.skip_bad or self.me:
                raise ConfigurationError("--resume uses the run's own base, data and trials: with it, give only --set")
        elif not self.base or not self.sources:
            raise ConfigurationError(
                "name a trained run and the data of the task: "
                f"{shell_command('finetune', 'runs/mine', 'answers.jsonl')}"
            )
        return self

    def option_settings(self) -> dict[str, dict[str, Any]]:
        options: dict[str, dict[str, Any]] = {}
        if self.me is not None:
            options["--me"] = {"examples": {"me": self.me}}
        if self.skip_bad:
            options["--skip-bad"] = {"examples": {"skip_bad": True}}
        return options
