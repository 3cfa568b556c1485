"""The four steps of a preparation, as datatrove runs them."""

from __future__ import annotations

import os
import traceback
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.console import hushed, meter
from gptsmith.base.errors import GptsmithError
from gptsmith.base.files import read_table, write_json
from gptsmith.data.cache import built_once
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.corpus import Corpus, is_whole
from gptsmith.data.corpus_build import CorpusBuild, FileRecord
from gptsmith.data.discover import Candidate
from gptsmith.data.preparation.encoded import EncodedShares, TextShare, encode_share, text_shares
from gptsmith.data.preparation.job import FileShare, Job
from gptsmith.data.preparation.parts import JoinedBuild, PartBuild
from gptsmith.data.preparation.place import write_place
from gptsmith.data.prepare import prepare_text
from gptsmith.data.readers import ReadSettings
from gptsmith.data.shards import token_dtype, write_shards
from gptsmith.data.splits import Split, Splits
from gptsmith.text.load import load_tokenizer
from gptsmith.text.tokenizer import Tokenizer

TEXT = "text.json"
"""What the second step tells those after it."""
PARTS, CACHE, ENCODED, SPLITS, TOKENIZER, PLACE = "parts", "cache", "encoded", "splits", "tokenizer", "place"
ERRORS, WORKERS = "errors", "workers"
"""The folders in which tasks say why they failed, and which processes work on each step."""


class TaskFailedError(RuntimeError):
    """A task failed, and has written why."""


@dataclass(frozen=True)
class Step:
    """One step of a preparation.

    Attributes:
        working: the working folder.
    """

    name: ClassVar[str]
    working: str

    @property
    @abstractmethod
    def num_tasks(self) -> int:
        """How many tasks it has, known when the step before it is done."""

    @abstractmethod
    def run(self, rank: int) -> None:
        """Do one of its tasks, unless it is done."""

    def __call__(self, documents: Iterable[Any] | None, rank: int = 0, world: int = 1) -> Iterable[Any]:
        """One of its tasks. The documents lie in the working folder: none go in, none come out."""
        with self._noted(rank), hushed():
            self.run(rank)
        return ()

    @property
    def folder(self) -> Path:
        return Path(self.working)

    @contextmanager
    def _noted(self, rank: int) -> Iterator[None]:
        """Notes that this process works on the step, and why a task fails if it does."""
        name = f"{self.name}-{rank}.json"
        (private_folder(self.folder / WORKERS / self.name) / str(os.getpid())).touch()
        try:
            yield
        except Exception as error:
            is_for_people = isinstance(error, GptsmithError | OSError)
            told = {"error": str(error), "trace": "" if is_for_people else traceback.format_exc()}
            write_json(private_folder(self.folder / ERRORS) / name, told)
            raise TaskFailedError(name) from None


class ReadFiles(Step):
    """Files to documents, each task a share of the files."""

    name = "read"

    @property
    def num_tasks(self) -> int:
        return len(Job.read(self.folder).shares())

    def run(self, rank: int) -> None:
        job = _job(self.folder)
        share = job.shares()[rank]
        with built_once(private_folder(self.folder / PARTS) / share.name, is_whole) as working:
            if working is not None:
                with meter(self.name, 1) as bar:
                    PartBuild(working, job.files_of(share), job.settings.reading, job.cleaning).run(bar)


