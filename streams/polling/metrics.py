"""
What the poller tells Prometheus.

Names are for life: dashboards and alert rules are built on them. Shops are those of the shops file,
hosts those of their addresses, so no label is unbounded.
"""

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from agents.silence import Verdict
from streams.clients.pacing import State

_SHOP = ("platform", "shop")
#: A breaker as a number.
STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class Metrics:
    """All metrics of the poller, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._calls = Counter(
            "orderflow_poll_calls",
            "Attempts to call a platform, by what became of them.",
            [*_SHOP, "outcome"],
            registry=registry,
        )
        self._orders = Counter(
            "orderflow_poll_orders",
            "Orders put on a raw topic, listed (poll) or asked for one by one (fetch).",
            [*_SHOP, "way"],
            registry=registry,
        )
        self._turns = Counter(
            "orderflow_poll_turns", "Turns, by how they ended.", [*_SHOP, "outcome"],
            registry=registry,
        )  # fmt: skip
        self.lag = Gauge(
            "orderflow_poll_cursor_lag_seconds",
            "How far a shop's cursor lies back.",
            _SHOP,
            registry=registry,
        )
        self.breaker = Gauge(
            "orderflow_poll_breaker_state",
            "Of a host: 0 closed, 1 half open, 2 open.",
            ["host"],
            registry=registry,
        )
        self.waiting = Gauge(
            "orderflow_poll_fetches_waiting", "Orders still to be asked for.", _SHOP,
            registry=registry,
        )  # fmt: skip
        self._left = Counter(
            "orderflow_poll_orders_left",
            "Orders that a platform names and does not give: exceptions with stage fetch.",
            _SHOP,
            registry=registry,
        )
        self.fetch_age = Gauge(
            "orderflow_poll_fetch_age_seconds",
            "How long the oldest order waits to be asked for.",
            _SHOP,
            registry=registry,
        )

        self._silent = Gauge(
            "orderflow_channel_silent",
            "1 while a channel says nothing against its usual rate.",
            _SHOP,
            registry=registry,
        )
        self._expected = Gauge(
            "orderflow_channel_expected_orders",
            "Orders that were to be expected since a channel's last one.",
            _SHOP,
            registry=registry,
        )
        self._last_order = Gauge(
            "orderflow_channel_last_order_timestamp_seconds",
            "When a channel had its last order.",
            _SHOP,
            registry=registry,
        )
        self._listened = Gauge(
            "orderflow_channel_listened_timestamp_seconds",
            "When it was last judged which channels are silent.",
            registry=registry,
        )

        self._gaps = Gauge(
            "orderflow_poll_subscriptions_missing",
            "Topics that orders need and that a platform does not push. Must be 0.",
            _SHOP,
            registry=registry,
        )
        self._subscribed = Counter(
            "orderflow_poll_subscriptions_checked",
            "How often it was asked what a platform pushes, by what it said.",
            [*_SHOP, "outcome"],
            registry=registry,
        )

    def subscribed(self, platform: str, shop: str, outcome: str, gaps: int) -> None:
        """Take over what a platform pushes; where it did not tell, the last answer stays."""
        self._subscribed.labels(platform, shop, outcome).inc()
        if outcome != "unknown":
            self._gaps.labels(platform, shop).set(gaps)

    def channels(self, verdicts: Iterable[Verdict], now: datetime) -> None:
        """Take over how the channels are; one that is forgotten is shown no more."""
        for gauge in (self._silent, self._expected, self._last_order):
            gauge.clear()
        for each in verdicts:
            key = each.platform, each.shop
            self._silent.labels(*key).set(each.state == "silent")
            self._expected.labels(*key).set(each.expected)
            self._last_order.labels(*key).set(each.last_at.timestamp())
        self._listened.set(now.timestamp())

    def call(self, platform: str, shop: str, outcome: str) -> None:
        """Count one attempt."""
        self._calls.labels(platform, shop, outcome).inc()

    def orders(self, platform: str, shop: str, way: str, count: int) -> None:
        """Count orders that are on the topic."""
        self._orders.labels(platform, shop, way).inc(count)

    def left(self, platform: str, shop: str) -> None:
        """Count an order that was left to a person."""
        self._left.labels(platform, shop).inc()

    def turn(self, platform: str, shop: str, outcome: str) -> None:
        """Count one turn."""
        self._turns.labels(platform, shop, outcome).inc()
