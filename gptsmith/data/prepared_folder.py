"""A folder that `gptsmith prepare` wrote, read as the text that it was made of: lazily, and checked as it is read."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.errors import ConfigurationError, DataError, UserError, shown
from gptsmith.base.files import read_json, read_table
from gptsmith.base.layers import paths as paths_of
from gptsmith.data.cache import MANIFEST
from gptsmith.data.corpus import Corpus
from gptsmith.data.corpus_build import DOCUMENT, TABLE_FILE, TEXT_FILE, FileRecord
from gptsmith.data.prepared_files import PreparedFiles, is_prepared, require_prepared
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.store.objects import is_remote
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import TokenizerSettings

TOKENS, TOKENIZER, SUMMARY = "tokens", "tokenizer", "summary.json"
CORPORA = {"train": "text", "validation": "validation_text"}
"""The folders of the training text and of validation files."""
PIECE_BYTES = 1 << 25
"""Of text in one file."""


def piece_name(number: int) -> str:
    """The name of a file with a part of the text."""
    stem, ending = TEXT_FILE.split(".")
    return f"{stem}-{number:05d}.{ending}"


def prepared_folder(sources: Sequence[str | Path]) -> PreparedFolder | None:
    """The prepared folder that a person named as the text; None if the sources are texts.

    Raises:
        UserError: it is named beside other sources, cannot be read, or is not whole.
    """
    found = [source for source in sources if is_prepared(source)]
    if found and len(sources) > 1:
        if is_remote(found[0]):
            require_prepared(str(found[0]))
        raise DataError(f"{found[0]} is a prepared text, and is trained on alone: leave the other sources out")
    return PreparedFolder(found[0]) if found else None


class PreparedFolder:
    """A prepared text.

    Attributes:
        files: its files.
    """

    def __init__(self, place: str | Path) -> None:
        """
        Raises:
            UserError: as `PreparedFiles` does.
        """
        self.files = PreparedFiles(place)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it was prepared with, by group: data, tokenizer, train."""
        return cast(dict[str, Any], self.files.manifest["settings"])

    @property
    def fingerprint(self) -> str:
        """That of the text, its splits and its tokenizer."""
        return str(self.files.manifest["fingerprint"])

    @cached_property
    def tokenizer(self) -> Tokenizer:
        paths = [self.files.path(name) for name in self.files.names(TOKENIZER)]
        return load_tokenizer(paths[0].parent)

    def summary(self) -> dict[str, Any]:
        """As data.json keeps it."""
        return read_table(self.files.path(SUMMARY), with_names=True)

    def streams(self) -> tuple[TokenStream, TokenStream | None]:
        """The tokens to train on and those to validate on; None for no validation."""
        folder = self.files.path(f"{TOKENS}/{MANIFEST}").parent

        def opened(name: str) -> Path:
            return self.files.path(f"{TOKENS}/{name}")

        train, *others = (TokenStream(folder, name, opened) for name in read_json(folder / MANIFEST)["streams"])
        return train, others[0] if others else None

    def corpora(self) -> tuple[Corpus, Corpus | None]:
        """The text, and that which the validation stream's documents are in."""
        train, validation = (
            _corpus(self.files, folder) if self.files.names(folder) else None for folder in CORPORA.values()
        )
        assert train is not None, "a prepared folder has a text"
        return train, (validation or train) if self.streams()[1] is not None else None

    def require_same(
        self, settings: DataSettings, tokenizer: TokenizerSettings | Tokenizer, others: Sequence[str | Path]
    ) -> None:
        """Checks that nothing else is asked for than what was prepared.

        Args:
            others: files and lists that would change the text.

        Raises:
            ConfigurationError: something is.
        """
        if others:
            raise ConfigurationError(
                f"{self.files.place} is prepared, and {others[0]} would change its text: give it to prepare, or name "
                "the text itself"
            )
        given: dict[str, Any] = {"data": settings.plain()}
        if isinstance(tokenizer, Tokenizer):
            if tokenizer.fingerprint != self.files.manifest["tokenizer"]:
                raise ConfigurationError(
                    f"{self.files.place} was prepared with another tokenizer than this model's: prepare the text with "
                    "--tokenizer RUN"
                )
        elif not self._makes_the_same(tokenizer):
            given["tokenizer"] = tokenizer.plain()
        for group, table in given.items():
            self._require_same(group, table)

    def _makes_the_same(self, settings: TokenizerSettings) -> bool:
        """Whether a tokenizer that is not trained is the one that the text was prepared with, wherever it lies."""
        if settings.learns_from_text or settings.plain() == self.settings["tokenizer"]:
            return settings.plain() == self.settings["tokenizer"]
        return settings.train(list, 0).fingerprint == self.files.manifest["tokenizer"]

    def _require_same(self, group: str, given: dict[str, Any]) -> None:
        prepared = self.settings[group]
        for path in paths_of(given):
            value, before = _at(given, path), _at(prepared, path)
            if value != before and not (path == "vocab_size" and value == self.tokenizer.vocab_size):
                with_what = "without it" if before is None else f"with {shown(before)}"
                raise ConfigurationError(
                    f"{group}.{path}={shown(value)} contradicts {self.files.place}, which was prepared {with_what}: "
                    "leave it out, or prepare the text anew"
                )


