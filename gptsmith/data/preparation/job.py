"""The job of a preparation: what is prepared and how, in a file of the working folder that every step reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.files import read_table, write_json
from gptsmith.base.outside import import_kinds
from gptsmith.data import shards
from gptsmith.data.cache import key_of
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.corpus import HashedFiles
from gptsmith.data.corpus_build import FileRecord
from gptsmith.data.discover import Candidate
from gptsmith.data.prepare import TextFiles
from gptsmith.data.readers import KINDS as READERS
from gptsmith.data.readers import SourceFile
from gptsmith.data.settings import DataSettings
from gptsmith.text.tokenizers import KINDS as TOKENIZERS
from gptsmith.text.tokenizers import TokenizerSettings

JOB = "job.json"
NUM_SHARES, MIN_SHARE_BYTES = 256, 4_000_000
"""A text is divided into so many shares at most, and into none that is smaller."""


@dataclass(frozen=True)
class Job:
    """A preparation.

    Attributes:
        data, tokenizer: the settings, as JSON values.
        seed: that of the split.
        without, redact_passages: lists of what is taken out.
        request: what a person asked for, as the manifest keeps it.
        imports: files whose kinds of reader and tokenizer are known.
        train, validation: the files, as JSON values; no validation if None.
        skipped, validation_skipped: files that are not read, each with its reason.
        note: what there is to say of the splits.
    """

    data: dict[str, Any]
    tokenizer: dict[str, Any]
    seed: int
    without: list[str]
    redact_passages: list[str]
    request: dict[str, Any]
    imports: list[str]
    train: list[dict[str, Any]]
    skipped: dict[str, str]
    validation: list[dict[str, Any]] | None = None
    validation_skipped: dict[str, str] | None = None
    note: str | None = None

    @classmethod
    def of(
        cls,
        files: TextFiles,
        settings: DataSettings,
        tokenizer: TokenizerSettings,
        seed: int,
        *,
        without: Sequence[str | Path],
        redact_passages: Sequence[str | Path],
        request: dict[str, Any],
        imports: Sequence[str | Path],
    ) -> Job:
        """The job of preparing some files."""
        validation = files.validation
        return cls(
            data=settings.plain(),
            tokenizer=tokenizer.plain(),
            seed=seed,
            without=list(map(str, without)),
            redact_passages=list(map(str, redact_passages)),
            request=request,
            imports=list(map(str, imports)),
            train=_plain(files.train),
            skipped=files.train.skipped,
            validation=None if validation is None else _plain(validation),
            validation_skipped=None if validation is None else validation.skipped,
            note=files.note,
        )

    @classmethod
    def read(cls, working: Path) -> Job:
        """The job of a working folder, with its kinds imported."""
        job = cls(**read_table(working / JOB, with_names=True))
        for path in job.imports:
            import_kinds(path)
        return job

    def write(self, working: Path) -> None:
        """Keeps it in the working folder."""
        write_json(working / JOB, asdict(self))

    def key(self) -> str:
        """The same for the same content that is prepared in the same way."""
        files, settings, cleaning = self.files, self.settings.reading, self.cleaning
        return key_of(
            shards.FORMAT_VERSION,
            self.data,
            self.tokenizer,
            self.seed,
            files.train.key(settings, cleaning),
            None if files.validation is None else files.validation.key(settings, cleaning),
        )

    @property
    def settings(self) -> DataSettings:
        return DataSettings.parse(self.data)

    @property
    def tokenizer_settings(self) -> TokenizerSettings:
        return TOKENIZERS.validate(self.tokenizer)

    @property
    def cleaning(self) -> Cleaning:
        return Cleaning.of(self.settings.redact, self.without, self.redact_passages)

    @property
    def files(self) -> TextFiles:
        """The files to read."""
        validation = None
        if self.validation is not None:
            validation = HashedFiles(list(map(_file, self.validation)), dict(self.validation_skipped or {}))
        return TextFiles(HashedFiles(list(map(_file, self.train)), dict(self.skipped)), validation, self.note)

    def files_of(self, share: FileShare) -> list[tuple[Candidate, FileRecord]]:
        """The files of a share alone."""
        files = self.train if share.text == "train" else self.validation or []
        return list(map(_file, files[share.first : share.last]))

    def shares(self) -> list[FileShare]:
        """The files that the tasks of the first step read, one share each."""
        texts = {"train": self.train, "validation": self.validation or []}
        sizes = [file["num_bytes"] for files in texts.values() for file in files]
        most = max(MIN_SHARE_BYTES, -(-sum(sizes) // NUM_SHARES))
        return [
            FileShare(name, first, last)
            for name, files in texts.items()
            for first, last in _runs([file["num_bytes"] for file in files], most)
        ]


@dataclass(frozen=True)
class FileShare:
    """Files `first` to `last` of a text, as one task reads them."""

    text: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """Of the folder that their documents are kept in."""
        return f"{self.text}-{self.first}-{self.last}"


def _runs(sizes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Where to cut things in a row, so that none has much more than `most` bytes."""
    runs, first, num_bytes = [], 0, 0
    for number, size in enumerate(sizes):
        if number > first and num_bytes + size > most:
            runs.append((first, number))
            first, num_bytes = number, 0
        num_bytes += size
    return [*runs, (first, len(sizes))] if len(sizes) > first else runs


def _plain(files: HashedFiles) -> list[dict[str, Any]]:
    return [
        {
            "path": str(candidate.file.path),
            "extension": candidate.file.extension,
            "reader": candidate.reader.kind,
            "named": candidate.named,
            "sha256": record.sha256,
            "num_bytes": record.num_bytes,
        }
        for candidate, record in files.files
    ]


def _file(plain: dict[str, Any]) -> tuple[Candidate, FileRecord]:
    file = SourceFile(Path(plain["path"]), plain["extension"])
    candidate = Candidate(file, READERS.validate(plain["reader"]), plain["named"])
    return candidate, FileRecord(plain["path"], plain["sha256"], plain["num_bytes"])
