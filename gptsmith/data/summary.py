"""The summary of a run's data, as data.json keeps it, and whether data is still the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.data.corpus import Corpus
from gptsmith.data.shards import TokenStream
from gptsmith.data.splits import Splits

FIGURES = ("train", "validation")
NUM_NAMED = 3
"""How many files a message names."""


def text_summary(
    corpus: Corpus,
    validation_corpus: Corpus | None,
    splits: Splits,
    fingerprint: str,
    split_notes: Sequence[str] = (),
) -> dict[str, Any]:
    """JSON values: counts, the split, every file with its SHA-256, and what was skipped and why."""
    result = {
        **corpus.summary,
        "corpus_sha256": corpus.fingerprint,
        "fingerprint": fingerprint,
        "split_by": splits.by,
        "split_notes": list(split_notes),
    }
    if validation_corpus is not None:
        result["validation_sources"] = {
            **validation_corpus.summary,
            "num_duplicates_of_training": splits.num_duplicates,
        }
    return result


def with_streams(summary: Mapping[str, Any], train: TokenStream, validation: TokenStream | None) -> dict[str, Any]:
    """The summary of a text with the sizes of its token streams."""
    streams = {"train": train} | ({"validation": validation} if validation is not None else {})
    return {**summary, **{name: _figures(stream) for name, stream in streams.items()}}


def _figures(stream: TokenStream) -> dict[str, int]:
    return {
        "num_tokens": len(stream),
        "num_documents": stream.num_documents,
        "num_bytes": stream.num_bytes,
    }


def is_same_data(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two summaries are of the same text, splits and tokenizer, or of the same examples."""
    if recorded["fingerprint"] == now["fingerprint"]:
        return True
    # Until version 0.2 the fingerprint was one of the files and settings: such a summary is compared by its figures.
    by_content = "corpus_sha256" in recorded or "files" not in recorded or "files" not in now
    return not by_content and _told_before(recorded) == _told_before(now)


def _told_before(summary: Mapping[str, Any]) -> list[Any]:
    validation = summary.get("validation_sources", {})
    files = [sorted(part.get("files", {}).values()) for part in (summary, validation)]
    return [*files, summary.get("num_documents"), summary.get("split_by"), *(summary.get(name) for name in FIGURES)]


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The files that differ between two summaries, as ` (changed: a.txt; new: b.pdf)`; empty if none is known to."""
    before, after = (_files(part) for part in (recorded, now))
    found = {
        "changed": [path for path in before.keys() & after.keys() if before[path] != after[path]],
        "gone": [path for path in before.keys() - after.keys() if before[path] not in after.values()],
        "new": [path for path in after.keys() - before.keys() if after[path] not in before.values()],
    }
    named = "; ".join(f"{change}: {_some(sorted(paths))}" for change, paths in found.items() if paths)
    return f" ({named})" if named else ""


def _files(summary: Mapping[str, Any]) -> dict[str, str]:
    return {**summary.get("files", {}), **summary.get("validation_sources", {}).get("files", {})}


def _some(paths: list[str]) -> str:
    more = len(paths) - NUM_NAMED
    return ", ".join(paths[:NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")
