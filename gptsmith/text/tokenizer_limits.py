"""Limits of a tokenizer.json that somebody else wrote: what it does to a text is bounded by the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenizers import Regex, normalizers

from gptsmith.base.errors import DataError
from gptsmith.text.patterns import require_bounded

MAX_COMPONENTS = 100
MAX_CONTENT = 100
MAX_GROWTH = 1000
"""The most characters that normalizers may make of one."""
PROBE = "".join(map(chr, range(9, 127))) + "é日\u2581"


def components(component: Any) -> Iterator[dict[str, Any]]:
    """The parts of a normalizer, a pre-tokenizer or a decoder, which may be a sequence of others."""
    rest = [component]
    while rest:
        part = rest.pop()
        if not isinstance(part, dict):
            continue
        inner = next((part[key] for key in ("normalizers", "pretokenizers", "decoders") if key in part), None)
        if isinstance(inner, list):
            rest += reversed(inner)
        else:
            yield part


def require_bounded_components(state: Any) -> None:
    """Accepts a tokenizer, as JSON, whose regular expressions and replacements are bounded.

    Raises:
        DataError: one is not.
    """
    if not isinstance(state, dict):
        return
    for place in ("normalizer", "pre_tokenizer", "decoder"):
        parts = list(components(state.get(place)))
        if len(parts) > MAX_COMPONENTS:
            raise DataError(f"its {place} has {len(parts)} parts (at most {MAX_COMPONENTS})")
        for part in parts:
            pattern = part.get("pattern")
            regex = pattern.get("Regex") if isinstance(pattern, dict) else None
            if isinstance(regex, str):
                require_bounded(regex)
            for key in ("content", "prepend", "replacement"):
                if isinstance(part.get(key), str) and len(part[key]) > MAX_CONTENT:
                    raise DataError(f"its {place} writes more than {MAX_CONTENT} characters for one")
        if place == "normalizer":
            _require_little_growth(parts)


def _require_little_growth(parts: list[dict[str, Any]]) -> None:
    """Applies the replacements to a text in which each finds something."""
    replacements = [part for part in parts if part.get("type") == "Replace" and isinstance(part.get("pattern"), dict)]
    text = PROBE + "".join(str(part["pattern"].get("String", "")) for part in replacements)
    largest = MAX_GROWTH * len(text)
    for part in replacements:
        pattern, content = part["pattern"], str(part.get("content", ""))
        if isinstance(pattern.get("Regex"), str):
            text = normalizers.Replace(Regex(pattern["Regex"]), content).normalize_str(text)
        elif isinstance(pattern.get("String"), str) and pattern["String"]:
            text = text.replace(pattern["String"], content)
        if len(text) > largest:
            raise DataError(f"its normalizer makes more than {MAX_GROWTH:,} characters of one")
