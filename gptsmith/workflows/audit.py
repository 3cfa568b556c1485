"""An audit of texts before a model learns from them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.console import meter
from gptsmith.base.errors import ConfigurationError, UserError, did_you_mean, shown
from gptsmith.base.files import readable_bytes, write_atomically
from gptsmith.base.json_text import json_text
from gptsmith.base.verbs import verb
from gptsmith.data.care.audit_page import audit_page
from gptsmith.data.care.duplicates import TRAIN, duplicates
from gptsmith.data.care.finders import KINDS, FinderSettings, kinds_by_form
from gptsmith.data.care.finders.name import NameSettings
from gptsmith.data.care.findings import all_finders
from gptsmith.data.care.left_out import name_of
from gptsmith.data.care.lists import names_in
from gptsmith.data.care.near_duplicates import Documents, near_duplicates
from gptsmith.data.care.near_examples import near_examples
from gptsmith.data.care.placed_findings import PlacedFinding, findings_of
from gptsmith.data.care.quality import quality
from gptsmith.data.care.repeated_passages import MAX_BYTES, MIN_BYTES, placed_passages, repeated_passages
from gptsmith.data.corpus import Corpus, read_corpus
from gptsmith.data.discover import require_apart
from gptsmith.data.examples import ExampleReading, read_examples, read_shape
from gptsmith.data.folder_splits import found_splits
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes import TEXT
from gptsmith.run.folder import SETTINGS
from gptsmith.store.objects import is_remote
from gptsmith.workflows.requests import AuditRequest


@verb(AuditRequest, "sources")
def audit(request: AuditRequest) -> dict[str, Any]:
    """What in texts should perhaps not go into a model: data of persons and secrets, by their form and their check
    digits, and documents that are there more than once. Nothing is changed. Of a run, what it can recite of the texts
    that it learnt from.

    Returns:
        of a run, what `gptsmith.workflows.audit_run` says; of texts
        num_files, num_documents, num_bytes, num_duplicates, skipped, text_fields (of files of records, those that were
        read), counts (findings by kind), num_names (that were listed), num_secrets, num_documents_with_findings,
        seconds, and findings: of each its kind, is_secret, text, placeholder, document and the sha256 of its text,
        row_sha256 (of the row, in a sheet of a workbook), file, start and stop (bytes of the file, decompressed if it
        is packed) and line; the last three are None in formats whose text is packed or marked up. near_duplicates: of
        each document that is nearly an earlier one its split, document, sha256, file, start, stop and line, the same of
        the other one (`of`), the similarity, and is_exact. leaks: the same of each document to validate or to test with
        that is trained on, too. near_examples: the place of each example that fine-tuning keeps in one split with an
        earlier one, and that one's (`of`). repeated_passages: of each passage that stands in an earlier document its
        place, that in the other one (`of`), num_bytes, and how it begins (`text`); if they were not looked for,
        passages_not_searched says why. quality: what `gptsmith.data.care.quality` says.

    Raises:
        ConfigurationError: there is no such kind.
        UserError: a source cannot be read or is a run, or there is no text.
    """
    if len(request.sources) == 1 and _is_model(request.sources[0]):
        from gptsmith.workflows.audit_run import audit_run  # PyTorch takes long to import

        return audit_run(request)
    if of_a_run := [name for name in ("find", "minutes") if getattr(request, name)]:
        raise ConfigurationError(
            f"--{of_a_run[0]} is for what a model learnt, and {request.sources[0]} is no run: name a run alone, or "
            f"leave --{of_a_run[0]} out"
        )
    _require_apart(request)
    started = time.monotonic()
    names = () if request.names is None else names_in(Path(request.names))
    finders = _finders(list(map(str, request.kind)), names)
    settings = DataSettings.parse(request.reading_settings(), "data")
    corpus = read_corpus(request.sources, settings, default_cache())
    _require_no_list(request, corpus)
    found = [_plain(each, corpus) for each in findings_of(corpus, finders, meter)]
    copies = duplicates(_splits(request, corpus, settings), default_cache(), meter)
    passages, not_searched = _passages(request, corpus)
    if request.out is not None:
        lines = (json_text(each, ensure_ascii=False) + "\n" for each in [*found, *copies.listed()])
        write_atomically(Path(request.out), "".join(lines), private=True)
    summary = corpus.summary
    figures = {
        "num_files": summary["num_files"],
        "num_documents": summary["num_documents"],
        "num_bytes": summary["num_bytes"],
        "num_duplicates": summary["num_duplicates"],
        "skipped": summary["skipped"],
        "text_fields": summary.get("text_fields", {}),
        "counts": dict(Counter(each["kind"] for each in found).most_common()),
        "num_names": len(names),
        "num_secrets": sum(each["is_secret"] for each in found),
        "num_documents_with_findings": len({each["document"] for each in found}),
        "findings": found,
        "near_duplicates": [each.plain() for each in copies.near],
        "leaks": [each.plain() for each in copies.leaks],
        "near_examples": _near_examples(request, settings),
        "repeated_passages": passages,
        "passages_not_searched": not_searched,
        "quality": quality(corpus, meter),
        "seconds": time.monotonic() - started,
    }
    if request.html is not None:
        content = audit_page(figures, [str(source) for source in request.sources])
        write_atomically(Path(request.html), content, private=True)
    return figures


def _require_apart(request: AuditRequest) -> None:
    """
    Raises:
        UserError: what is to be written would overwrite what is read or what else is written, or be read as a text; or
            one of several sources is a run.
    """
    for source in request.sources:
        if (Path(source) / SETTINGS).exists():
            raise UserError(f"{source} is a run, and the others are not: audit it alone")
    written = [path for path in (request.out, request.html) if path is not None]
    if len({Path(path).resolve() for path in written}) < len(written):
        raise UserError(f"{request.out} is named by --out and by --html: choose another name for one of them")
    read = [*request.sources, *request.validation, *([request.names] if request.names is not None else [])]
    for path in written:
        require_apart(path, read)


def _require_no_list(request: AuditRequest, corpus: Corpus) -> None:
    """
    Raises:
        UserError: the list of names is one of the texts.
    """
    if request.names is not None and Path(request.names).resolve() in (
        Path(file.path).resolve() for file in corpus.files
    ):
        raise UserError(f"{request.names} is one of the texts, and would be learnt from: keep the list somewhere else")


def _is_model(source: str | Path) -> bool:
    """Whether a source is a run, or another program's model."""
    if is_remote(source):
        return True
    path = Path(source)
    if (path / SETTINGS).exists():
        return True
    if not ((path / "config.json").exists() or path.suffix == ".gguf"):
        return False
    from gptsmith.convert.open import is_model  # PyTorch takes long to import

    return path.suffix == ".gguf" or is_model(path)


