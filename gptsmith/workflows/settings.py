"""Everything that can be set about a run: the groups of run.toml."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gptsmith.base.settings import Settings
from gptsmith.data.settings import DataSettings
from gptsmith.model.config import GPTConfig
from gptsmith.text import tokenizers
from gptsmith.text.tokenizers import AnyTokenizer
from gptsmith.train.parallel import ParallelSettings
from gptsmith.train.settings import CheckpointSettings, TrainSettings
from gptsmith.workflows.trackers import TrackSettings


class Asked(Settings):
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
    until_loss: float | None = None
    """The validation loss to stop at."""
    config: str | None = None
    """A file of settings."""
    settings: list[str] = Field(default_factory=list)
    """Changes, such as model.num_layers=6."""


class RunSettings(Settings):
    """The content of run.toml."""

    asked: Asked
    data: DataSettings = DataSettings()
    tokenizer: AnyTokenizer = tokenizers.KINDS.field("bpe")
    model: GPTConfig
    train: TrainSettings
    checkpoint: CheckpointSettings = CheckpointSettings()
    parallel: ParallelSettings = ParallelSettings()
    track: TrackSettings = TrackSettings()


def run_schema() -> dict[str, Any]:
    """The JSON Schema of run.toml, for editors."""
    schema = RunSettings.model_json_schema()
    schema["properties"]["format_version"] = {"type": "integer"}
    return schema
