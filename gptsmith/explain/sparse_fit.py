"""A sparse linear fit of a model's answer to random halves of its prompt (ContextCite, Cohen-Wang et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_HALVES, NUM_CHECKED = 64, 16
"""Random halves that the fit is made of, and those that it is checked on."""
NUM_FOLDS, NUM_PENALTIES = 4, 8


@dataclass(frozen=True)
class SparseFit:
    """What each part adds, by a linear model.

    Attributes:
        weights: (P), what each part adds when it is kept.
        correlation: of predictions with the differences of halves that it was not fitted to; 0 if it predicts the same
            for all.
    """

    weights: np.ndarray
    correlation: float


def random_halves(num_parts: int, seed: int) -> np.ndarray:
    """(NUM_HALVES + NUM_CHECKED, P), whether each part is kept."""
    return np.random.default_rng(seed).random((NUM_HALVES + NUM_CHECKED, num_parts)) < 0.5


def sparse_fit(kept: np.ndarray, differences: np.ndarray) -> SparseFit:
    """The lasso of the differences (N) of halves (N, P), with the penalty that predicts best what is held out in turn;
    the last NUM_CHECKED are for the check alone."""
    seen, seen_at = kept[:-NUM_CHECKED].astype(float), differences[:-NUM_CHECKED]
    largest = float(np.abs((seen - seen.mean(0)).T @ (seen_at - seen_at.mean())).max()) / len(seen)
    penalties = largest * np.geomspace(0.9, 0.05, NUM_PENALTIES)
    errors = np.zeros(NUM_PENALTIES)
    for fold in range(NUM_FOLDS):
        is_out = np.arange(len(seen)) % NUM_FOLDS == fold
        for number, (weights, intercept) in enumerate(lasso_path(seen[~is_out], seen_at[~is_out], penalties)):
            errors[number] += np.square(seen[is_out] @ weights + intercept - seen_at[is_out]).sum()
    weights = lasso_path(seen, seen_at, penalties[: int(np.argmin(errors)) + 1])[-1][0]
    predicted, actual = kept[-NUM_CHECKED:] @ weights, differences[-NUM_CHECKED:]
    is_flat = np.ptp(predicted) < 1e-9 or np.ptp(actual) < 1e-9
    return SparseFit(weights, 0.0 if is_flat else float(np.corrcoef(predicted, actual)[0, 1]))


def lasso_path(
    x: np.ndarray, y: np.ndarray, penalties: np.ndarray, *, tolerance: float = 1e-3, max_passes: int = 100
) -> list[tuple[np.ndarray, float]]:
    """Weights (P) and intercept that minimise |y - xw - b|^2 / 2N + penalty |w|_1 for each of some falling penalties:
    coordinate descent, each from the one before (Friedman et al. 2010). `tolerance` is a share of the largest weight.
    """
    means, mean = x.mean(0), y.mean()
    centred, rest = x - means, y - mean
    scales = np.square(centred).mean(0)
    weights = np.zeros(x.shape[1])
    found = []
    for penalty in penalties:
        for _ in range(max_passes):
            before = weights.copy()
            for part in np.flatnonzero(scales > 0):
                slope = centred[:, part] @ rest / len(y) + scales[part] * weights[part]
                new = np.sign(slope) * max(abs(slope) - penalty, 0.0) / scales[part]
                if new != weights[part]:
                    rest -= centred[:, part] * (new - weights[part])
                    weights[part] = new
            if np.abs(weights - before).max() <= tolerance * np.abs(weights).max():
                break
        found.append((weights.copy(), float(mean - means @ weights)))
    return found
