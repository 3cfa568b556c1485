"""The requests of the verbs that train: options of the command line, arguments in Python, and `request` in run.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.hints import shell_command
from gptsmith.base.verbs import Count, PathText, not_recorded
from gptsmith.data.sources import Sources
from gptsmith.train.private.settings import OPTION_SETTINGS as PRIVATE_SETTINGS
from gptsmith.train.private.settings import TUNING_OPTION_SETTINGS as PRIVATE_TUNING_SETTINGS
from gptsmith.train.text_request import TextRequest, tokenizer_option

TRACKERS: Mapping[str, dict[str, Any]] = {
    "tensorboard": {"tensorboard": True},
    "wandb": {"wandb": "gptsmith"},
    "mlflow": {"mlflow": "gptsmith"},
    "trackio": {"trackio": "gptsmith"},
}
"""What `--report-to` sets in the group `track`."""


class TrainingRequest(TextRequest):
    """The arguments of every verb that trains or plans training."""

    is_set_by_path: ClassVar[bool] = False
    private_settings: ClassVar[Mapping[str, Any]] = PRIVATE_SETTINGS
    made_by: ClassVar[str] = ""
    """The verb whose runs have such a request, in run.toml."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Highest learning rate; with Muon, that of the matrices."""
    batch_size: int | None = Field(default=None, gt=0)
    """Sequences per step of the optimizer."""
    max_steps: int | None = Field(default=None, gt=0)
    """Steps of the optimizer in all."""
    context_length: int | None = Field(default=None, gt=0)
    """Tokens that the model can read at once."""
    private: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Train with differential privacy: the epsilon."""
    device: str | None = None
    """Device: cpu, cuda or mps; auto uses a GPU if there is one."""
    report_to: Literal["tensorboard", "wandb", "mlflow", "trackio"] | None = None
    """Send metrics to tensorboard, wandb, mlflow or trackio, too."""

    def _option_tables(self) -> dict[str, dict[str, Any]]:
        tables = super()._option_tables()
        if self.private is not None:
            tables["private"] = {"train": {"private": {"epsilon": self.private}}, **self.private_settings}
        if self.report_to is not None:
            tables["report_to"] = {"track": TRACKERS[self.report_to]}
        return tables

    def _refuse_with_max_steps(self, *others: str) -> None:
        """Checks that nothing else says how long to train.

        Raises:
            ConfigurationError: something does.
        """
        if self.max_steps is not None and (given := [name for name in others if getattr(self, name) is not None]):
            raise ConfigurationError(f"--max-steps and --{given[0]} both say how long to train: give one of them")


class TimedRequest(TrainingRequest):
    """The arguments of a verb that can be given a time to keep to."""

    minutes: float | None = Field(default=None, gt=0)
    """Time budget of the whole command, in minutes."""
    hours: SkipJsonSchema[float | None] = not_recorded(gt=0)
    """Time budget of the whole command, in hours."""

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


class NewModelRequest(TimedRequest):
    """The arguments of a verb that trains a new model, or plans to."""

    preset: str = "smith"
    """Shape: smith, gpt1, gpt2, ..., gpt3-175b."""
    params: Count | None = None
    """Number of parameters of the model's blocks, such as 3M."""
    tokenizer: PathText | None = None
    """Tokenizer to train (bpe, characters, bytes), or its path."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.params is not None and self.preset != "smith":
            raise ConfigurationError(
                f"--params chooses the size of the default model; the preset {self.preset} has its own"
            )
        self._refuse_with_max_steps("minutes", "tokens")
        self._require_a_text()
        return self

    def _require_a_text(self) -> None:
        """Checks that there is something to train on.

        Raises:
            ConfigurationError: there is not.
        """

    def option_settings(self) -> dict[str, dict[str, Any]]:
        return super().option_settings() | tokenizer_option(self.tokenizer)


class ClusterRequest(TrainingRequest):
    """The arguments of a verb that a cluster can run."""

    ray: SkipJsonSchema[str | None] = not_recorded()
    """Train on a cluster of Ray: auto, local (this machine) or HOST:PORT."""
    workers: SkipJsonSchema[int | None] = not_recorded(gt=0)
    """Workers of Ray: one per GPU by default, or one per host."""

    @model_validator(mode="after")
    def _several_workers_can_do_it(self) -> Self:
        if self.ray is None:
            if self.workers is not None:
                raise ConfigurationError(
                    f"--workers {self.workers} are those of a cluster of Ray: give its address too, by --ray auto, or "
                    "--ray local for this machine"
                )
            return self
        if self.private is not None:
            raise ConfigurationError("--private trains in one process: leave --ray out")
        if getattr(self, "trials", None) is not None:
            raise ConfigurationError("--trials run one by one, each in one process: leave --ray out")
        return self


class PretrainRequest(NewModelRequest, ClusterRequest):
    """The arguments of `pretrain`."""

    made_by = "pretrain"

    tokens: Count | None = None
    """Tokens to train on, such as 5M; with --resume, in all."""
    target_loss: float | None = None
    """Stop at this validation loss, in nats per token."""
    out: SkipJsonSchema[PathText | None] = not_recorded()
    """The new run folder. By default runs/NAME, after the first source."""
    resume: SkipJsonSchema[PathText | None] = not_recorded()
    """The run to resume; --tokens and --target-loss can extend it."""
    callbacks: SkipJsonSchema[Sequence[Any]] = not_recorded(())
    """In Python only: `gptsmith.Callback` objects, which are called between the steps of training."""

    def _require_a_text(self) -> None:
        if self.resume is None:
            if not self.sources:
                raise ConfigurationError("name the text to train on: files, folders or patterns")
        elif self.canaries is not None:
            raise ConfigurationError(
                f"--canaries plants sentences in the text before the first step, and {self.resume} has begun: of what "
                "it never read, nothing can be found in it; train a new run with --canaries"
            )
        elif self.recorded().keys() - {"tokens", "target_loss", "settings"} or self.out is not None:
            raise ConfigurationError(
                "--resume uses the run's own text and settings: with it, give only --tokens, --target-loss and --set"
            )


class TuningRequest(TimedRequest):
    """The arguments of a verb that tunes a trained model, or plans to."""

    test: Sources = Field(default_factory=list)
    """Files scored once, at the end; by default, a part of DATA."""
    objective: str | None = None
    """Objective, such as sft, dpo or grpo; by default the data's own."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the examples; at most so many with a time budget."""
    lora: int | None = Field(default=None, gt=0)
    """Train LoRA adapters of this rank instead of all weights."""
    lora_alpha: float | None = Field(default=None, gt=0)
    """Scale of the adapters, alpha / rank; twice the rank by default."""
    me: SkipJsonSchema[str | None] = not_recorded()
    """The person in an exported chat whom the model is to answer as."""
    skip_bad: SkipJsonSchema[bool] = not_recorded(False)
    """Skip examples that cannot be trained on."""

    @model_validator(mode="after")
    def _adapters_have_a_rank(self) -> Self:
        if self.lora_alpha is not None and self.lora is None:
            raise ConfigurationError("--lora-alpha scales LoRA adapters: give their rank too, by --lora 8")
        return self


