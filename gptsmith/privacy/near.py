"""Text that a model recites but for a token here and there, where it would write another word, case or space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gptsmith.privacy.recitable import Runs
from gptsmith.privacy.scan import Scan

ONE_IN = 12
"""The tokens, at least, of which one may be another."""


def nearly(scan: Scan, separator: int) -> Scan:
    """A scan in which a token that the model would not write is right, too, if it is the only one in `ONE_IN`: as many
    before it, less one, are right, and as many behind it. Who puts it right gets the passage."""
    starts, stops = scan.runs()
    is_long = stops - starts >= ONE_IN - 1
    between = stops[:-1][is_long[:-1] & is_long[1:] & (starts[1:] - stops[:-1] == 1)]
    is_text = (scan.tokens[between] != separator) & ~np.isnan(scan.log_probabilities[between])
    is_right = scan.is_right.copy()
    is_right[between[is_text]] = True
    return replace(scan, is_right=is_right)


def without(runs: Runs, others: Runs) -> Runs:
    """The runs that have none of the others in them."""
    first = np.searchsorted(others.starts, runs.starts)
    has_one = np.append(others.starts, np.iinfo(np.int64).max)[first] < runs.stops
    return runs.where(~has_one)
