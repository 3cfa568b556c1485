"""Whether what a private run begins with has read the private data already, or what it is judged by is of them: then
its noise hides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.console import note
from gptsmith.base.errors import ConfigurationError, UserError
from gptsmith.base.files import sha256_of
from gptsmith.convert.open import OpenedModel, is_model, open_model
from gptsmith.data.corpus import Corpus
from gptsmith.data.discover import discover
from gptsmith.data.prepare import kept_data
from gptsmith.run.lineage import Origin

READ = ("sources", "validation", "test")
"""What a request names of the files that a run reads."""
CALIBRATED_ON = "text"
"""The same of the request of a derived run."""


def require_unread(run: str | Path, sources: Iterable[str | Path], corpus: Corpus | None = None) -> None:
    """Checks that neither a model, nor any that it was made of, has read a file of the private data, or a document.

    Args:
        run: the model that weights or a tokenizer are taken from.
        sources: the files of the private data.
        corpus: its documents, where it is plain text.

    Raises:
        ConfigurationError: one has. What has been moved or changed since it was read is looked for as far as it can be.
    """
    private = _hashed(sources)
    documents = set() if corpus is None else _documents(corpus)
    for earlier in _made_of(run):
        read = _files(earlier)
        path = next((private[sha256] for sha256 in read if sha256 in private), None)
        if path is not None:
            what = str(path)
        elif count := len(documents & _documents_of(earlier)):
            what = f"{count:,} of these documents"
        else:
            continue
        raise ConfigurationError(
            f"{earlier.folder} has read {what} already, which the epsilon of this run would not count: begin with a "
            "base and a tokenizer that have not, or give other data"
        )


def require_apart(sources: Iterable[str | Path], held_out: Sequence[str | Path]) -> None:
    """Checks that no file to validate or test on is one of the private data.

    Raises:
        ConfigurationError: one is.
    """
    private = _hashed(sources)
    for sha256, path in _hashed(held_out).items():
        if sha256 in private:
            raise ConfigurationError(
                f"{path} is private data itself ({private[sha256]}), and every figure of it would give some of it "
                "away: name public files by --validation and --test"
            )


def tokenizer_folder(path: str | Path) -> Path:
    """The folder of a tokenizer that is named by it or by its file."""
    return Path(path).parent if Path(path).suffix == ".json" else Path(path)


def _made_of(path: str | Path) -> Iterator[OpenedModel]:
    """A model and all that it was made of, as far as they are here: bases, teachers, and those whose tokenizers they
    have."""
    waiting, seen = [str(path)], set[Path]()
    while waiting:
        path = Path(waiting.pop()).resolve()
        if path in seen or not is_model(path):  # of another program's tokenizer nothing is known
            continue
        seen.add(path)
        run = open_model(path, by_hash=False)
        yield run
        for origin in run.lineage():
            waiting += _located(run, _named_by(origin))


def _named_by(origin: Origin) -> list[str]:
    """The models that a step of a lineage names."""
    teacher = _table(_table(origin.settings, "train"), "objective").get("teacher")
    tokenizer = _table(origin.settings, "tokenizer").get("path")
    named = [origin.base, teacher, tokenizer and str(tokenizer_folder(tokenizer))]
    return [path for path in named if path]


def _located(run: OpenedModel, paths: Iterable[str]) -> list[str]:
    """Those of the paths that a run names that are still there."""
    found = []
    for path in paths:
        try:
            found.append(run.paths.located(path))
        except UserError as error:
            note(f"whether that was private is not known: {error}", "yellow")
    return found


def _files(run: OpenedModel) -> set[str]:
    """The SHA-256 of each file that a run read: those that it has recorded, or else, of examples, as they are now; and
    those that a smaller model was calibrated or healed on."""
    data = _data(run)
    recorded = {**data.get("files", {}), **data.get("validation_sources", {}).get("files", {})}
    names = (CALIBRATED_ON,) if recorded else (*READ, CALIBRATED_ON)
    named = [path for origin in run.lineage() for name in names for path in origin.request.get(name, [])]
    return set(recorded.values()) | set(_hashed(_located(run, named)))


def _hashed(sources: Iterable[str | Path]) -> dict[str, Path]:
    """The files of some sources, by their SHA-256."""
    given = list(sources)
    return {sha256_of(each.file.path): each.file.path for each in discover(given).candidates} if given else {}


def _documents(corpus: Corpus) -> set[bytes]:
    """The SHA-256 of each document."""
    return {sha256.tobytes() for sha256 in corpus.table["sha256"]}


def _documents_of(run: OpenedModel) -> set[bytes]:
    """The same of the documents that a run read; none if the cache no longer has them."""
    kept = kept_data(str(_data(run).get("fingerprint", "")))
    return set() if kept is None else _documents(kept.corpus)


def _data(run: OpenedModel) -> dict[str, Any]:
    try:
        return run.data()
    except UserError:  # it was trained elsewhere
        return {}


def _table(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = settings.get(name, {})
    return found if isinstance(found, Mapping) else {}
