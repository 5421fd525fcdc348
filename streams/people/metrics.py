"""
What the operations API tells Prometheus: its own requests, and what waits for people.

Names are for life: dashboards and alert rules are built on them. No label is unbounded: a shop is
one of the reference data, a cause a word of ours.
"""

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from schemas.parked import Cause


class Metrics:
    """All metrics of the process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "orderflow_operations_requests",
            "Requests by operation and by the status of their answer.",
            ["operation", "status"],
            registry=registry,
        )
        self._open = Gauge(
            "orderflow_exceptions_open",
            "Exceptions that wait for a person, by cause. Alert: more than 50, sustained.",
            ["cause"],
            registry=registry,
        )
        self._oldest = Gauge(
            "orderflow_exceptions_oldest_seconds",
            "How long the oldest open exception has waited; 0: there is none.",
            registry=registry,
        )
        self._paused = Gauge(
            "orderflow_intake_paused_seconds",
            "For how long a shop's messages have been set aside, until the last of them is read.",
            ["platform", "shop"],
            registry=registry,
        )
        self._overdue = Gauge(
            "orderflow_intake_pauses_overdue",
            "Pauses that last longer than ORDERFLOW_PAUSE_MAX. Alert: above 0.",
            registry=registry,
        )

    def exceptions(self, rows: Sequence[dict[str, Any]], now_s: float) -> None:
        """Take how many are open of each cause."""
        by_cause = {row["cause"]: row for row in rows}
        for cause in Cause:
            row = by_cause.get(cause.value)
            self._open.labels(cause.value).set(row["open"] if row else 0)
        oldest = min((row["oldest"].timestamp() for row in rows), default=now_s)
        self._oldest.set(max(0.0, now_s - oldest))

    def pauses(self, rows: Sequence[dict[str, Any]], now_s: float, max_s: float) -> None:
        """Take which pauses are not over."""
        self._paused.clear()
        overdue = 0
        for row in rows:
            lasted = max(0.0, now_s - row["paused_at"].timestamp())
            self._paused.labels(row["platform"], row["shop"]).set(lasted)
            overdue += lasted > max_s
        self._overdue.set(overdue)
