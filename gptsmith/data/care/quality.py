"""The quality of texts in figures: languages, lengths, what is repeated, what is noise, and broken encodings; and the
capitalised words that few documents have, of which a person judges whether they are names."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from gptsmith.data.care.findings import all_finders
from gptsmith.data.care.redaction import Redaction
from gptsmith.data.corpus import Corpus, MeterFactory

MAX_BYTES = 32_000_000
"""Of a larger corpus, documents that lie evenly over it are looked at."""
DOCUMENT_BYTES = 1 << 20
"""Of a document, at most so many are looked at."""
LANGUAGE_CHARACTERS, LEAST_CHARACTERS = 2_000, 20
COMPRESSED_BYTES = 500
"""Shorter documents say nothing by how well they can be compressed."""
NUM_LISTED = 20
LEAST_LINE, FEWEST_COPIES = 20, 3
"""A line of so many characters, in so many documents, is boilerplate."""
FEW_DOCUMENTS = 3
CAPITAL = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞĢĪĮİĶĹĻĽŁŃŅŇŐŒŔŘŚŞŠŢŤŪŮŰŲŹŻŽΑ-ΩА-ЯЁ"
NAME = re.compile(rf"[{CAPITAL}](?<=[\w,;] .)[\w'\u2019-]+(?: [{CAPITAL}][\w'\u2019-]+){{0,3}}")
"""Words with a capital inside of a sentence."""
DOUBLY_ENCODED = re.compile("Ã[\x80-\xbf©¤¶¼Ÿ]|â€[™œ¦“”]|Â[\xa0-\xbf]")
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


@dataclass
class _Counts:
    """Counts over documents."""

    sizes: list[int] = field(default_factory=list)
    ratios: list[tuple[float, int]] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    documents_of_name: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)

    def add(self, document: int, text: str) -> None:
        data = text.encode()
        self.sizes.append(len(data))
        if len(data) >= COMPRESSED_BYTES:
            self.ratios.append((len(zlib.compress(data, 1)) / len(data), document))
        if (language := language_of(text)) is not None:
            self.languages[language] += 1
        self.lines.update({line for line in map(str.strip, text.split("\n")) if len(line) >= LEAST_LINE})
        found = Counter(match[0] for match in NAME.finditer(text))
        self.names.update(found)
        self.documents_of_name.update(found.keys())
        self.encodings["replacement_characters"] += "\ufffd" in text
        self.encodings["doubly_encoded"] += DOUBLY_ENCODED.search(text) is not None


def quality(corpus: Corpus, meter: MeterFactory) -> dict[str, Any]:
    """The figures of a corpus, as JSON values.

    Returns:
        num_read (the documents that were looked at), languages (documents by ISO 639-3 code; None without the library),
        bytes (quantiles of the documents' sizes), compression (quantiles of compressed over whole size), repetitive and
        noisy (the documents at either end, with their ratio), boilerplate (lines with the number of documents that have
        them), encodings (documents with signs of a broken one), and capitalised: words with a capital inside of a
        sentence that few documents have, with their count and number of documents.
    """
    counts = _Counts()
    with meter("looking at the texts", len(corpus)) as bar:
        for document, text in _texts(corpus):
            counts.add(document, text)
            bar.update(document + 1)
    ordered = sorted(counts.ratios)
    return {
        "num_read": len(counts.sizes),
        "languages": dict(counts.languages.most_common()) if has_languages() else None,
        "bytes": _quantiles(counts.sizes),
        "compression": _quantiles([ratio for ratio, _ in ordered]),
        "repetitive": [_placed(corpus, *each) for each in ordered[:NUM_LISTED]],
        "noisy": [_placed(corpus, *each) for each in ordered[: -NUM_LISTED - 1 : -1]],
        "boilerplate": [
            {"line": line, "num_documents": number}
            for line, number in counts.lines.most_common(NUM_LISTED)
            if number >= FEWEST_COPIES
        ],
        "encodings": dict(counts.encodings),
        "capitalised": [
            {"words": name, "count": count, "num_documents": counts.documents_of_name[name]}
            for name, count in counts.names.most_common()
            if counts.documents_of_name[name] <= FEW_DOCUMENTS
        ][:NUM_LISTED],
    }


def language_of(text: str) -> str | None:
    """The language of a text by its beginning, as an ISO 639-3 code, `und` if it is not sure; None if there are too few
    letters, or the library is not installed."""
    if not has_languages() or len(text) < LEAST_CHARACTERS:
        return None
    import whatlang

    try:
        found: Any = whatlang.detect(text[:LANGUAGE_CHARACTERS])
    except ValueError:  # no letters
        return None
    return str(found.lang) if found.is_reliable else "und"


def has_languages() -> bool:
    """Whether the library that tells languages is installed."""
    return find_spec("whatlang") is not None


def _texts(corpus: Corpus) -> Iterator[tuple[int, str]]:
    """The documents to look at, and their texts or the beginnings of these, without secrets and personal data: lines
    and words of them are shown."""
    redaction = Redaction(all_finders())
    starts, stops = corpus.bounds()
    sizes = np.minimum(stops - starts, DOCUMENT_BYTES)
    step = max(1, -(-int(sizes.sum()) // MAX_BYTES))
    for document in range(0, len(corpus), step):
        start = int(starts[document])
        text = corpus.read(start, start + int(sizes[document])).decode("utf-8", "ignore")
        yield document, redaction.redact(text)[0]


def _quantiles(values: list[Any]) -> dict[str, float]:
    """The smallest and largest value, the median and the deciles next to the ends; nothing of nothing."""
    if not values:
        return {}
    return {
        f"{share:.0%}": float(value) for share, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
    }


def _placed(corpus: Corpus, ratio: float, document: int) -> dict[str, Any]:
    path, start, stop = corpus.source(document)
    return {"document": document, "file": str(path), "start": start, "stop": stop, "ratio": ratio}
