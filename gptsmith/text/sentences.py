"""Where sentences end, in writing with and without spaces."""

from __future__ import annotations

SENTENCE_END = r"(?:[.!?\u2026]+[\"'\u201d\u2019\u00bb)\]]*(?=\s)|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d]*)"
"""A pattern that matches a full stop, with what closes behind it."""
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""The characters, for a class in a pattern, of writing without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
