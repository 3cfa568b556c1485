"""Settings of reading source files and of splitting them, and the options of every verb that reads text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gptsmith.base.settings import Settings
from gptsmith.base.verbs import not_recorded
from gptsmith.data.readers import ReadSettings


class DataSettings(ReadSettings):
    """How files are read, and split into training and validation."""

    validation_fraction: float = Field(0.1, ge=0, lt=1)
    """The fraction of the text's bytes in the validation split; 0 for none. Not used if validation files are given."""

    validation_max_bytes: int = Field(4_000_000, gt=0)
    """The largest validation split of a large corpus, in bytes: more would hardly make the loss more precise."""

    own_splits: bool = True
    """Whether folders with files called after train and validation or test keep these splits, as data sets of Hugging
    Face have them: what is to validate or to test is never trained on."""

    group_near_duplicates: bool = True
    """Whether documents that are nearly the same are in the same split, so that nothing validates that is trained on in
    other words."""

    num_canaries: int = Field(0, ge=0, le=100_000)
    """Made-up sentences to plant in plain text before training, or questions with answers among conversations, half of
    them once, the others 4 or 16 times, to measure afterwards what the model keeps of what it reads. Files stay as they
    are."""

    @property
    def reading(self) -> ReadSettings:
        """The settings that change what a file's documents are."""
        return ReadSettings(**{name: getattr(self, name) for name in ReadSettings.model_fields})


class ReadingOptions(Settings):
    """The options of every verb that reads text: settings of `data` under names of their own."""

    encoding: SkipJsonSchema[str | None] = not_recorded()
    """Encoding of files that are not UTF-8: cp1252."""
    encoding_errors: SkipJsonSchema[Literal["strict", "replace"] | None] = not_recorded()
    """Bytes not in the encoding: strict or replace."""

    def reading_settings(self) -> dict[str, str]:
        """The settings that were given."""
        return {name: value for name in ReadingOptions.model_fields if (value := getattr(self, name)) is not None}
