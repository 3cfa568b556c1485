"""Training a run anew without what a list names, and the proof that the new one does not know it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.hints import shell_command
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import remove
from gptsmith.base.verbs import verb
from gptsmith.convert.load import Loaded, load
from gptsmith.data.cache_contents import contents
from gptsmith.data.care.left_out import json_lines
from gptsmith.privacy.artefacts import Artefact
from gptsmith.privacy.exposure import EXPECTED, MeanExposure, mean_exposure
from gptsmith.privacy.find import tokens_of_words
from gptsmith.privacy.twins import Exposed, Secret, Vocabulary, exposed
from gptsmith.run.folder import SETTINGS, require_free
from gptsmith.workflows.audit_find import FoundWords, find_words, holding
from gptsmith.workflows.finetune import finetune
from gptsmith.workflows.pretrain import pretrain
from gptsmith.workflows.requests import ForgetRequest

T = TypeVar("T")

MAX_SECRETS = 20
"""Places whose exposure is measured, and as many names that the model never saw."""


@verb(ForgetRequest, "run", "found")
def forget(request: ForgetRequest) -> dict[str, Any]:
    """Train a run anew without the documents that a list names, its tokenizer too, and measure how easily the old and
    the new model say what was found there, beside names that neither ever saw. Everything else that still holds it is
    listed, and deleted with `yes`. Your own files are never changed.

    Returns:
        run, out, num_documents, places (of each text, file, where, line, start, stop, state, and before and after:
        log_probability, tries,
        is_greedy, exposure), exposure and exposure_never_seen (before and after: mean bits and their interval),
        expected_exposure, num_places_left, tokenizer_words (before and after), validation_loss and bits_per_byte
        (before and after), left (what still holds it: kind, path, holds), deleted, forgotten, says, seconds.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: the list cannot be read or names nothing that the run learnt from, a base of the run has it too, or
            the run cannot be trained anew.
    """
    started = time.monotonic()
    figures, left, own_files = _forgotten(request)  # what it read of the cache is held no more
    deleted = _delete(left, [*own_files, Path(figures["out"]), Path()]) if request.yes else []
    return {
        **figures,
        "left": [one.plain() for one in left if one not in deleted],
        "deleted": [one.plain() for one in deleted],
        "seconds": time.monotonic() - started,
    }


def _forgotten(request: ForgetRequest) -> tuple[dict[str, Any], list[Artefact], list[Path]]:
    """The figures of a run and of one that was trained without what is listed, all that still holds that, and the files
    of the person's own."""
    old = load(request.run, device=request.device)
    old.require_words()
    out = Path(request.out or f"{str(old.run.folder).rstrip('/')}-forgotten")
    require_free(out)
    found, names = _listed(old, Path(request.found))
    _require_own(old, found)
    if not request.redact:
        _require_unchanged(old, found)
    vocabulary = Vocabulary(_learned(found))
    secrets = _spread([Secret.of(each) for each in found.mentions])
    never_seen = _spread(vocabulary.names_not_in_it(_held_out(found, names)))
    measured = [_Measured.of(old, secrets, never_seen, vocabulary)]
    retrained = _train_without(old, request, names, out)
    new = load(out, device=request.device)
    measured.append(_Measured.of(new, secrets, never_seen, vocabulary))
    left = [one for one in holding(old, found) if out.resolve() not in (one.path, *one.path.parents)]
    left.append(Artefact("list", Path(request.found).resolve(), "words"))
    figures = {
        "run": str(old.run.folder),
        "out": str(out),
        "num_documents": len(names),
        "places": [
            {"text": mention.text, **{key: getattr(mention.source, key) for key in PLACE}, **place}
            for mention, place in zip(_spread(found.mentions), _places(measured), strict=True)
        ],
        "exposure": _both([each.exposure for each in measured]),
        "exposure_never_seen": _both([each.never_seen for each in measured]),
        "expected_exposure": EXPECTED,
        "num_places_left": len(find_words(new, [each.text for each in found.wanted]).mentions),
        "tokenizer_words": {
            "before": tokens_of_words(old.tokenizer, found.wanted),
            "after": tokens_of_words(new.tokenizer, found.wanted),
        },
        **{key: {"before": (old.run.result() or {}).get(key), "after": retrained.get(key)} for key in LOSSES},
        "forgotten": measured[1].is_like_never_seen,
        "says": _in_words(measured),
    }
    return figures, left, [path for text in found.learned.texts for path in text.files.located()]


