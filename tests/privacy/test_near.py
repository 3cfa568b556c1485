"""A passage with one token in twelve wrong is a near one; two wrong ones together, or closer, end it."""

from __future__ import annotations

import numpy as np
import pytest

from gptsmith.privacy.near import ONE_IN, nearly, without
from gptsmith.privacy.recitable import Runs
from gptsmith.privacy.scan import Scan

SEPARATOR = 99


def scan_of(spelled: str) -> Scan:
    """`x` is right, `-` is wrong, `|` is a separator, `?` was not read."""
    letters = np.array(list(spelled))
    tokens = np.where(letters == "|", SEPARATOR, 1)
    log_probabilities = np.where(np.isin(letters, ["|", "?"]), np.nan, -1.0).astype(np.float32)
    return Scan(tokens, log_probabilities, letters == "x")


ENOUGH, FEWER = "x" * (ONE_IN - 1), "x" * (ONE_IN - 2)


@pytest.mark.parametrize(
    ("spelled", "runs"),
    [
        (f"-{ENOUGH}-{ENOUGH}-", [(1, 24)]),
        (f"{ENOUGH}-{ENOUGH}-{ENOUGH}", [(0, 35)]),
        (f"{ENOUGH}-{FEWER}", [(0, 11), (12, 22)]),
        (f"{ENOUGH}--{ENOUGH}", [(0, 11), (13, 24)]),
        (f"{ENOUGH}|{ENOUGH}", [(0, 11), (12, 23)]),
        (f"{ENOUGH}?{ENOUGH}", [(0, 11), (12, 23)]),
        ("-", []),
    ],
)
def test_one_wrong_token_in_twelve_is_forgiven(spelled: str, runs: list[tuple[int, int]]) -> None:
    given = scan_of(spelled)
    before = given.is_right.copy()
    starts, stops = nearly(given, SEPARATOR).runs()
    assert [*zip(starts.tolist(), stops.tolist(), strict=True)] == runs
    assert (given.is_right == before).all()


def test_a_near_passage_with_a_passage_in_it_is_none_besides() -> None:
    near = Runs(np.array([0, 40, 90]), np.array([30, 80, 120]), np.array([30, 40, 30]))
    exact = Runs(np.array([41, 125]), np.array([79, 150]), np.array([38, 25]))
    assert without(near, exact).starts.tolist() == [0, 90]
    assert without(near, exact.at_least(99)).starts.tolist() == [0, 40, 90]
