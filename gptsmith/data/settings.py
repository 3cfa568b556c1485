"""What of the source files is read, and what of it validates."""

from __future__ import annotations

from pydantic import Field

from gptsmith.data.readers import ReadSettings


class DataSettings(ReadSettings):
    """How files become a training part and a validation part."""

    validation_share: float = Field(0.1, ge=0, lt=1)
    """The share of the text's bytes that validates; 0 for none. Not used where validation files are given."""

    validation_max_bytes: int = Field(4_000_000, gt=0)
    """The most text that is held back from a large corpus: more would not make the validation loss surer."""

    @property
    def reading(self) -> ReadSettings:
        """The settings that change what a file's documents are."""
        return ReadSettings(**{name: getattr(self, name) for name in ReadSettings.model_fields})