PLACE = ("file", "where", "line", "start", "stop", "state")
LOSSES = ("validation_loss", "bits_per_byte")


@dataclass(frozen=True)
class _Measured:
    """How easily a model says what is to be forgotten, and names that it never saw.

    Attributes:
        places: each place.
        exposure: their mean exposure.
        never_seen: that of the names; None where there are none.
    """

    places: list[Exposed]
    exposure: MeanExposure
    never_seen: MeanExposure | None

    @classmethod
    def of(
        cls, run: Loaded, secrets: Sequence[Secret], never_seen: Sequence[Secret], vocabulary: Vocabulary
    ) -> _Measured:
        """The figures of a model."""
        with meter("measuring exposure", len(secrets) + len(never_seen)) as bar:
            places = exposed(run.model, run.tokenizer, secrets, vocabulary, observe=bar.update)
            others = exposed(
                run.model, run.tokenizer, never_seen, vocabulary, observe=lambda done: bar.update(len(secrets) + done)
            )
        return cls(places, _mean(places), _mean(others) if others else None)

    @property
    def is_like_never_seen(self) -> bool:
        """Whether the exposure is no higher than that of what was never seen, as far as the places can tell."""
        beside = EXPECTED if self.never_seen is None else max(self.never_seen.interval.high, EXPECTED)
        return self.exposure.interval.low <= beside


def _listed(run: Loaded, path: Path) -> tuple[FoundWords, list[str]]:
    """The places of what a list names in what a run learnt from, and the SHA-256 of their documents.

    Raises:
        UserError: there is none, or the list cannot be read.
    """
    lines = [value for _, value in json_lines(path, f"{_how_to_list(run)} writes such a list")]
    names = list(dict.fromkeys(value["sha256"] for value in lines if isinstance(value.get("sha256"), str)))
    words = list(
        dict.fromkeys(value["text"] for value in lines if isinstance(value.get("text"), str) and value["text"])
    )
    if not names or not words:
        raise UserError(f"{path} names nothing to forget: {_how_to_list(run)} writes such a list")
    found = find_words(run, words)
    mentions = [each for each in found.mentions if each.sha256 in names]
    if not mentions:
        raise UserError(f"nothing that {path} names is in what {run.run.folder} learnt from: {_how_to_list(run)}")
    return FoundWords(found.wanted, found.learned, mentions, found.held_out), names


def _how_to_list(run: Loaded) -> str:
    return shell_command("audit", str(run.run.folder), "--find", "WORDS", "--out", "found.jsonl")


def _require_own(run: Loaded, found: FoundWords) -> None:
    """
    Raises:
        UserError: a base of the run learnt from what is to be forgotten, or the run was made of a trained one.
    """
    if not run.run.lineage()[0].is_trained:
        made_from = (run.run.result() or {}).get("made_from") or "another model"
        raise UserError(f"{run.run.folder} was not trained itself, but made of {made_from}: let that one forget")
    own = run.run.folder.resolve()
    for folder in found.runs:
        if folder.resolve() != own:
            raise UserError(
                f"{folder}, which {run.run.folder} began with, learnt from it too: let that one forget first, then "
                "tune the new one"
            )


def _require_unchanged(run: Loaded, found: FoundWords) -> None:
    """Checks that documents are found again by their names.

    Raises:
        UserError: a file has changed and still has the words: its documents have other names now, and would be learnt.
    """
    texts = {str(text.run): text for text in found.learned.texts}
    for mention in found.mentions:
        file = mention.source.file
        located, state = texts[mention.source.run].files.state(file)
        if state == "changed" and located is not None and any(each.is_in(located) for each in found.wanted):
            raise UserError(
                f"{file} has changed since {run.run.folder} learnt from it and still has the words, so that they would "
                "be learnt again: take them out of it, or give --redact"
            )


