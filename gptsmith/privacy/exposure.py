"""Exposure (Carlini and others 2019, arXiv 1802.08232): how far before its like a secret comes in a model's eyes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gptsmith.evaluate.statistics import Interval, bootstrap_interval

EXPECTED = 1 / math.log(2)
"""The mean exposure, in bits, of secrets that a model never saw: their ranks are uniform."""


class MeanExposure(NamedTuple):
    """The mean exposure of some secrets, in bits, and its confidence interval."""

    bits: float
    interval: Interval


def exposure(secrets: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The exposure of each secret (N,), in bits: log2 of the number of candidates, less log2 of its rank among them.

    Args:
        secrets: (N,), the log-probability of each secret.
        references: (N, R), those of others that were as likely to be drawn. The most that can be found is log2(R + 1).
    """
    before = (references > secrets[:, None]).sum(axis=1)
    equal = (references == secrets[:, None]).sum(axis=1)
    rank = 1 + before + equal / 2
    return np.log2(references.shape[1] + 1) - np.log2(rank)


def mean_exposure(exposures: np.ndarray, *, seed: int) -> MeanExposure:
    """The mean of exposures (N,), with its bootstrap interval over secrets."""
    return MeanExposure(float(exposures.mean()), bootstrap_interval(exposures, seed=seed))
