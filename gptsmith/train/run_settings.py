"""Everything that can be set about a run: the groups of run.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gptsmith.base.settings import FIXED, Settings
from gptsmith.data.settings import DataSettings
from gptsmith.model.config import GPTConfig
from gptsmith.run.distributed import ParallelSettings
from gptsmith.text import tokenizers
from gptsmith.text.tokenizers import AnyTokenizer
from gptsmith.train.request import FinetuneRequest, PretrainRequest
from gptsmith.train.settings import CheckpointSettings, TrackSettings, TrainSettings


class TrainingSettings(Settings):
    """The settings of every run that is trained."""

    made_by: str
    """The verb that trains it."""
    model: Annotated[GPTConfig, FIXED]
    train: TrainSettings
    checkpoint: CheckpointSettings = CheckpointSettings()
    parallel: ParallelSettings = ParallelSettings()
    track: TrackSettings = TrackSettings()


class RunSettings(TrainingSettings):
    """The content of a pretraining run's run.toml."""

    made_by: Literal["pretrain"] = "pretrain"
    """The verb that made the run."""
    request: PretrainRequest
    data: Annotated[DataSettings, FIXED] = DataSettings()
    tokenizer: Annotated[AnyTokenizer, FIXED] = tokenizers.KINDS.field("bpe")


class ExampleSettings(Settings):
    """How examples become a training, a validation and a test split."""

    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """The fraction of the examples in the validation split, which selects the best weights; not used if validation
    files are given."""
    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """The fraction in the test split, which is read once, at the end; not used if test files are given."""
    group_near_duplicates: bool = True
    """Whether examples whose questions, or all of whose texts, are nearly the same are in the same split, so that
    nothing validates or tests that is trained on in other words."""
    skip_bad: bool = False
    """Skip examples that cannot be trained on, instead of stopping at the first."""
    label_field: str | None = None
    """The field or column of the label; detected by its name if not given."""
    me: str | None = None
    """The person in an exported chat whom the model is to answer as."""
    ignored_fields: list[str] = Field(default_factory=list)
    """Fields of records and turns, such as images, that are left out, instead of read, or refused because nothing reads
    them."""
    learns_thoughts: bool = True
    """Whether the assistant's thoughts before its answers are learnt; they are read only if not."""


class FinetuneSettings(TrainingSettings):
    """The content of a fine-tuned run's run.toml."""

    made_by: Literal["finetune"] = "finetune"
    """The verb that made the run."""
    request: FinetuneRequest
    data: Annotated[DataSettings, FIXED] = DataSettings()
    examples: Annotated[ExampleSettings, FIXED] = ExampleSettings()
