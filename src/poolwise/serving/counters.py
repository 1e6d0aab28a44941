"""The counters of a server, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from poolwise.serving.batcher import BatchFacts

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKENS = tuple(float(2**power) for power in range(3, 18))


class Watched(Protocol):
    """What the gauges of a model read."""

    @property
    def num_waiting(self) -> int:
        """Tokens that wait."""

    @property
    def tokens_per_second(self) -> float:
        """Measured speed."""


class Counters:
    """Counts requests and batches. Every app has its own; labels have few values, whatever is asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("poolwise_requests", "Answered requests.", ["path", "status"], **kept)
        self._seconds = Histogram(
            "poolwise_request_seconds", "Time from the first byte to the answer.", ["path"], buckets=SECONDS, **kept
        )
        self._texts = Counter("poolwise_texts", "Texts that a model read.", ["model"], **kept)
        self._tokens = Counter("poolwise_tokens", "Tokens that a model read.", ["model"], **kept)
        self._batch_tokens = Histogram(
            "poolwise_batch_tokens", "Tokens that were read together.", ["model"], buckets=TOKENS, **kept
        )
        self._batch_seconds = Histogram(
            "poolwise_batch_seconds", "Time to read them.", ["model"], buckets=SECONDS, **kept
        )
        self._waiting = Gauge("poolwise_queue_tokens", "Tokens that wait for a model.", ["model"], **kept)
        self._speed = Gauge("poolwise_tokens_per_second", "Measured speed of a model.", ["model"], **kept)
        self._reloads = Counter("poolwise_reloads", "Reloads of a model.", ["model", "outcome"], **kept)

    def watch(self, models: Mapping[str, Watched]) -> None:
        """Read the gauges from these models."""
        for name, model in models.items():
            self._waiting.labels(name).set_function(partial(getattr, model, "num_waiting"))
            self._speed.labels(name).set_function(partial(getattr, model, "tokens_per_second"))

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request; ``path`` is that of its route."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_batch(self, model: str, facts: BatchFacts) -> None:
        """Count a batch."""
        self._texts.labels(model).inc(facts.num_texts)
        self._tokens.labels(model).inc(facts.num_tokens)
        self._batch_tokens.labels(model).observe(facts.num_tokens)
        self._batch_seconds.labels(model).observe(facts.seconds)

    def count_reload(self, model: str, is_done: bool) -> None:
        """Count a reload."""
        self._reloads.labels(model, "done" if is_done else "failed").inc()

    def as_text(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self.registry)
