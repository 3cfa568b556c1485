"""What a server counts and times, as Prometheus reads it. No person and no text is in it."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gptsmith.serve.served_models import ServedModels

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LONG_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gptsmith_requests", "Requests that were answered.", ["route", "status"], registry=self.registry
        )
        self.requests_in_progress = Gauge(
            "gptsmith_requests_in_progress", "Requests that are being answered.", registry=self.registry
        )
        self._request_s = Histogram(
            "gptsmith_request_seconds", "From a request to the end of its answer.", ["route"],
            buckets=LONG_S, registry=self.registry,
        )  # fmt: skip
        self._first_token_s = Histogram(
            "gptsmith_first_token_seconds", "From a request to the first token of a text, the queue included.",
            ["model"], buckets=LONG_S, registry=self.registry,
        )  # fmt: skip
        self._between_tokens_s = Histogram(
            "gptsmith_between_tokens_seconds", "From one token of a text to the next.",
            ["model"], buckets=SHORT_S, registry=self.registry,
        )  # fmt: skip

    def watch(self, models: ServedModels) -> None:
        """Tells the figures of the engines too, as they are whenever they are read."""
        self.registry.register(EngineCollector(models))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self.requests.labels(route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def first_token(self, model: str, seconds: float) -> None:
        self._first_token_s.labels(model).observe(seconds)

    def between_tokens(self, model: str, seconds: float) -> None:
        self._between_tokens_s.labels(model).observe(seconds)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All figures and their content type, in the form that is asked for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type


class EngineCollector(Collector):
    """The figures of every engine."""

    def __init__(self, models: ServedModels) -> None:
        self.models = models

    def collect(self) -> Iterable[Metric]:
        """One family a figure, one sample a model."""
        gauges = {
            "running": GaugeMetricFamily("gptsmith_running", "Texts that are being written.", labels=["model"]),
            "waiting": GaugeMetricFamily("gptsmith_waiting", "Texts that wait.", labels=["model"]),
        }
        counters = {
            "num_prompt_tokens": CounterMetricFamily("gptsmith_prompt_tokens", "Tokens of prompts.", labels=["model"]),
            "num_cached_tokens": CounterMetricFamily(
                "gptsmith_cached_tokens", "Those of them that were known already.", labels=["model"]
            ),
            "num_tokens": CounterMetricFamily("gptsmith_tokens", "Tokens that were written.", labels=["model"]),
            "num_steps": CounterMetricFamily("gptsmith_steps", "Steps of the engine.", labels=["model"]),
        }
        for name, served in self.models.by_name.items():
            figures = served.engine.figures()
            for key, gauge in gauges.items():
                gauge.add_metric([name], getattr(figures, key))
            for key, counter in counters.items():
                counter.add_metric([name], getattr(figures, key))
        yield from gauges.values()
        yield from counters.values()
