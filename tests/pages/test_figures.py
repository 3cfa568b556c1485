"""What a page shows of a log: nothing that matters is thinned away, and nothing odd in a log breaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.pages.figures import MAX_EVENTS, MAX_POINTS, MAX_SAMPLES, evenly, figures, thin


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "step", "step": number, **more}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000), st.sampled_from([6, 50, 400]))
def test_thinning_keeps_the_ends_and_the_extremes_in_order(values: list[float], most: int) -> None:
    points = list(enumerate(values))
    kept = thin(points, most)
    assert len(kept) <= most
    assert list(kept) == sorted(kept)
    assert set(kept) <= set(points)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert min(value for _, value in kept) == min(values)
    assert max(value for _, value in kept) == max(values)


def test_a_spike_of_one_step_in_a_hundred_thousand_is_kept() -> None:
    points = [(number, 1.0) for number in range(100_000)]
    points[77_777] = (77_777, 9.0)
    points[33_333] = (33_333, -9.0)
    kept = thin(points, MAX_POINTS)
    assert (77_777, 9.0) in kept
    assert (33_333, -9.0) in kept
    assert sum(number < 100 for number, _ in kept) > 50, "the beginning is there for a logarithmic axis"


def test_few_points_are_left_alone() -> None:
    assert thin([(1, 2.0), (2, 1.0)], 10) == [(1, 2.0), (2, 1.0)]
    assert thin([], 10) == []


def test_items_are_taken_evenly_with_both_ends() -> None:
    assert evenly(range(101), 5) == [0, 25, 50, 75, 100]
    assert evenly([1, 2], 5) == [1, 2]


def test_the_numbers_of_steps_and_evaluations_are_curves() -> None:
    shown = figures(
        [
            {"event": "start", "step": 0, "environment": {"torch": "2"}},
            step(10, train_loss=3.0, num_tokens=1000, seconds=1.0),
            step(20, train_loss=2.0, num_tokens=3000, seconds=2.0, gradient_norm=0.5),
            {"event": "evaluation", "step": 20, "validation_loss": 2.25, "num_tokens": 77},
            {"event": "sample", "step": 20, "text": "Once"},
            {"event": "skip", "step": 21, "problem": "the loss is nan"},
        ]
    )
    assert shown["curves"] == {
        "train_loss": [[10, 20], [3.0, 2.0]],
        "num_tokens": [[10, 20], [1000, 3000]],
        "seconds": [[10, 20], [1.0, 2.0]],
        "gradient_norm": [[20], [0.5]],
        "tokens_per_second": [[20], [2000.0]],
        "validation_loss": [[20], [2.25]],
    }
    assert shown["samples"] == [{"step": 20, "text": "Once"}]
    assert [row["event"] for row in shown["events"]] == ["start", "skip"]


def test_the_speed_that_was_logged_is_the_one_that_is_shown() -> None:
    rows = [step(n, num_tokens=n, seconds=float(n), tokens_per_second=7.0) for n in (1, 2)]
    assert figures(rows)["curves"]["tokens_per_second"] == [[1, 2], [7.0, 7.0]]


def test_a_run_that_went_back_shows_what_came_of_it() -> None:
    rows = [step(10, train_loss=3.0), step(20, train_loss=9.0), step(30, train_loss=8.0), step(20, train_loss=2.0)]
    samples = [{"event": "sample", "step": n, "text": text} for n, text in [(10, "a"), (20, "b"), (20, "c")]]
    shown = figures(rows + samples)
    assert shown["curves"]["train_loss"] == [[10, 20], [3.0, 2.0]]
    assert [sample["text"] for sample in shown["samples"]] == ["a", "c"]


@pytest.mark.parametrize(
    "row",
    [
        5,
        None,
        [],
        {},
        {"event": 3},
        {"event": "step"},
        {"event": "step", "step": "ten", "train_loss": 1.0},
        {"event": "step", "step": 10, "train_loss": float("nan"), "gradient_norm": None, "seconds": "x"},
        {"event": "step", "step": float("inf"), "train_loss": 1.0},
        {"event": "evaluation", "step": 10, "validation_loss": True},
    ],
)
def test_odd_rows_make_no_curve(row: Any) -> None:
    assert figures([row])["curves"] == {}


def test_a_sample_without_a_step_or_a_text_is_shown() -> None:
    rows = [{"event": "sample"}, {"event": "sample", "step": 1, "text": "x"}, {"event": "sample", "step": None}]
    assert len(figures(rows)["samples"]) == 3


def test_a_long_run_stays_small() -> None:
    rows: list[dict[str, Any]] = []
    long = "x" * 100_000
    for n in range(20_000):
        rows.append(step(n, train_loss=1 / (n + 1), seconds=n * 0.1234567, num_tokens=n * 1024, gradient_norm=n % 7))
        rows.append({"event": "sample", "step": n, "text": long})
        rows.append({"event": "skip", "step": n, "problem": long})
    shown = figures(rows)
    assert all(len(steps) <= MAX_POINTS for steps, _ in shown["curves"].values())
    assert len(shown["samples"]) == MAX_SAMPLES
    assert [shown["samples"][i]["step"] for i in (0, -1)] == [0, 19_999]
    assert len(shown["events"]) == MAX_EVENTS
    assert shown["num_events_left_out"] == 20_000 - MAX_EVENTS
    assert len(json.dumps(shown)) < 1_500_000
