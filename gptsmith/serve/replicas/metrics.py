"""The metrics of all replicas as those of one server, each sample with the number of its replica."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gptsmith.serve.metrics import RequestMetrics, encoded
from gptsmith.serve.replicas.routing import Replica

LABEL = "replica"
FRONT = 0
"""The number of the process in front."""


def merged_metrics(
    texts: Mapping[int, str], replicas: Sequence[Replica], front: RequestMetrics, accept: str
) -> tuple[bytes, str]:
    """All metrics and their content type, in the form that the Accept header names.

    Args:
        texts: what each replica says, in OpenMetrics' form.
        front: the process in front.
    """
    return encoded(Merged(texts, replicas, front), accept)


class Merged(Collector):
    """The metrics of several processes: one family per metric."""

    def __init__(self, texts: Mapping[int, str], replicas: Sequence[Replica], front: RequestMetrics) -> None:
        self._texts, self._replicas, self._front = texts, replicas, front

    def collect(self) -> Iterable[Metric]:
        """One family per metric, with the samples of all."""
        families: dict[str, Metric] = {}
        sources = {FRONT: self._front.registry.collect()}
        for number, text in self._texts.items():
            sources[number] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for number, found in sources.items():
            for family in found:
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                merged.samples += [
                    sample._replace(labels={LABEL: str(number), **sample.labels}) for sample in family.samples
                ]
        yield from families.values()
        up = GaugeMetricFamily("gptsmith_replica_up", "1 where a replica takes requests.", labels=[LABEL])
        restarts = CounterMetricFamily(
            "gptsmith_replica_restarts", "How often a replica's process ended and was started again.", labels=[LABEL]
        )
        for replica in self._replicas:
            up.add_metric([str(replica.number)], float(replica.is_up))
            restarts.add_metric([str(replica.number)], replica.num_restarts)
        yield from (up, restarts)