class JoinTexts(Step):
    """Documents to a text without duplicates, its splits and its tokenizer: one task."""

    name = "join"
    num_tasks = 1

    def run(self, rank: int) -> None:
        if (self.folder / TEXT).is_file():
            return
        job, cache = Job.read(self.folder), private_folder(self.folder / CACHE)
        text = prepare_text(
            job.files,
            job.settings,
            job.tokenizer_settings,
            job.cleaning,
            job.seed,
            cache,
            build=_Builds(self.folder, job),
        )
        text.tokenizer.save(private_folder(self.folder / TOKENIZER))
        by_name = {"train": text.splits.train} | (
            {"validation": text.splits.validation} if text.splits.validation is not None else {}
        )
        folder = private_folder(self.folder / SPLITS)
        for name, split in by_name.items():
            np.save(folder / f"{name}.npy", np.stack([split.documents, split.starts, split.stops]), allow_pickle=False)
        write_json(
            self.folder / TEXT,
            {
                "key": text.key,
                "summary": text.summary,
                "corpora": {name: str(split.corpus.folder) for name, split in by_name.items()},
                "fingerprints": {name: split.corpus.fingerprint for name, split in by_name.items()},
                "unopened": {name: split.corpus.unopened for name, split in by_name.items()},
                "shares": [asdict(share) for share in text_shares(by_name)],
                "split": {"by": text.splits.by, "num_duplicates": text.splits.num_duplicates},
            },
        )


class _Builds:
    """Builds a corpus from the parts that were read of its files."""

    def __init__(self, working: Path, job: Job) -> None:
        self._working, self._shares, self._train = working, job.shares(), job.train

    def __call__(
        self, folder: Path, hashed: list[tuple[Candidate, FileRecord]], settings: ReadSettings, cleaning: Cleaning
    ) -> CorpusBuild:
        is_train = [record.sha256 for _, record in hashed] == [file["sha256"] for file in self._train]
        name = "train" if is_train else "validation"
        parts = [(share.first, self._part(share)) for share in self._shares if share.text == name]
        return JoinedBuild(folder, hashed, settings, cleaning, parts)

    def _part(self, share: FileShare) -> Path:
        return self._working / PARTS / share.name


class EncodeTexts(Step):
    """Texts to tokens, each task a share of the text."""

    name = "encode"

    @property
    def num_tasks(self) -> int:
        return len(read_table(self.folder / TEXT, with_names=True)["shares"])

    def run(self, rank: int) -> None:
        text = _text(self.folder)
        share = text.shares[rank]
        encode_share(private_folder(self.folder / ENCODED), share, text.splits[share.split], text.tokenizer)


class JoinTokens(Step):
    """Tokens to shards, and everything to a folder that is ready to be published: one task."""

    name = "finish"
    num_tasks = 1

    def run(self, rank: int) -> None:
        job, text = Job.read(self.folder), _text(self.folder)
        splits, table = text.splits, text.table
        encoded = EncodedShares(self.folder / ENCODED, text.shares, token_dtype(text.tokenizer.vocab_size))
        whole = Splits(splits["train"], splits.get("validation"), **table["split"])
        tokens = private_folder(self.folder / CACHE / "tokens") / table["key"]
        streams = write_shards(tokens, whole, text.tokenizer, encoded=encoded)
        write_place(self.folder / PLACE, job, table, whole, streams, self.folder / TOKENIZER)


STEPS: tuple[type[Step], ...] = (ReadFiles, JoinTexts, EncodeTexts, JoinTokens)


@dataclass(frozen=True)
class _Text:
    """What the second step made, as it is read by those after it."""

    table: dict[str, Any]
    splits: dict[str, Split]
    shares: list[TextShare]
    tokenizer: Tokenizer


@lru_cache(maxsize=1)
def _job(working: Path) -> Job:
    return Job.read(working)


@lru_cache(maxsize=1)
def _text(working: Path) -> _Text:
    table = read_table(working / TEXT, with_names=True)
    splits = {}
    for name, folder in table["corpora"].items():
        corpus = Corpus(Path(folder), table["fingerprints"][name], [], table["unopened"][name])
        splits[name] = Split(corpus, *np.load(working / SPLITS / f"{name}.npy", mmap_mode="r", allow_pickle=False))
    shares = [TextShare(**share) for share in table["shares"]]
    return _Text(table, splits, shares, load_tokenizer(working / TOKENIZER))
