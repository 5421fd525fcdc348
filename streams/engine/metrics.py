"""
What a worker tells Prometheus. Updated once a round, never once a record.

Names are for life: dashboards and alert rules are built on them. No label is unbounded.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

#: A way takes milliseconds when all is well, and hours after a long outage.
AGES_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 21_600)


class Metrics:
    """All metrics of the engine, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.processed = Counter(
            "orderflow_events_processed",
            "Records worked on.",
            ["stage", "outcome"],
            registry=registry,
        )
        #: What intake found out of the ordinary; a crash may count a record twice.
        self.noticed = {
            "parked": Counter(
                "orderflow_intake_parked",
                "Messages that intake parked, by cause; `future` means a zone was read wrong.",
                ["cause"],
                registry=registry,
            ),
            "late": Counter(
                "orderflow_intake_late",
                "Statements that came more than five minutes after they were made.",
                ["platform"],
                registry=registry,
            ),
            "held": Counter(
                "orderflow_intake_held",
                "Messages that intake set aside because their shop was paused.",
                ["platform"],
                registry=registry,
            ),
        }
        self.replays_skipped = Counter(
            "orderflow_replays_skipped",
            "Records below the position.",
            ["keeper"],
            registry=registry,
        )
        self.letter_repeats = Counter(
            "orderflow_letter_repeats", "Letters received before.", ["keeper"], registry=registry
        )
        self.letter_gaps = Counter(
            "orderflow_letter_gaps",
            "Letters lost, or records missing in the inbox. Must be 0.",
            ["keeper"],
            registry=registry,
        )
        self.stale_commits = Counter(
            "orderflow_stale_commits",
            "Changelog records that lost by their position.",
            ["keeper"],
            registry=registry,
        )
        self.foreign_writes = Counter(
            "orderflow_foreign_writes",
            "Times another writer was met in an own changelog.",
            ["keeper"],
            registry=registry,
        )
        self.recovery = Gauge(
            "orderflow_recovery_seconds",
            "How long the last recovery took.",
            ["keeper"],
            registry=registry,
        )
        self.recovery_records = Gauge(
            "orderflow_recovery_records",
            "Changelog records that the last recovery read: far more than rows means that snapshots"
            " are missing or that the log is not cleaned.",
            ["keeper"],
            registry=registry,
        )
        self.lag = Gauge(
            "orderflow_consumer_lag_messages",
            "Records that wait.",
            ["topic", "partition"],
            registry=registry,
        )
        self.rebalances = Counter(
            "orderflow_rebalances",
            "Rebalances this worker took part in.",
            ["stage"],
            registry=registry,
        )
        self.halted = Gauge(
            "orderflow_partitions_halted",
            "Partitions that wait for a person. Must be 0.",
            ["stage"],
            registry=registry,
        )
        self.waiting = Gauge(
            "orderflow_stage_waiting",
            "1 while a round waits for a part that is away.",
            ["stage"],
            registry=registry,
        )
        self.last_processed = Gauge(
            "orderflow_last_processed_timestamp_seconds",
            "When the last round ended.",
            ["stage"],
            registry=registry,
        )
        self.round_seconds = Histogram(
            "orderflow_stage_seconds",
            "How long a round takes, both round trips included.",
            ["stage"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.age = Histogram(
            "orderflow_event_age_seconds",
            "From a record's append to a stage's inbox until its effect is safe: the oldest record"
            " of each round.",
            ["stage"],
            buckets=AGES_S,
            registry=registry,
        )
        self.flow = Histogram(
            "orderflow_flow_seconds",
            "An order's way into the ledger, since the platform's change or since its receipt: the"
            " first order of each round.",
            ["since"],
            buckets=AGES_S,
            registry=registry,
        )
        self.duplicates = Counter(
            "orderflow_duplicates",
            "Records that came before and changed nothing.",
            ["stage"],
            registry=registry,
        )
        self.pending = Gauge(
            "orderflow_sink_pending_events",
            "Records that wait for a sink, at its last report.",
            ["sink"],
            registry=registry,
        )
        self.oldest = Gauge(
            "orderflow_sink_oldest_seconds",
            "How old the oldest record of a sink's last round was; 0 when nothing waits.",
            ["sink"],
            registry=registry,
        )
        self.snapshots = Counter(
            "orderflow_snapshots",
            "Snapshots of partitions: written, failed, loaded, refused.",
            ["keeper", "outcome"],
            registry=registry,
        )
        self.wakes = Counter(
            "orderflow_deadlines_woken",
            "Commands sent because a deadline passed.",
            ["keeper"],
            registry=registry,
        )
