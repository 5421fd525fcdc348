"""
What the gateway tells Prometheus.

Names are for life: dashboards and alert rules are built on them. No label is unbounded: a platform
that we do not know is `other`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.topics import PLATFORMS

_OTHER = "other"


class Metrics:
    """All metrics of the gateway, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._requests = Counter(
            "orderflow_webhooks_received",
            "Webhooks and orders of the own mall, by what became of them.",
            ["platform", "outcome"],
            registry=registry,
        )
        self._ack_seconds = Histogram(
            "orderflow_webhook_ack_seconds",
            "From a whole, proved message to the broker's acknowledgement.",
            ["platform"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=registry,
        )
        self.held_bytes = Gauge(
            "orderflow_gateway_held_bytes",
            "Bodies of requests that are not answered yet.",
            registry=registry,
        )
        self.shops = Gauge("orderflow_gateway_shops", "Shops that are known.", registry=registry)
        # `labels` takes longer than counting; there are few of them.
        self._counters: dict[tuple[str, str], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def count(self, platform: str, outcome: str) -> None:
        """Count one request."""
        counter = self._counters.get((platform, outcome))
        if counter is None:
            known = platform if platform in PLATFORMS else _OTHER
            counter = self._requests.labels(known, outcome)
            if known is not _OTHER:
                self._counters[platform, outcome] = counter
        counter.inc()

    def acknowledged(self, platform: str, seconds: float) -> None:
        """Take how long the broker took."""
        timer = self._timers.get(platform)
        if timer is None:
            timer = self._timers[platform] = self._ack_seconds.labels(platform)
        timer.observe(seconds)
