"""A warning of a tokenizer that cannot spell the text: a low loss on unknown tokens says nothing."""

from __future__ import annotations

from gptsmith.data.prepare import PreparedData
from gptsmith.text.tokenizer import Tokenizer

UNKNOWN_SHARE, UNKNOWN_LOOKED_AT = 0.001, 1_000_000
"""From which share of unknown tokens on they are warned of, and how many tokens are looked at."""


def unknown_tokens(data: PreparedData, *, is_fixed: bool = False) -> str:
    """The warning of a text, of which it reads the beginning; empty if next to no tokens are unknown."""
    unknown = data.tokenizer.unknown_id
    if unknown is None:
        return ""
    ids = data.train.slice(0, min(len(data.train), UNKNOWN_LOOKED_AT))
    return unknown_warning(data.tokenizer, int((ids == unknown).sum()), len(ids), is_fixed=is_fixed)


def unknown_warning(tokenizer: Tokenizer, num_unknown: int, num_tokens: int, *, is_fixed: bool) -> str:
    """A warning with the share of tokens that stand for what the tokenizer cannot spell; empty if there are next to
    none.

    Args:
        is_fixed: whether the tokenizer is that of a base, which cannot be chosen.
    """
    unknown = tokenizer.unknown_id
    if unknown is None or num_unknown < UNKNOWN_SHARE * max(num_tokens, 1):
        return ""
    remedy = "choose a base whose tokenizer can" if is_fixed else "use another tokenizer, such as --tokenizer bpe"
    return (
        f"warning: the tokenizer cannot spell this text: {num_unknown / num_tokens:.1%} of its tokens are the unknown "
        f"token {tokenizer.backend.id_to_token(unknown)}, and what it stands for is lost: {remedy}"
    )