def _learned(found: FoundWords) -> Iterator[str]:
    """The documents that the run learnt from."""
    for text in found.learned.texts:
        for document in range(len(text.ends)):
            yield text.text_of(document).decode("utf-8", "replace")


def _held_out(found: FoundWords, names: Sequence[str]) -> Iterator[str]:
    """The documents that it never learnt from, but for those that are to be forgotten."""
    for text in found.learned.texts:
        for sha256, content in text.held_out_documents():
            if sha256 not in names:
                yield content.decode("utf-8", "replace")


def _spread(found: Sequence[T]) -> list[T]:
    """At most `MAX_SECRETS` of them, evenly spread."""
    return [found[n * len(found) // MAX_SECRETS] for n in range(MAX_SECRETS)] if len(found) > MAX_SECRETS else [*found]


def _train_without(run: Loaded, request: ForgetRequest, names: Sequence[str], out: Path) -> dict[str, Any]:
    """Trains the run anew, as it was, without some documents or without the words in them."""
    training = run.run.lineage()[0]
    asked, paths = training.request, run.run.paths
    without, redacted = (paths.all_located(asked.get(key, [])) for key in ("without", "redact_passages"))
    if request.redact:
        redacted.append(str(request.found))
    else:
        without.append(str(_written_names(names, out)))
    common: dict[str, Any] = {
        "validation": paths.all_located(asked.get("validation", [])),
        "without": without,
        "redact_passages": redacted,
        "config": run.run.folder / SETTINGS,
        "out": out,
        "device": request.device,
    }
    sources = paths.all_located(training.sources)
    if training.base is None:
        return pretrain(sources, **common)
    return finetune(paths.located(training.base), sources, objective=asked.get("objective"), **common)


def _written_names(names: Sequence[str], out: Path) -> Path:
    """A list of documents beside a new run, which needs it to be resumed. It has no word of them."""
    path = out.with_name(f"{out.name}.without.jsonl")
    write_atomically(path, "".join(json_text({"sha256": name}) + "\n" for name in names), private=True)
    return path


def _delete(left: Sequence[Artefact], kept: Iterable[Path]) -> list[Artefact]:
    """Deletes what holds the words, whole runs and exports, but for folders in which something lies that is kept; gives
    what is gone."""
    gc.collect()
    needed = {folder for path in kept for folder in (path.resolve(), *path.resolve().parents)}
    in_cache = {one.path: one for one in contents(default_cache())}
    for one in left:
        if one.path in in_cache:
            in_cache[one.path].empty(even_if_just_used=True)
        elif one.folder is not None and one.folder not in needed:
            remove(one.folder)
    return [one for one in left if not one.path.exists()]


def _mean(places: Sequence[Exposed]) -> MeanExposure:
    return mean_exposure(np.array([place.exposure for place in places]), seed=0)


def _places(measured: Sequence[_Measured]) -> list[dict[str, Any]]:
    before, after = ([place.plain() for place in each.places] for each in measured)
    return [{"before": one, "after": other} for one, other in zip(before, after, strict=True)]


def _both(means: Sequence[MeanExposure | None]) -> dict[str, Any]:
    return {
        name: None if mean is None else {"bits": mean.bits, "interval": [*mean.interval]}
        for name, mean in zip(("before", "after"), means, strict=True)
    }


def _in_words(measured: Sequence[_Measured]) -> str:
    """Whether it is forgotten, by the exposures."""
    before, after = measured
    beside = "" if after.never_seen is None else f"; names that neither ever saw: {_bits(after.never_seen)}"
    verdict = "The new model does not know it" if after.is_like_never_seen else "The new model still prefers it"
    return f"{verdict}: exposure {_bits(before.exposure)} before, {_bits(after.exposure)} now{beside}."


def _bits(mean: MeanExposure) -> str:
    return f"{mean.bits:.1f} bits ({mean.interval.low:.1f} to {mean.interval.high:.1f})"
