"""The files of a run that hold tables: what the program relies on in each, checked because anybody may have written it.
No torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gptsmith.base.documents import Document


class RequestDocument(Document):
    """The request in a run.toml."""

    sources: list[str] = Field(default_factory=list)
    validation: list[str] = Field(default_factory=list)
    test: list[str] = Field(default_factory=list)
    settings: list[str] = Field(default_factory=list)
    base: str | None = None
    folder: str | None = None
    model_type: str | None = None


class TrainDocument(Document):
    """The table `train` of a run.toml."""

    dtype: str = "auto"
    objective: dict[str, Any] = Field(default_factory=dict)


class SettingsDocument(Document):
    """A run.toml. That of a run that was derived from another holds the other's."""

    made_by: str = ""
    request: RequestDocument = RequestDocument()
    model: dict[str, Any] = Field(default_factory=dict)
    train: TrainDocument | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    source: SettingsDocument | None = None


class ResultDocument(Document):
    """A result.json."""

    status: str
    run: str = ""
    made_from: str = ""
    step: int | None = Field(default=None, ge=0)
    num_parameters: int | None = Field(default=None, ge=0)
    validation_loss: float | None = None
    bits_per_byte: float | None = None
    seconds: float | None = None


class FileRecord(Document):
    """What a manifest records of a file."""

    bytes: int
    sha256: str


class FrozenDocument(Document):
    """A checkpoint's frozen.json."""

    files: dict[str, FileRecord]


class PartRecord(Document):
    """The place of a tensor in a whole one of a `shape`, which is divided along `dim`: it begins at `start`."""

    shape: list[int]
    dim: int = Field(ge=0)
    start: int = Field(ge=0)


class PartsDocument(Document):
    """What the metadata of a file of tensors say of the parts in it."""

    parts: dict[str, PartRecord]


class ManifestDocument(Document):
    """The manifest of a checkpoint."""

    format_version: int
    files: dict[str, FileRecord]


class ReplanRecord(Document):
    """One time that the rest of a run was planned again."""

    step: int | None = None


class PlanDocument(Document):
    """A plan.json."""

    predicted: dict[str, Any] = Field(default_factory=dict)
    corpus: dict[str, Any] | None = None
    replanned: list[ReplanRecord] | None = None
    actual: dict[str, Any] | None = None
    budget_seconds: float | None = None


class DataDocument(Document):
    """A data.json."""

    fingerprint: str = ""
    files: dict[Any, Any] = Field(default_factory=dict)
    skipped: dict[Any, Any] | None = None
    fields: dict[Any, dict[str, Any]] = Field(default_factory=dict)
    text_fields: dict[Any, list[Any]] | None = None
    example_prompts: list[str] = Field(default_factory=list)
