"""Everything that can be set about a run: the groups of run.toml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gptsmith.base.settings import Settings
from gptsmith.data.settings import DataSettings
from gptsmith.model.config import GPTConfig
from gptsmith.run.distributed import ParallelSettings
from gptsmith.text import tokenizers
from gptsmith.text.tokenizers import AnyTokenizer
from gptsmith.train.settings import CheckpointSettings, TrainSettings
from gptsmith.train.trackers import TrackSettings


class PretrainRequest(Settings):
    """What a person asked for, before anything was chosen."""

    sources: list[str]
    """Files, folders and patterns to train on."""
    validation: list[str] = Field(default_factory=list)
    """Files to validate on, instead of a share of the sources."""
    preset: str = "smith"
    """The preset that the model's shape starts from."""
    minutes: float | None = Field(default=None, gt=0)
    """How long the whole command may take."""
    tokens: int | None = Field(default=None, gt=0)
    """Tokens to train on."""
    params: int | None = Field(default=None, gt=0)
    """Parameters that the model's blocks should have."""
    tokenizer: str | None = None
    """A kind of tokenizer, or the path of one."""
    target_loss: float | None = None
    """The validation loss to stop at."""
    config: str | None = None
    """A file of settings."""
    settings: list[str] = Field(default_factory=list)
    """Changes, such as model.num_layers=6."""


class TrainingSettings(Settings):
    """What every run has that is trained."""

    made_by: str
    """The verb that trains it."""
    model: GPTConfig
    train: TrainSettings
    checkpoint: CheckpointSettings = CheckpointSettings()
    parallel: ParallelSettings = ParallelSettings()
    track: TrackSettings = TrackSettings()


class RunSettings(TrainingSettings):
    """The content of a pretraining run's run.toml."""

    made_by: Literal["pretrain"] = "pretrain"
    request: PretrainRequest
    data: DataSettings = DataSettings()
    tokenizer: AnyTokenizer = tokenizers.KINDS.field("bpe")


class FinetuneRequest(Settings):
    """What a person asked for, before anything was chosen."""

    base: str
    """The run to start from."""
    sources: list[str]
    """Files of examples, or of text."""
    validation: list[str] = Field(default_factory=list)
    """Files to choose the best weights and settings by, instead of a share of the sources."""
    test: list[str] = Field(default_factory=list)
    """Files to judge by at the end, instead of a share of the sources."""
    objective: str | None = None
    """What to learn from the examples."""
    epochs: float | None = Field(default=None, gt=0)
    """How often every example is read."""
    lora: int | None = Field(default=None, gt=0)
    """The rank of the adapters that are trained instead of all weights."""
    trials: int | None = Field(default=None, gt=0)
    """How many trials search for better settings."""
    config: str | None = None
    """A file of settings."""
    settings: list[str] = Field(default_factory=list)
    """Changes, such as train.batch_size=8."""


class ExampleSettings(Settings):
    """How examples become a training, a validation and a test split."""

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """The fraction of the examples in the validation split, which chooses the best weights; not used if validation
    files are given."""
    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """The fraction in the test split, which is read once, at the end; not used if test files are given."""
    skip_bad: bool = False
    """Leave out examples that cannot be learnt from, instead of stopping at the first."""


class FinetuneSettings(TrainingSettings):
    """The content of a fine-tuned run's run.toml."""

    made_by: Literal["finetune"] = "finetune"
    request: FinetuneRequest
    data: DataSettings = DataSettings()
    examples: ExampleSettings = ExampleSettings()
