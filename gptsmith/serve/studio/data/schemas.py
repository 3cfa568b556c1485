"""The bodies of requests about data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptsmith.serve.chat.schemas.common import Schema

MAX_FILES = 2000
Name = Annotated[str, Field(max_length=1000)]
Path = Annotated[str, Field(max_length=10_000)]
Size = Annotated[int, Field(ge=0, le=2**53)]


class NewCollection(Schema):
    """A collection to make: empty, or of a folder or file that is there."""

    name: Name
    path: Path | None = None


class Rename(Schema):
    """A new name of a collection."""

    name: Name
    new_name: Name


class Named(Schema):
    """A collection."""

    name: Name


class FileToUpload(Schema):
    """A file as a browser describes it."""

    path: Path
    num_bytes: Size
    modified_ms: Annotated[int, Field(ge=-(2**53), le=2**53)]


class BeginUpload(Schema):
    """Files to upload. `num_bytes` are those of all that follow, too."""

    name: Name
    files: Annotated[list[FileToUpload], Field(max_length=MAX_FILES)]
    num_bytes: Size


class CancelUpload(Schema):
    """An upload to throw away."""

    name: Name
    upload: Name


class DeleteFiles(Schema):
    """Uploaded files to delete, by their paths in the collection."""

    name: Name
    paths: Annotated[list[Path], Field(max_length=MAX_FILES)]


class Exclude(Schema):
    """A document to leave out."""

    name: Name
    document: Name


class ExcludeKind(Schema):
    """All documents with findings of a kind to leave out."""

    name: Name
    kind: Name


class EditDocument(Schema):
    """What is to stand in the place of a document: a text, or a record as JSON."""

    name: Name
    document: Name
    text: str


class MakePairs(Schema):
    """Questions and answers that a model is to make of a collection."""

    name: Name
    model: Path
    limit: Annotated[int, Field(gt=0, le=100_000)]
    """The most passages that are asked about."""
    made: Name
    """What their collection is to be called."""


class Redact(Schema):
    """Whether findings are replaced by placeholders."""

    name: Name
    is_on: bool


class Undo(Schema):
    """A change to take back."""

    name: Name
    number: Size
