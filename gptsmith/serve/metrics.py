"""Metrics for Prometheus: counts and times, without anybody's text."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gptsmith.serve.model_entry import STATES
from gptsmith.serve.served_models import ServedModels

SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LONG_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class RequestMetrics:
    """Counts and times of the requests to a server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gptsmith_requests", "Requests that were answered.", ["route", "status"], registry=self.registry
        )
        self.requests_in_progress = Gauge(
            "gptsmith_requests_in_progress", "Requests that are being answered.", registry=self.registry
        )
        self._request_duration_s = Histogram(
            "gptsmith_request_duration_seconds", "From a request to the end of its answer.", ["route"],
            buckets=LONG_S, registry=self.registry,
        )  # fmt: skip

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self.requests.labels(route, str(status)).inc()
        self._request_duration_s.labels(route).observe(seconds)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their content type, in the form that the Accept header names; else in the plain one."""
        return encoded(self.registry, accept)


class Metrics(RequestMetrics):
    """The metrics of a server of models."""

    def __init__(self) -> None:
        super().__init__()
        self._time_to_first_token_s = Histogram(
            "gptsmith_time_to_first_token_seconds", "From a request to the first token of a sequence.",
            ["model"], buckets=LONG_S, registry=self.registry,
        )  # fmt: skip
        self._inter_token_latency_s = Histogram(
            "gptsmith_inter_token_latency_seconds", "From one token of a sequence to the next.",
            ["model"], buckets=SHORT_S, registry=self.registry,
        )  # fmt: skip

    def watch(self, models: ServedModels) -> None:
        """Adds the metrics of the engines, as they are whenever they are read."""
        self.registry.register(EngineCollector(models))

    def time_to_first_token(self, model: str, seconds: float) -> None:
        self._time_to_first_token_s.labels(model).observe(seconds)

    def inter_token_latency(self, model: str, seconds: float) -> None:
        self._inter_token_latency_s.labels(model).observe(seconds)


def encoded(registry: Collector, accept: str) -> tuple[bytes, str]:
    """Metrics and their content type, in the form that the Accept header names; else in the plain one."""
    try:
        encoder, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it names a version that is none
        encoder, content_type = choose_encoder("")
    return encoder(registry), content_type


class EngineCollector(Collector):
    """The metrics of every engine."""

    def __init__(self, models: ServedModels) -> None:
        self.models = models

    def collect(self) -> Iterable[Metric]:
        """One family per metric, one sample per model."""
        gauges = {
            "running": GaugeMetricFamily(
                "gptsmith_num_requests_running", "Sequences that are being generated.", labels=["model"]
            ),
            "waiting": GaugeMetricFamily("gptsmith_num_requests_waiting", "Sequences that wait.", labels=["model"]),
            "num_kv_blocks": GaugeMetricFamily(
                "gptsmith_kv_cache_blocks", "Blocks of the KV cache that hold something.", labels=["model"]
            ),
            "num_shared_kv_blocks": GaugeMetricFamily(
                "gptsmith_kv_cache_shared_blocks", "Blocks that several sequences share.", labels=["model"]
            ),
            "kv_cache_bytes": GaugeMetricFamily(
                "gptsmith_kv_cache_bytes", "Memory of the KV cache's blocks that hold something.", labels=["model"]
            ),
        }
        counters = {
            "num_prompt_tokens": CounterMetricFamily("gptsmith_prompt_tokens", "Tokens of prompts.", labels=["model"]),
            "num_cached_tokens": CounterMetricFamily(
                "gptsmith_prefix_cache_hit_tokens", "Tokens of prompts that were in the KV cache.", labels=["model"]
            ),
            "num_tokens": CounterMetricFamily(
                "gptsmith_generation_tokens", "Tokens that were generated.", labels=["model"]
            ),
            "num_guarded_tokens": CounterMetricFamily(
                "gptsmith_recital_guarded_tokens",
                "Tokens in whose place the recital guard barred others.",
                labels=["model"],
            ),
            "num_preemptions": CounterMetricFamily(
                "gptsmith_preemptions", "Sequences that had to wait again for memory.", labels=["model"]
            ),
            "num_steps": CounterMetricFamily("gptsmith_engine_steps", "Steps of the engine.", labels=["model"]),
        }
        states = GaugeMetricFamily("gptsmith_model_state", "1 for the state of each model.", labels=["model", "state"])
        loads = CounterMetricFamily("gptsmith_model_loads", "How often a model was loaded.", labels=["model"])
        failures = CounterMetricFamily(
            "gptsmith_model_load_failures", "How often a model could not be loaded.", labels=["model"]
        )
        duration = GaugeMetricFamily(
            "gptsmith_model_load_duration_seconds", "The time that the last load of a model took.", labels=["model"]
        )
        for name, entry in self.models.entries.items():
            for state in STATES:
                states.add_metric([name, state], float(entry.state == state))
            loads.add_metric([name], entry.num_loads)
            failures.add_metric([name], entry.num_failures)
            duration.add_metric([name], entry.load_s)
        native = GaugeMetricFamily(
            "gptsmith_engine_native", "1 where compiled code decodes, 0 where PyTorch does.", labels=["model"]
        )
        yield from (states, loads, failures, duration)
        for name, served in self.models.loaded.items():
            figures = served.engine.figures()
            native.add_metric([name], float(served.engine.forwards.is_native))
            for key, gauge in gauges.items():
                gauge.add_metric([name], getattr(figures, key))
            for key, counter in counters.items():
                counter.add_metric([name], getattr(figures, key))
        yield native
        yield from gauges.values()
        yield from counters.values()