def _at(table: dict[str, Any], path: str) -> Any:
    value: Any = table
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


@dataclass(frozen=True)
class PreparedCorpus(Corpus):
    """The documents of a prepared folder, whose text lies in pieces."""

    prepared: PreparedFiles | None = None
    name: str = ""
    """The folder in it."""

    @property
    def table(self) -> np.ndarray:
        path = self._files.path(f"{self.name}/{TABLE_FILE}")
        return np.memmap(path, dtype=DOCUMENT, mode="r") if path.stat().st_size else np.empty(0, DOCUMENT)

    @property
    def num_bytes(self) -> int:
        return int(read_json(self.folder / MANIFEST, with_names=True)["sizes"][TEXT_FILE])

    def open(self) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Pieces(self._files, self.name, self.num_bytes)))

    @property
    def _files(self) -> PreparedFiles:
        assert self.prepared is not None
        return self.prepared


def _corpus(files: PreparedFiles, name: str) -> PreparedCorpus:
    """A text of a prepared folder. What belongs to it lies in the cache, but for the text and its table."""
    folder = private_folder(files.mirror / name)
    for each in files.names(name):
        own = folder / Path(each).name
        if not _is_large(own.name) and (path := files.path(each)) != own and not own.exists():
            shutil.copy(path, own)
    try:
        manifest = read_json(folder / MANIFEST, with_names=True)
        records = [FileRecord(**stored) for stored in manifest["files"]]
        fingerprint = str(manifest["fingerprint"])
    except (KeyError, TypeError):
        raise UserError(f"{files.place}/{name}/{MANIFEST} is damaged: prepare the text anew") from None
    return PreparedCorpus(folder, fingerprint, records, dict(manifest["unopened"]), files.hold, files, name)


def _is_large(name: str) -> bool:
    """Whether a file of a text is fetched only when it is read."""
    return name == TABLE_FILE or name.startswith(f"{TEXT_FILE.split('.')[0]}-")


class _Pieces(io.RawIOBase):
    """The text of a prepared folder as one file, of which a piece is fetched when it is read."""

    def __init__(self, files: PreparedFiles, name: str, num_bytes: int) -> None:
        super().__init__()
        self._files, self._name, self._num_bytes, self._at = files, name, num_bytes, 0
        self._piece: tuple[int, BinaryIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._num_bytes:
            return 0
        number, begin = divmod(self._at, PIECE_BYTES)
        file = self._opened(number)
        file.seek(begin)
        content = file.read(len(buffer))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def _opened(self, number: int) -> BinaryIO:
        if self._piece is None or self._piece[0] != number:
            self._close_piece()
            self._piece = number, self._files.path(f"{self._name}/{piece_name(number)}").open("rb")
        return self._piece[1]

    def _close_piece(self) -> None:
        if self._piece is not None:
            self._piece[1].close()
            self._piece = None

    def close(self) -> None:
        self._close_piece()
        super().close()
