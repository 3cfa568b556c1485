"""Sources to token streams: corpus, splits, tokenizer and shards, each taken from the cache if it is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gptsmith.text
from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.console import meter as console_meter
from gptsmith.base.files import PlaceTakenError, published_folder, read_json
from gptsmith.base.versions import library_version, source_sha256
from gptsmith.data import shards
from gptsmith.data.cache import MANIFEST, key_of, mark_used
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.care.near_duplicates import near_duplicates
from gptsmith.data.care.planting import canary_summary, planted
from gptsmith.data.corpus import Corpus, HashedFiles, MeterFactory, hashed_files, kept_corpus, read_corpus
from gptsmith.data.corpus_build import CorpusBuild
from gptsmith.data.discover import discover
from gptsmith.data.folder_splits import FoundSplits, found_splits
from gptsmith.data.prepared_folder import PreparedFolder, prepared_folder
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream, opened_shards, write_shards
from gptsmith.data.splits import Split, Splits, split_corpus
from gptsmith.data.summary import text_summary, with_streams
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import TokenizerSettings


@dataclass(frozen=True)
class PreparedData:
    """The data of a training run, and the summary of it that the run folder keeps."""

    train: TokenStream
    validation: TokenStream | None
    tokenizer: Tokenizer
    corpus: Corpus
    """With the canaries in it, if any are planted."""

    validation_corpus: Corpus | None
    """The corpus that the validation stream's documents are in: `corpus`, unless validation files were given."""

    summary: dict[str, Any]
    """JSON values: counts, the split, every file with its SHA-256, and what was skipped and why."""

    fingerprint: str
    """The same for the same text, splits and tokenizer."""


def prepare(
    sources: Iterable[str | Path],
    *,
    settings: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    validation: Iterable[str | Path] = (),
    without: Iterable[str | Path] = (),
    redact_passages: Iterable[str | Path] = (),
    seed: int,
    cache: Path | None = None,
    meter: MeterFactory = console_meter,
) -> PreparedData:
    """Token streams of files, folders and globs, and the tokenizer: one trained on the training split, or one given. If
    the source is a folder that `gptsmith prepare` wrote, they are those that it holds.

    Args:
        without: lists of documents to leave out.
        redact_passages: lists of passages to replace by placeholders.

    Raises:
        UserError: a source or a list cannot be read, a split is too small, or the disk is full.
    """
    paths = list(sources)
    if (folder := prepared_folder(paths)) is not None:
        folder.require_same(settings, tokenizer, [*validation, *without, *redact_passages])
        return _of_folder(folder, tokenizer)
    cache = private_folder(cache or default_cache())
    cleaning = Cleaning.of(settings.redact, without, redact_passages)
    files = text_files(paths, settings, list(validation), meter)
    text = prepare_text(files, settings, tokenizer, cleaning, seed, cache, meter)
    splits, tokenizer = text.splits, text.tokenizer
    train, validating = write_shards(private_folder(cache / "tokens") / text.key, splits, tokenizer, meter)
    return PreparedData(
        train=train,
        validation=validating,
        tokenizer=tokenizer,
        corpus=splits.train.corpus,
        validation_corpus=None if splits.validation is None else splits.validation.corpus,
        summary=with_streams(text.summary, train, validating),
        fingerprint=text.key,
    )


def _of_folder(folder: PreparedFolder, tokenizer: TokenizerSettings | Tokenizer) -> PreparedData:
    """The data in a folder that `gptsmith prepare` wrote."""
    train, validation = folder.streams()
    corpus, validation_corpus = folder.corpora()
    return PreparedData(
        train=train,
        validation=validation,
        tokenizer=tokenizer if isinstance(tokenizer, Tokenizer) else folder.tokenizer,
        corpus=corpus,
        validation_corpus=validation_corpus,
        summary=folder.summary(),
        fingerprint=folder.fingerprint,
    )


@dataclass(frozen=True)
class TextFiles:
    """The files of a text, with their hashes."""

    train: HashedFiles
    validation: HashedFiles | None = None
    """Files of their own that validate."""

    note: str | None = None
    """A line for a person, where a folder has splits of its own."""


