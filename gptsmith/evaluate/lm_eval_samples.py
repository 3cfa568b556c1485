"""The examples of lm-eval's tasks, and the outcome of each: their texts, and the metrics that are means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gptsmith.evaluate import statistics
from gptsmith.evaluate.metric import Metric


@dataclass(frozen=True)
class TaskSamples:
    """The examples of one task.

    Attributes:
        texts: all that the record of each example says (N).
        metrics: those that are the mean of an outcome of each example, by lm-eval's names.
    """

    texts: list[str]
    metrics: list[Metric]


def task_samples(samples: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> TaskSamples:
    """The examples of a task, as lm-eval logs them: each once per filter of the answers.

    Args:
        figures: the task's, by lm-eval's names: `acc,none`.
    """
    by_filter: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_filter.setdefault(sample["filter"], []).append(sample)
    some = next(iter(by_filter.values()), [])
    metrics = []
    for name, value in figures.items():
        metric, _, filter_name = name.partition(",")
        outcomes = [sample.get(metric) for sample in by_filter.get(filter_name, [])]
        if outcomes and all(isinstance(outcome, Real) for outcome in outcomes):
            found = np.array(outcomes, float)
            if isinstance(value, Real) and math.isclose(float(found.mean()), float(value), rel_tol=1e-9):
                metrics.append(Metric(name, found, statistics.mean))
    return TaskSamples(["\n".join(_texts(sample["doc"])) for sample in some], metrics)


def _texts(value: Any) -> Iterator[str]:
    """The texts in a record, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
