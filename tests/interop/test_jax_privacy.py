"""Our audit statistics are jax_privacy's. It runs where jax_privacy is installed, which brings JAX:
pip install jax-privacy"""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.privacy.bound import epsilon_lower_bound
from gptsmith.privacy.membership import auc, true_positives

auditing = pytest.importorskip("jax_privacy.auditing", reason="jax_privacy is not installed")


@pytest.mark.parametrize("delta", [1e-12, 1e-5, 1e-3])
@pytest.mark.parametrize(("num_above", "num_right"), [(10, 10), (40, 39), (100, 70), (100, 52)])
def test_the_bound_of_one_run_is_theirs(num_above: int, num_right: int, delta: float) -> None:
    # As many score above the threshold as are guessed: those of them that are in are right.
    members = np.r_[np.ones(num_right), np.zeros(200 - num_right)]
    others = np.r_[np.ones(num_above - num_right), np.zeros(200 - num_above + num_right)]
    theirs = auditing.CanaryScoreAuditor(members, others).epsilon_one_run(
        0.05, delta, threshold_strategy=auditing.Explicit(0.5)
    )
    assert epsilon_lower_bound(num_right, num_above, 400, delta=delta) == pytest.approx(theirs, abs=1e-5)


def test_the_area_under_the_curve_is_theirs_and_no_threshold_finds_more_than_theirs() -> None:
    generator = np.random.default_rng(1)
    for shift in (0.0, 1.0, 3.0):
        members, others = generator.normal(shift, size=300).round(1), generator.normal(size=200).round(1)
        theirs = auditing.CanaryScoreAuditor(members, others)
        assert auc(members, others) == pytest.approx(theirs.attack_auroc())
        # They may toss a coin between two thresholds.
        assert true_positives(members, others) <= theirs.tpr_at_given_fpr(0.01) + 1e-9
