"""
What the sender tells Prometheus.

Names are for life: dashboards and alert rules are built on them. No label is unbounded: a kind and
an outcome are words of ours, hosts are counted.
"""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from agents.deliveries import Outcome, State
from streams.delivering.store import Waiting

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All metrics of the process, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._attempts = Counter(
            "orderflow_callback_attempts", "Attempts, by what they came to.", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._latency = Histogram(
            "orderflow_callback_latency_seconds", "How long an attempt took.", ["kind"],
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self._parked = Counter(
            "orderflow_callback_parked", "Deliveries that nobody took.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "orderflow_callback_waiting",
            "Deliveries that wait for destinations which are active.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self._oldest = Gauge(
            "orderflow_callback_oldest_seconds",
            "How long the oldest of them has waited. Alert: more than 300.", ["kind"],
            registry=registry,
        )  # fmt: skip
        self._open = Gauge(
            "orderflow_callback_breaker_open", "Hosts that are left alone.", registry=registry
        )

    def attempt(self, kind: str, outcome: Outcome, latency_s: float) -> None:
        """Count one attempt."""
        self._attempts.labels(kind, outcome.value).inc()
        self._latency.labels(kind).observe(latency_s)

    def ended(self, kind: str, state: State | None) -> None:
        """Count what was parked."""
        if state is State.PARKED:
            self._parked.labels(kind).inc()

    def waits(
        self, kinds: Iterable[str], waiting: Mapping[str, Waiting], hosts: Sequence[str]
    ) -> None:
        """Show what waits."""
        for kind in kinds:
            found = waiting.get(kind, Waiting(0, 0.0))
            self._waiting.labels(kind).set(found.number)
            self._oldest.labels(kind).set(found.oldest_s)
        self._open.set(len(hosts))
