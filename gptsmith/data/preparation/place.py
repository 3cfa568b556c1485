"""The folder that a preparation makes: token shards, text, tokenizer and, last, the manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptsmith.base.files import read_json, sha256_of, write_json
from gptsmith.data.cache import MANIFEST
from gptsmith.data.care import brief_audit
from gptsmith.data.corpus import Corpus, kept_corpus
from gptsmith.data.corpus_build import TABLE_FILE, TEXT_FILE
from gptsmith.data.preparation.job import Job
from gptsmith.data.prepared_files import FORMAT_VERSION, PREPARED
from gptsmith.data.prepared_folder import CORPORA, PIECE_BYTES, SUMMARY, TOKENIZER, TOKENS, piece_name
from gptsmith.data.shards import TokenStream
from gptsmith.data.splits import Splits
from gptsmith.data.summary import with_streams
from gptsmith.version import __version__


def write_place(
    folder: Path,
    job: Job,
    text: Mapping[str, Any],
    splits: Splits,
    streams: tuple[TokenStream, TokenStream | None],
    tokenizer: Path,
) -> None:
    """Writes the folder anew.

    Args:
        text: the key and the summary of the text.
        tokenizer: the folder of the tokenizer.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for source, name in ((streams[0].folder, TOKENS), (tokenizer, TOKENIZER)):
        (folder / name).mkdir(parents=True)
        for path in sorted(source.iterdir()):
            _link(path, folder / name / path.name)
    _write_corpus(folder / CORPORA["train"], splits.train.corpus)
    if splits.validation is not None and splits.validation.corpus.folder != splits.train.corpus.folder:
        _write_corpus(folder / CORPORA["validation"], splits.validation.corpus)
    write_json(folder / SUMMARY, with_streams(text["summary"], *streams))
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    write_json(
        folder / PREPARED,
        {
            "format_version": FORMAT_VERSION,
            "gptsmith": __version__,
            "made_from": job.key(),
            "request": job.request,
            "settings": {"data": job.data, "tokenizer": job.tokenizer, "train": {"seed": job.seed}},
            "fingerprint": text["key"],
            "tokenizer": read_json(folder / TOKENS / MANIFEST)["tokenizer"],
            "files": {
                name: {"num_bytes": files[name].stat().st_size, "sha256": sha256_of(files[name])}
                for name in sorted(files)
            },
        },
    )


def _write_corpus(folder: Path, corpus: Corpus) -> None:
    """The text of a corpus in pieces, and all that lies beside it."""
    folder.mkdir()
    whole = kept_corpus(corpus.folder)
    assert whole is not None, "it was written a step before"
    brief_audit.of_corpus(whole)
    for path in sorted(corpus.folder.iterdir()):
        if path.name not in (TEXT_FILE, MANIFEST):
            _link(path, folder / path.name)
    table = read_json(corpus.folder / MANIFEST, with_names=True)
    write_json(folder / MANIFEST, {**table, "fingerprint": corpus.fingerprint, "unopened": corpus.unopened})
    with corpus.open() as file:
        number = 0
        while piece := file.read(PIECE_BYTES):
            (folder / piece_name(number)).write_bytes(piece)
            number += 1
    assert (folder / TABLE_FILE).is_file()


def _link(path: Path, target: Path) -> None:
    """The file under a second name; where the disk has no links, its copy."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)