def text_files(
    sources: Iterable[str | Path],
    settings: DataSettings,
    validation: Sequence[str | Path] = (),
    meter: MeterFactory = console_meter,
) -> TextFiles:
    """The files that sources stand for.

    Raises:
        DataError: a source cannot be read, or there is nothing to read.
    """
    found = (
        found_splits(sources, validates=not validation and settings.validation_fraction > 0)
        if settings.own_splits
        else FoundSplits(discover(sources))
    )
    held_out = discover(validation) if validation else found.validation
    return TextFiles(
        hashed_files(found.train, meter), None if held_out is None else hashed_files(held_out, meter), found.note
    )


@dataclass(frozen=True)
class PreparedText:
    """A text that is ready to be encoded.

    Attributes:
        key: the fingerprint of the text, its splits and its tokenizer.
        summary: the summary of the text, without the sizes of its token streams.
    """

    splits: Splits
    tokenizer: Tokenizer
    key: str
    summary: dict[str, Any]


def prepare_text(
    files: TextFiles,
    settings: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    cleaning: Cleaning,
    seed: int,
    cache: Path,
    meter: MeterFactory = console_meter,
    build: Callable[..., CorpusBuild] = CorpusBuild,
) -> PreparedText:
    """The splits of the text in some files, and the tokenizer.

    Args:
        build: writes a corpus (see `read_corpus`).

    Raises:
        UserError: a file cannot be read, a split is too small, or the disk is full.
    """
    corpus = read_corpus(files.train, settings, cache, meter, cleaning, build)
    held_out = files.validation
    validation_corpus = None if held_out is None else read_corpus(held_out, settings, cache, meter, cleaning, build)
    cleaning.require_found()
    is_grouped = settings.group_near_duplicates and validation_corpus is None and settings.validation_fraction > 0
    groups = near_duplicates([corpus], cache, meter) if is_grouped else None
    splits = split_corpus(corpus, settings, seed, validation_corpus, None if groups is None else groups.group_of)
    if settings.num_canaries:
        splits = planted(splits, settings.num_canaries, seed, cache)
        corpus = splits.train.corpus
    notes = [note for note in (files.note, None if groups is None else groups.note) if note is not None]
    if isinstance(tokenizer, TokenizerSettings):
        tokenizer = _trained(tokenizer, splits.train, cache)
    held_back = None if splits.validation is None else splits.validation.fingerprint
    key = key_of(shards.FORMAT_VERSION, shards.SHARD_TOKENS, splits.train.fingerprint, held_back, tokenizer.fingerprint)
    figures = {**text_summary(corpus, validation_corpus, splits, key, notes), **canary_summary(corpus)}
    return PreparedText(splits, tokenizer, key, figures)


@dataclass(frozen=True)
class KeptData:
    """The data of a training run as far as the cache has it, whatever has become of its files."""

    train: TokenStream
    validation: TokenStream | None
    corpus: Corpus
    """With the names that its files had when it was made."""


def kept_data(fingerprint: str, cache: Path | None = None) -> KeptData | None:
    """The data of that fingerprint, if the cache still has its tokens and its text."""
    cache = cache or default_cache()
    folder = cache / "tokens" / fingerprint
    if not fingerprint.isalnum() or not shards.is_whole(folder):
        return None
    corpus = kept_corpus(cache / "corpora" / str(read_json(folder / MANIFEST).get("corpus")))
    if corpus is None:
        return None
    for used in (folder, corpus.folder):
        mark_used(used)
    return KeptData(*opened_shards(folder), corpus)


def _trained(settings: TokenizerSettings, split: Split, cache: Path) -> Tokenizer:
    """The tokenizer that the settings make of the training split, from the cache if it is there and sound."""
    made_by = [source_sha256(gptsmith.text), library_version("tokenizers", "tokenizers")]
    target = private_folder(cache / "tokenizers") / key_of(split.fingerprint, settings.plain(), made_by)
    if target.exists():
        try:
            mark_used(target)
            return load_tokenizer(target)
        except (ValueError, KeyError, OSError):
            shutil.rmtree(target, ignore_errors=True)
    learned = False

    def texts() -> Iterator[str]:
        nonlocal learned
        learned = True
        for chunk in split.chunks():
            yield chunk.text
            if chunk.last:
                yield ""

    tokenizer = settings.train(texts, split.num_bytes)
    # A tokenizer that read no text came from files that may change while their names stay: it is not kept.
    if learned:
        with suppress(PlaceTakenError), published_folder(target, private=True) as folder:
            tokenizer.save(folder)
    return tokenizer
