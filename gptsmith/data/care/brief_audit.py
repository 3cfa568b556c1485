"""An audit in one line, for everybody who trains: counts of findings, never their text, in bounded time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table, write_json
from gptsmith.base.hints import shell_command
from gptsmith.base.notices import Notice
from gptsmith.base.versions import source_sha256
from gptsmith.data.care import finders as finders_package
from gptsmith.data.care.finders import KINDS
from gptsmith.data.care.findings import Finding, all_finders, findings
from gptsmith.data.care.placed_findings import findings_in
from gptsmith.data.corpus import Corpus
from gptsmith.data.shapes import Example

MAX_BYTES, MAX_EXAMPLES = 8_000_000, 10_000
"""That are looked at, evenly over all of them: a fraction of a second."""
BLOCK_BYTES = 1 << 18
"""Of a larger text, such blocks are looked at."""
KEPT_FILE = "findings.json"
"""Beside a corpus, for the finders of one version."""


@dataclass(frozen=True)
class BriefAudit:
    """How much was found.

    Attributes:
        counts: the findings by kind.
        num_found: the documents, or examples, in which there are some.
        num_read: those that were looked at.
        is_part: whether there is text that was not looked at.
    """

    counts: dict[str, int]
    num_found: int
    num_read: int
    is_part: bool

    def lines(self, noun: str) -> list[str]:
        """It for a person, in one line; none if nothing was found.

        Args:
            noun: `documents` or `examples`.
        """
        if not self.counts:
            return []
        kinds = {kind: KINDS.settings(kind) for kind in self.counts}
        secrets = sum(count for kind, count in self.counts.items() if kinds[kind].is_secret)
        others = [f"{kinds[kind].noun} {count:,}" for kind, count in self.counts.items() if not kinds[kind].is_secret]
        found = ", ".join([*([f"secrets {secrets:,}"] if secrets else []), *others])
        part = " (only a part was looked at)" if self.is_part else ""
        where = f"in {self.num_found:,} of {self.num_read:,} {noun}{part}"
        text = f"found {where}: {found}; {shell_command('audit', 'TEXT')} lists them"
        return [Notice(text, "found", num_found=self.num_found, num_read=self.num_read, kinds=self.counts)]


def of_corpus(corpus: Corpus) -> BriefAudit:
    """The audit of a corpus, kept beside it so that it takes its time once."""
    kept, made_by = corpus.folder / KEPT_FILE, source_sha256(finders_package)
    with suppress(UserError, TypeError):
        values = read_table(kept)
        if values.pop("made_by", None) == made_by:
            return BriefAudit(**values)
    finders = all_finders()
    spans = _spans(corpus)
    found = ((document, list(findings_in(corpus, start, stop, finders))) for document, start, stop in spans)
    audit = _counted(found, is_part=corpus.num_bytes > MAX_BYTES)
    with suppress(UserError):  # a full disk: it is counted again
        write_json(kept, {**asdict(audit), "made_by": made_by})
    return audit


def of_examples(examples: Sequence[Example]) -> BriefAudit:
    """The audit of every text in some examples."""
    finders, step = all_finders(), -(-len(examples) // MAX_EXAMPLES) or 1
    numbers = range(0, len(examples), step)
    found = ((number, findings("\n".join(examples[number].every_text()), finders)) for number in numbers)
    return _counted(found, is_part=step > 1)


def _counted(found: Iterable[tuple[int, Sequence[Finding]]], *, is_part: bool) -> BriefAudit:
    counts, read, with_some = Counter[str](), set[int](), set[int]()
    for number, some in found:
        read.add(number)
        counts.update(one.kind for one in some)
        with_some.update([number] if some else [])
    return BriefAudit(dict(counts.most_common()), len(with_some), len(read), is_part)


def _spans(corpus: Corpus) -> Iterator[tuple[int, int, int]]:
    """The documents to look at, each with its first byte and the one after its last: all of them whole, or those in
    blocks that lie evenly over the text."""
    starts, stops = corpus.bounds()
    if corpus.num_bytes <= MAX_BYTES:
        blocks = [(0, corpus.num_bytes)]
    else:
        places = np.linspace(0, corpus.num_bytes - BLOCK_BYTES, MAX_BYTES // BLOCK_BYTES).astype(np.int64)
        blocks = [(start, start + BLOCK_BYTES) for start in places.tolist()]
    for start, stop in blocks:
        first, last = np.searchsorted(stops, [start, stop - 1], side="right").tolist()
        for document in range(first, last + 1):
            yield document, max(start, int(starts[document])), min(stop, int(stops[document]))