def _finders(kinds: Sequence[str], names: tuple[str, ...]) -> list[FinderSettings]:
    """The finders of these kinds, all of them if none is named; and that of the listed names.

    Raises:
        ConfigurationError: there is no such kind.
    """
    allowed = kinds_by_form()
    for kind in kinds:
        if kind not in allowed:
            raise ConfigurationError(f"--kind {shown(kind)}: no such kind ({did_you_mean(kind, allowed)})")
    listed = [NameSettings(names=names)] if names else []
    return [*([KINDS.validate(kind) for kind in kinds] or all_finders()), *listed]


def _splits(request: AuditRequest, corpus: Corpus, settings: DataSettings) -> dict[str, Corpus]:
    """The texts by the split that they belong to: those of folders that have some of their own, and those that are
    named."""
    own = found_splits(request.sources, validates=True)
    if own.note is None and not request.validation:
        return {TRAIN: corpus}
    found = {
        TRAIN: corpus if own.note is None else own.train,
        "validation": list(map(str, request.validation)) or own.validation,
        "test": own.test,
    }
    return {
        split: files if isinstance(files, Corpus) else read_corpus(files, settings, default_cache())
        for split, files in found.items()
        if files is not None
    }


def _passages(request: AuditRequest, corpus: Corpus) -> tuple[list[dict[str, Any]], str | None]:
    """The passages that stand in several documents, with their places; or why they were not looked for, unless that is
    asked for."""
    if request.passages is None:
        if corpus.num_bytes > MAX_BYTES:
            return [], f"{readable_bytes(corpus.num_bytes)} of text are many: --passages {MIN_BYTES} looks for them"
        if find_spec("pydivsufsort") is None:
            return [], "they are found with: pip install 'gptsmith[explain]'"
    groups = near_duplicates([corpus], default_cache(), meter)
    documents = Documents([corpus])
    found = repeated_passages(documents, groups.group_of, request.passages or MIN_BYTES, meter)
    return placed_passages(documents, found), None


def _near_examples(request: AuditRequest, settings: DataSettings) -> list[dict[str, str]]:
    """The examples that fine-tuning keeps in one split with earlier ones; none of texts that hold no examples."""
    reading = ExampleReading(settings.reading)
    with suppress(UserError):  # what cannot be tuned on is a text all the same
        shape = read_shape(request.sources, reading)
        if shape != TEXT:
            examples = read_examples(request.sources, shape, reading, skip_bad=True).examples
            return near_examples(examples, default_cache(), meter).pairs(examples)
    return []


def _plain(found: PlacedFinding, corpus: Corpus) -> dict[str, Any]:
    """A finding as JSON values."""
    finding, place = found.finding, found.place
    return {
        "kind": finding.kind,
        "is_secret": finding.is_secret,
        "text": finding.text,
        "placeholder": finding.placeholder,
        "document": found.document,
        "sha256": corpus.table[found.document]["sha256"].tobytes().hex(),
        "row_sha256": None if found.row is None else name_of(found.row),
        "file": str(found.file),
        "start": None if place is None else place.start,
        "stop": None if place is None else place.stop,
        "line": None if place is None else place.line,
    }
