"""Everything that can be set about a run: the groups of run.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gptsmith.base.settings import FIXED, Settings
from gptsmith.convert.import_settings import ImportSettings
from gptsmith.data.settings import DataSettings
from gptsmith.model.config import GPTConfig
from gptsmith.run.distributed import ParallelSettings
from gptsmith.run.folder import SETTINGS, Run
from gptsmith.text import tokenizers
from gptsmith.text.tokenizers import AnyTokenizer
from gptsmith.train.request import FinetuneRequest, PretrainRequest
from gptsmith.train.settings import CheckpointSettings, TrainSettings
from gptsmith.train.trackers import TrackSettings


class TrainingSettings(Settings):
    """What every run has that is trained."""

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
    request: PretrainRequest
    data: Annotated[DataSettings, FIXED] = DataSettings()
    tokenizer: Annotated[AnyTokenizer, FIXED] = tokenizers.KINDS.field("bpe")


class ExampleSettings(Settings):
    """How examples become parts to train on, to choose by and to judge by."""

    validation_share: float = Field(default=0.1, ge=0, lt=1)
    """The share of the examples that chooses the best weights; not used where validation files are given."""
    test_share: float = Field(default=0.1, ge=0, lt=1)
    """The share that judges, once, at the end; not used where test files are given."""
    skip_bad: bool = False
    """Leave out examples that cannot be learnt from, instead of stopping at the first."""


class FinetuneSettings(TrainingSettings):
    """The content of a fine-tuned run's run.toml."""

    made_by: Literal["finetune"] = "finetune"
    request: FinetuneRequest
    data: Annotated[DataSettings, FIXED] = DataSettings()
    examples: Annotated[ExampleSettings, FIXED] = ExampleSettings()


AnyRunSettings = RunSettings | FinetuneSettings | ImportSettings


def settings_of(run: Run) -> AnyRunSettings:
    """The settings of a run, by the verb that made it."""
    kinds: dict[str, type[AnyRunSettings]] = {
        "pretrain": RunSettings,
        "finetune": FinetuneSettings,
        "import": ImportSettings,
    }
    return kinds[run.made_by].parse(run.settings(), str(run.folder / SETTINGS))
