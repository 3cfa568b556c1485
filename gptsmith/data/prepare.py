"""Sources to token streams: corpus, split, tokenizer and tokens, each taken from the cache where it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.console import meter as console_meter
from gptsmith.base.files import published_folder
from gptsmith.data import shards as tokens
from gptsmith.data.cache import default_cache, key_of, private_folder
from gptsmith.data.corpus import Corpus, MeterFactory, read_corpus
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream, write_tokens
from gptsmith.data.splits import Part, Split, split_corpus
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import TokenizerSettings


@dataclass(frozen=True)
class PreparedData:
    """What training needs of the data, and what the run folder keeps of it."""

    train: TokenStream
    validation: TokenStream | None
    tokenizer: Tokenizer
    corpus: Corpus
    validation_corpus: Corpus | None
    """The corpus that the validation stream's documents are in: `corpus`, unless validation files were given."""

    summary: dict[str, Any]
    """JSON values: counts, the split, every file with its SHA-256, and what was skipped and why."""

    fingerprint: str
    """The same for the same text, split and tokenizer."""


def prepare(
    sources: Iterable[str | Path],
    *,
    settings: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    validation: Iterable[str | Path] = (),
    seed: int,
    cache: Path | None = None,
    meter: MeterFactory = console_meter,
) -> PreparedData:
    """Token streams of files, folders and globs, and the tokenizer: one trained on the training part, or one given.

    Raises:
        UserError: a source cannot be read, a part of the split is too small, or the disk is full.
    """
    cache = private_folder(cache or default_cache())
    validation = list(validation)
    corpus = read_corpus(sources, settings, cache, meter)
    validation_corpus = read_corpus(validation, settings, cache, meter) if validation else None
    split = split_corpus(corpus, settings, seed, validation_corpus)
    split_key = _split_key(split, settings, seed, validation_corpus)
    if isinstance(tokenizer, TokenizerSettings):
        tokenizer = _trained(tokenizer, split.train, cache, split_key)
    key = key_of(tokens.FORMAT_VERSION, tokens.SHARD_TOKENS, split_key, tokenizer.fingerprint)
    train, validating = write_tokens(private_folder(cache / "tokens") / key, split, tokenizer, meter)
    return PreparedData(
        train=train,
        validation=validating,
        tokenizer=tokenizer,
        corpus=corpus,
        validation_corpus=None if split.validation is None else split.validation.corpus,
        summary=_summary(corpus, validation_corpus, split, train, validating, key),
        fingerprint=key,
    )


def _split_key(split: Split, settings: DataSettings, seed: int, validation: Corpus | None) -> str:
    """The same for the same parts; what did not decide the split is left out."""
    share = [settings.validation_share, settings.validation_max_bytes]
    decided_by = {
        "none": [],
        "files": [validation.key if validation else None],
        "position": share,
        "document": [*share, seed],
    }
    return key_of(split.train.corpus.key, split.by, decided_by[split.by])


def _trained(settings: TokenizerSettings, part: Part, cache: Path, split_key: str) -> Tokenizer:
    """The tokenizer that the settings make of the training part, from the cache where it is there and sound."""
    target = private_folder(cache / "tokenizers") / key_of(split_key, settings.plain())
    if target.exists():
        try:
            return load_tokenizer(target)
        except (ValueError, KeyError, OSError):
            shutil.rmtree(target, ignore_errors=True)
    learned = False

    def texts() -> Iterator[str]:
        nonlocal learned
        learned = True
        return (piece.text for piece in part.pieces())

    tokenizer = settings.train(texts, part.num_bytes)
    # One that asked for no text came from files that may change while their names stay: it is not kept.
    if learned:
        try:
            with published_folder(target) as folder:
                tokenizer.save(folder)
        except OSError:
            if not target.exists():  # it does where another process was faster
                raise
    return tokenizer


def _summary(
    corpus: Corpus,
    validation_corpus: Corpus | None,
    split: Split,
    train: TokenStream,
    validation: TokenStream | None,
    key: str,
) -> dict[str, Any]:
    summary = {
        **corpus.summary,
        "corpus": corpus.key,
        "fingerprint": key,
        "split_by": split.by,
        "train": _figures(train),
    }
    if validation is not None:
        summary["validation"] = _figures(validation)
    if validation_corpus is not None:
        summary["validation_sources"] = {
            **validation_corpus.summary,
            "num_dropped_because_they_train": split.num_dropped,
        }
    return summary


def _figures(stream: TokenStream) -> dict[str, int]:
    return {
        "num_tokens": len(stream),
        "num_documents": len(stream.document_ends),
        "num_bytes": stream.num_bytes,
    }
