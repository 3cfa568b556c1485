"""How many texts must be sampled until one of them is a passage."""

from __future__ import annotations

import math

import numpy as np

from gptsmith.privacy.scan import Scan

CHANCE = 0.5
"""Of having a passage written within a number of tries."""


def tries_of(log_probability: float) -> float:
    """How many texts must be sampled, at temperature 1, for an even chance that one of them is a passage of probability
    p: ln(1 - c) / ln(1 - p) (Hayes and others, arXiv 2410.19482). Who always takes the likeliest token needs one."""
    p = math.exp(log_probability)
    return 1.0 if p >= CHANCE else math.log(1 - CHANCE) / math.log1p(-p) if p > 0 else math.inf


def tokens_within(scan: Scan, is_repeated: np.ndarray, num_tokens: int, tries: int) -> int:
    """How many tokens of a text lie in passages of so many tokens that an even chance needs at most so many tries for,
    whether the likeliest token is right or not.

    Args:
        is_repeated: (N,), tokens that can be copied from the prompt; a passage has none.
    """
    if len(scan.tokens) < num_tokens:
        return 0
    log_p = np.concatenate([[0.0], np.cumsum(np.nan_to_num(scan.log_probabilities), dtype=np.float64)])
    is_out = np.concatenate([[0], np.cumsum(np.isnan(scan.log_probabilities) | is_repeated)])
    least = math.log(-math.expm1(math.log(1 - CHANCE) / tries))
    is_found = (log_p[num_tokens:] - log_p[:-num_tokens] >= least) & (is_out[num_tokens:] == is_out[:-num_tokens])
    edges = np.zeros(len(scan.tokens) + 1, np.int64)
    starts = np.flatnonzero(is_found)
    edges[starts] += 1
    edges[starts + num_tokens] -= 1
    return int(np.count_nonzero(np.cumsum(edges) > 0))
