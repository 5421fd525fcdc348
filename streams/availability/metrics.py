"""
What availability tells Prometheus: the read API's own registry, and the roles' further metrics.

Names are for life. No label is unbounded: a channel is a shop of the reference data.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Metrics of the read API."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        requests = Counter(
            "orderflow_availability_requests",
            "Questions, by the status of their answer.",
            ["status"],
            registry=registry,
        )
        self._requests = {status: requests.labels(str(status)) for status in (200, 400, 503)}
        skus = Counter(
            "orderflow_availability_skus",
            "SKUs answered, by who knew: cache or ledger. From the ledger is a miss.",
            ["source"],
            registry=registry,
        )
        self._cache, self._ledger = skus.labels("cache"), skus.labels("ledger")
        self._age = Gauge(
            "orderflow_availability_age_seconds",
            "How far the cache may be behind the events; -1: not known.",
            registry=registry,
        )
        self._seconds = Histogram(
            "orderflow_availability_seconds",
            "How long an answer takes.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )

    def took(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests[status].inc()
        self._seconds.observe(seconds)

    def asked(self, cache: int, ledger: int, age_ms: int | None) -> None:
        """Count the SKUs of one answer."""
        self._cache.inc(cache)
        if ledger:
            self._ledger.inc(ledger)
        self._age.set(-1 if age_ms is None else age_ms / 1000)


class WriterMetrics:
    """What the role `availability` counts beside the engine's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.unread = Counter(
            "orderflow_availability_events_unread",
            "Events passed over because they cannot be read; the ledger parks them.",
            registry=registry,
        )


class PushMetrics:
    """What the role `channel-stock` counts beside the engine's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.unread = Counter(
            "orderflow_channel_stock_events_unread",
            "Events passed over because they cannot be read; the ledger parks them.",
            registry=registry,
        )
        self.told = Counter(
            "orderflow_channel_stock_told",
            "SKUs a channel was told of, by outcome: taken, refused, failed.",
            ["channel", "outcome"],
            registry=registry,
        )
        self.due = Gauge(
            "orderflow_channel_stock_due",
            "SKUs that wait to be looked at for a channel.",
            ["channel"],
            registry=registry,
        )
