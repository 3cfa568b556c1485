"""What a page shows of a run's log: curves, samples and events, so thinned that a page of a long run stays small."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

MAX_POINTS = 2400
MAX_SAMPLES = 30
MAX_SAMPLE_CHARACTERS = 4000
MAX_EVENTS = 300
MAX_EVENT_CHARACTERS = 1000

Curve = list[tuple[int, float]]


def figures(events: Iterable[Any]) -> dict[str, Any]:
    """curves: name -> [steps, values], rising in step; samples; events, all others; num_events_left_out.

    Every number of the events `step` and `evaluation` is a curve. Where a run went back to an earlier step, what was
    there before is left out. Curves have at most `MAX_POINTS` points (see `thin`) of six digits; samples are at most
    `MAX_SAMPLES`, evenly taken, with the first and the last; of the events the newest stay. Rows that are no events,
    missing keys and numbers that are not finite are passed over.
    """
    curves: dict[str, Curve] = {}
    samples: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    for row in events:
        if not isinstance(row, dict) or not isinstance(row.get("event"), str):
            continue
        name, step = row["event"], row.get("step")
        if name in ("step", "evaluation"):
            if _is_number(step):
                for key, value in _numbers(row, before):
                    _add(curves.setdefault(key, []), int(step), value)
            before = row if name == "step" else {}
        elif name == "sample":
            while samples and _is_number(step) and _is_number(samples[-1]["step"]) and samples[-1]["step"] >= step:
                samples.pop()
            samples.append({"step": step, "text": str(row.get("text", ""))[:MAX_SAMPLE_CHARACTERS]})
        else:
            others.append({key: _short(value) for key, value in row.items()})
    return {
        "curves": {key: _columns(thin(curve, MAX_POINTS)) for key, curve in curves.items()},
        "samples": evenly(samples, MAX_SAMPLES),
        "events": others[-MAX_EVENTS:],
        "num_events_left_out": max(0, len(others) - MAX_EVENTS),
    }


def thin(points: Sequence[tuple[int, float]], most: int) -> Sequence[tuple[int, float]]:
    """At most `most` of the points (but never fewer than four): the ends, and the lowest and highest of each bucket.

    Half of the buckets are equally long and half grow with the step, so that the beginning is still there when the
    steps are drawn on a logarithmic axis.
    """
    if len(points) <= most:
        return points
    num_buckets = max(1, (most - 2) // 4)
    inner = len(points) - 2
    edges = {round(inner * i / num_buckets) for i in range(num_buckets + 1)}
    edges |= {round(inner ** (i / num_buckets)) for i in range(num_buckets)}
    kept = {0, len(points) - 1}
    for first, end in itertools.pairwise(sorted(edges)):
        bucket = range(first + 1, end + 1)
        kept |= {min(bucket, key=lambda i: points[i][1]), max(bucket, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` (two or more) of the items, evenly taken, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _numbers(row: dict[str, Any], before: dict[str, Any]) -> Iterable[tuple[str, float]]:
    """A row's curves. The `num_tokens` of an evaluation are those that were measured: no curve."""
    for key, value in row.items():
        if key != "step" and _is_number(value) and not (key == "num_tokens" and row["event"] == "evaluation"):
            yield key, value
    if row["event"] == "step" and "tokens_per_second" not in row:
        try:
            rate = (row["num_tokens"] - before["num_tokens"]) / (row["seconds"] - before["seconds"])
        except (KeyError, TypeError, ZeroDivisionError):
            return
        if rate > 0:
            yield "tokens_per_second", rate


def _add(curve: Curve, step: int, value: float) -> None:
    while curve and curve[-1][0] >= step:
        curve.pop()
    curve.append((step, value))


def _columns(curve: Sequence[tuple[int, float]]) -> list[list[float]]:
    return [[step for step, _ in curve], [float(f"{value:.6g}") for _, value in curve]]


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> Any:
    return value[:MAX_EVENT_CHARACTERS] if isinstance(value, str) else value
