"""Where a text may be cut so that encoding the parts equals encoding the whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gptsmith.text.pretokenization import GPT2_SPLIT, QWEN2_SPLIT
from gptsmith.text.tokenizer_limits import components

_SAFE = re.compile(r"(?<=\S)(?= \S)|(?<=\S\n)(?=\S)")
"""Before a single space, or after a single line end, between two characters that are not white space: both
pre-tokenizations that we know (GPT-2's and Qwen2's) end a word there whatever stands around it."""

WINDOW = 4096


def safe_cut(text: str, at: int) -> int | None:
    """The last place up to `at` where `text` may be cut, or None if there is no such place."""
    end = at
    while end > 0:
        start = max(0, end - WINDOW)
        found = [
            match.start() for match in _SAFE.finditer(text, start, min(len(text), end + 2)) if 0 < match.start() <= at
        ]
        if found:
            return found[-1]
        end = start
    return None


def ends_words_at_cuts(state: Mapping[str, Any]) -> bool:
    """Whether a tokenizer, as JSON, is known to end a word at each safe cut: by one of the pre-tokenizations that we
    know, beside which others may only split further, or because each character is a word."""
    if any(part["type"] != "NFC" for part in components(state["normalizer"])):  # white space composes with nothing
        return False
    if any(map(_reaches_over_words, state["added_tokens"])):
        return False
    parts = list(components(state["pre_tokenizer"]))
    if any(part["type"] not in ("ByteLevel", "Split", "Digits") or part.get("add_prefix_space") for part in parts):
        return False
    if any(part["type"] == "Split" and part["behavior"] != "Isolated" for part in parts):
        return False
    return takes_single_characters(state) or any(map(_is_known_split, parts))


def takes_single_characters(state: Mapping[str, Any]) -> bool:
    """Whether a tokenizer never makes one token of several characters, so that a text may be cut anywhere."""
    model = state["model"]
    reaches = any(not token["special"] for token in state["added_tokens"])
    return model["type"] == "BPE" and not model["merges"] and not model.get("ignore_merges") and not reaches


def _is_known_split(part: Mapping[str, Any]) -> bool:
    if part["type"] == "ByteLevel":
        return bool(part["use_regex"])
    return part["type"] == "Split" and not part["invert"] and part["pattern"].get("Regex") in (GPT2_SPLIT, QWEN2_SPLIT)


def _reaches_over_words(token: Mapping[str, Any]) -> bool:
    """Whether an added token is found in a text, and by what stands around it or with white space in it."""
    flags = token["lstrip"], token["rstrip"], token["single_word"]
    return not token["special"] and (any(flags) or any(map(str.isspace, token["content"])))
