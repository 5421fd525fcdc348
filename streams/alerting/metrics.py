"""
What the alerts' process tells Prometheus: the figures it judges, and how telling people goes.

Names are for life: `deploy/prometheus/alerts.yml` is built on them. No label is unbounded: SKUs and
orders are counted, not named.
"""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from schemas.alerts import LOUD, Alert, Reading, Rule


class Metrics:
    """All metrics of the process, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def gauge(name: str, says: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(name, says, labels, registry=registry)

        self._open = gauge("orderflow_exceptions_open", "Exceptions that wait for a person.")
        self._delay = gauge(
            "orderflow_order_delay_seconds",
            "The longest way of the last minutes' orders, from the platform's change or from here.",
            ["since"],
        )
        self._negative = gauge("orderflow_negative_stock_skus", "SKUs held and not there.")
        self._lag = gauge(
            "orderflow_lag_seconds", "How long the oldest unread record waits.", ["reader"]
        )
        self._stuck = gauge("orderflow_stuck", "Beyond their time, by state.", ["state"])
        self._silent = gauge("orderflow_channels_silent", "Channels that say nothing.")
        self._paused = gauge("orderflow_paused_seconds", "How long the longest pause has been.")
        self._up = gauge("orderflow_dependency_up", "1 while a part answers.", ["name"])
        self._disk = gauge("orderflow_disk_used_ratio", "How full a folder's disk is.", ["folder"])
        self._partitions = gauge(
            "orderflow_partitions_in_trouble", "Partitions without leader or copies, or month."
        )
        self._drifts = gauge("orderflow_drifts_open", "Drifts that wait for a person. Must be 0.")
        self._canary = gauge(
            "orderflow_canary_age_seconds", "Since the last canary order came through."
        )
        self._tested = gauge(
            "orderflow_alert_selftest_age_seconds", "Since a channel took a self-test.", ["channel"]
        )
        self._failing = gauge(
            "orderflow_alert_channel_failing_seconds", "Since a channel takes nothing.", ["channel"]
        )
        self._callbacks = gauge(
            "orderflow_callback_oldest_seconds", "How long the oldest delivery has waited."
        )
        self._hosts = gauge("orderflow_callback_breaker_open", "Hosts that are left alone.")
        self._read = gauge(
            "orderflow_signal_last_timestamp_seconds", "When a figure was last read.", ["signal"]
        )
        self._alerts = gauge(
            "orderflow_alerts_firing", "Alerts that are not over.", ["rule", "severity"]
        )
        self.works = gauge("orderflow_alerts_at_work", "1 in the replica that works.")
        self.waiting = gauge("orderflow_alerts_waiting", "Notices not yet told.", ["channel"])
        self._posts = Counter(
            "orderflow_alert_messages", "Messages, by what became of them.", ["channel", "outcome"],
            registry=registry,
        )  # fmt: skip
        self._suppressed = Counter(
            "orderflow_alerts_suppressed", "Notices that went into another's message.", ["channel"],
            registry=registry,
        )  # fmt: skip
        self._shows: dict[str, Callable[[Sequence[Reading]], None]] = {
            "exceptions-open": lambda said: self._open.set(_worst(said)),
            "order-delay-source": lambda said: self._delay.labels("change").set(_worst(said)),
            "order-delay-receive": lambda said: self._delay.labels("receipt").set(_worst(said)),
            "negative-stock": lambda said: self._negative.set(_short(said)),
            "lag": lambda said: _each(self._lag, said),
            "stuck": lambda said: _each(self._stuck, said),
            "silent": lambda said: self._silent.set(len(said)),
            "paused": lambda said: self._paused.set(_worst(said)),
            "dependency-down": lambda said: _each(self._up, said, lambda down: 1 - down),
            "disk-used": lambda said: _each(self._disk, said, lambda percent: percent / 100),
            "partition-trouble": lambda said: self._partitions.set(
                sum(each.value > 0 for each in said)
            ),
            "drift-open": lambda said: self._drifts.set(_worst(said)),
            "canary-age": lambda said: self._canary.set(_worst(said)),
            "selftest-age": lambda said: _each(self._tested, said),
            "channel-failing": lambda said: _each(self._failing, said),
            "callback-oldest": lambda said: self._callbacks.set(_worst(said)),
            "callback-host": lambda said: self._hosts.set(len(said)),
            # The time of each reading says it.
            "unread": lambda _: None,
        }

    def read(self, signal: str, readings: Sequence[Reading], at_ms: int) -> None:
        """Show what *signal* read."""
        self._shows[signal](readings)
        self._read.labels(signal).set(at_ms / 1000)

    def alerts(self, rules: Sequence[Rule], alerts: Sequence[Alert]) -> None:
        """Show how many alerts of each rule are not over."""
        for rule in rules:
            count = sum(each.rule == rule.name and each.state in LOUD for each in alerts)
            self._alerts.labels(rule.name, rule.severity.value).set(count)

    def message(self, channel: str, outcome: str, notices: int) -> None:
        """Count one message."""
        self._posts.labels(channel, outcome).inc()
        if outcome == "taken":
            self._suppressed.labels(channel).inc(notices - 1)


def _worst(said: Sequence[Reading]) -> float:
    return max((each.value for each in said), default=0.0)


def _short(said: Sequence[Reading]) -> int:
    """How many SKUs are short by their last reading."""
    last = {each.subject: each.value for each in sorted(said, key=lambda each: each.at_ms)}
    return sum(value > 0 for value in last.values())


def _each(
    gauge: Gauge, said: Sequence[Reading], shown: Callable[[float], float] = lambda value: value
) -> None:
    """Show each subject; one that is named no more is gone."""
    gauge.clear()
    for each in said:
        gauge.labels(each.subject).set(shown(each.value))