class FinetuneRequest(TuningRequest, ClusterRequest):
    """The arguments of `finetune`."""

    private_settings: ClassVar[Mapping[str, Any]] = {**PRIVATE_SETTINGS, **PRIVATE_TUNING_SETTINGS}
    made_by = "finetune"

    base: PathText = ""
    """The run to start from."""
    sources: Sources = Field(default_factory=list)
    """Files of conversations, labelled texts, preferences or plain text."""
    validation: Sources = Field(default_factory=list)
    """Files that select the best weights; by default, a part of DATA."""
    trials: int | None = Field(default=None, gt=0)
    """Search hyperparameters in so many trials, by validation loss."""
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
        self._refuse_with_max_steps("epochs", "minutes")
        if self.trials is not None and self.minutes is not None:
            raise ConfigurationError("--minutes is the time of one training: with --trials, give --epochs instead")
        if self.resume is not None:
            if self.recorded().keys() - {"settings"} or self.out is not None or self.skip_bad or self.me:
                raise ConfigurationError("--resume uses the run's own base, data and trials: with it, give only --set")
        elif not self.base or not self.sources:
            raise ConfigurationError(
                "name a trained run and the data of the task: "
                f"{shell_command('finetune', 'runs/mine', 'answers.jsonl')}"
            )
        return self
