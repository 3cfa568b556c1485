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


def test_the_area_under_a_concave_curve_is_theirs() -> None:
    scores = np.arange(5.0)  # the higher, the more members to one that is none
    members, others = np.repeat(scores, [10, 20, 30, 40, 50]), np.repeat(scores, [50, 40, 30, 20, 10])
    assert auc(members, others) == pytest.approx(auditing.CanaryScoreAuditor(members, others).attack_auroc())


def test_nothing_is_found_that_they_do_not_find() -> None:
    # They may toss a coin between two thresholds, and so take the hull of the curve.
    generator = np.random.default_rng(1)
    for shift in (0.0, 1.0, 3.0):
        members, others = generator.normal(shift, size=300), generator.normal(size=200)
        theirs = auditing.CanaryScoreAuditor(members, others)
        assert auc(members, others) <= theirs.attack_auroc() < auc(members, others) + 0.1
        found = true_positives(members, others)
        assert found <= theirs.tpr_at_given_fpr(0.01) + 1e-9 < found + 0.1
