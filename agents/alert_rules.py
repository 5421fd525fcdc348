"""
The figures that are watched, and the rules that come with the house. Data.

An installation changes a rule, or turns it off, in its alerts file (docs/alerts.md). Times and
thresholds are those that the business named; where nobody did, the comment says why it is so.
"""

from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.alerts import Rule, Severity

_S: Final = 1_000
_MIN: Final = 60 * _S
_HOUR: Final = 60 * _MIN
_RUNBOOK: Final = "docs/runbook.md#"


class Signal(NamedTuple):
    """A figure, and what one of its subjects is."""

    #: What is counted, as it stands behind the number.
    unit: str
    #: What a subject is; empty: there is one figure.
    subject: str
    #: How often it is read, ms.
    every_ms: int


SIGNALS: Final = MappingProxyType(
    {
        "exceptions-open": Signal("open exceptions", "", 2 * _S),
        "order-delay-source": Signal("s", "shop", 2 * _S),
        "order-delay-receive": Signal("s", "shop", 2 * _S),
        "negative-stock": Signal("units short", "SKU", 1 * _S),
        "lag": Signal("s", "reader and topic", 5 * _S),
        "stuck": Signal("beyond their time", "state", 5 * _S),
        "silent": Signal("orders were to be expected", "shop", 60 * _S),
        "paused": Signal("s", "shop", 10 * _S),
        "dependency-down": Signal("does not answer", "part", 2 * _S),
        "disk-used": Signal("% used", "folder", 30 * _S),
        "partition-trouble": Signal("in trouble", "partition or trail", 10 * _S),
        "drift-open": Signal("drifts are open", "", 5 * _S),
        "canary-age": Signal("s", "", 5 * _S),
        "selftest-age": Signal("s", "channel", 60 * _S),
        "channel-failing": Signal("s", "channel", 2 * _S),
        "callback-oldest": Signal("s", "destination", 10 * _S),
        "callback-host": Signal("failures in a row", "host", 10 * _S),
        "unread": Signal("s", "figure", 10 * _S),
    }
)

RULES: Final = (
    Rule(
        name="exceptions-backlog",
        signal="exceptions-open",
        threshold=50,
        clear=40,
        for_ms=1 * _MIN,
        clear_for_ms=1 * _MIN,
        severity=Severity.WARNING,
        summary="More than 50 exceptions wait for a person.",
        runbook=f"{_RUNBOOK}a-message-is-parked",
    ),
    # The longest delay of the last minutes: it is over by itself when no more orders are late.
    Rule(
        name="orders-late-by-source",
        signal="order-delay-source",
        threshold=300,
        clear=240,
        severity=Severity.WARNING,
        summary="Orders come in more than five minutes after the platform changed them.",
        runbook=f"{_RUNBOOK}orders-do-not-appear-or-appear-late",
    ),
    Rule(
        name="orders-late-by-receipt",
        signal="order-delay-receive",
        threshold=300,
        clear=240,
        severity=Severity.CRITICAL,
        summary="Orders take more than five minutes from receipt to a verdict in the ledger.",
        runbook=f"{_RUNBOOK}orders-do-not-appear-or-appear-late",
    ),
    Rule(
        name="negative-stock",
        signal="negative-stock",
        threshold=0,
        clear=0,
        for_ms=10 * _S,
        severity=Severity.CRITICAL,
        summary="More of a SKU is held than is there.",
        runbook=f"{_RUNBOOK}a-sku-is-short",
    ),
    # Lag is judged by time: a count says nothing about how long anybody waits.
    Rule(
        name="lag",
        signal="lag",
        threshold=120,
        clear=30,
        for_ms=10 * _S,
        clear_for_ms=30 * _S,
        severity=Severity.CRITICAL,
        summary="A reader is more than two minutes behind its topic.",
        runbook=f"{_RUNBOOK}a-reader-is-behind",
    ),
    Rule(
        name="stuck",
        signal="stuck",
        threshold=0,
        clear=0,
        for_ms=30 * _S,
        clear_for_ms=1 * _MIN,
        severity=Severity.WARNING,
        summary="Something stays in a state for longer than it may.",
        runbook=f"{_RUNBOOK}something-is-stuck",
    ),
    Rule(
        name="channel-silent",
        signal="silent",
        threshold=0,
        clear=0,
        clear_for_ms=2 * _MIN,
        severity=Severity.CRITICAL,
        summary="A channel says nothing, against its own week.",
        runbook=f"{_RUNBOOK}a-channel-is-silent",
    ),
    Rule(
        name="paused-too-long",
        signal="paused",
        threshold=3_600,
        clear=0,
        severity=Severity.WARNING,
        summary="A shop's intake has been paused for more than an hour.",
        runbook=f"{_RUNBOOK}a-shop-is-paused",
    ),
    # Longer than a restart of a part takes.
    Rule(
        name="dependency-down",
        signal="dependency-down",
        threshold=0,
        clear=0,
        for_ms=15 * _S,
        clear_for_ms=10 * _S,
        severity=Severity.CRITICAL,
        summary="A part of the installation does not answer.",
        runbook=f"{_RUNBOOK}a-part-does-not-answer",
    ),
    Rule(
        name="disk-filling",
        signal="disk-used",
        threshold=85,
        clear=80,
        for_ms=1 * _MIN,
        clear_for_ms=1 * _MIN,
        severity=Severity.CRITICAL,
        summary="A disk is filling up.",
        runbook=f"{_RUNBOOK}a-disk-fills-up-or-a-partition-is-in-trouble",
    ),
    Rule(
        name="partition-trouble",
        signal="partition-trouble",
        threshold=0,
        clear=0,
        for_ms=30 * _S,
        clear_for_ms=30 * _S,
        severity=Severity.CRITICAL,
        summary="A partition has no leader or too few copies, or a month has no partition.",
        runbook=f"{_RUNBOOK}a-disk-fills-up-or-a-partition-is-in-trouble",
    ),
    Rule(
        name="drift",
        signal="drift-open",
        threshold=0,
        clear=0,
        severity=Severity.CRITICAL,
        summary="Two stores that repeat each other disagree.",
        runbook=f"{_RUNBOOK}a-drift-is-reported",
    ),
    # Three canaries in a row.
    Rule(
        name="canary-late",
        signal="canary-age",
        threshold=180,
        clear=120,
        severity=Severity.CRITICAL,
        summary="The canary order does not come through the whole chain.",
        runbook=f"{_RUNBOOK}the-canary-does-not-come-through",
    ),
    Rule(
        name="selftest-late",
        signal="selftest-age",
        threshold=26 * 3_600,
        clear=25 * 3_600,
        severity=Severity.WARNING,
        summary="A channel of alerts has taken no self-test for more than a day.",
        runbook=f"{_RUNBOOK}alerts-do-not-arrive",
    ),
    # Told on the channels that still work.
    Rule(
        name="alert-channel-failing",
        signal="channel-failing",
        threshold=120,
        clear=0,
        severity=Severity.CRITICAL,
        summary="A channel of alerts takes nothing.",
        runbook=f"{_RUNBOOK}alerts-do-not-arrive",
    ),
    # Longer than all attempts of one delivery take (3 + 6 + 12 + 24 s): nothing is getting through.
    Rule(
        name="callbacks-late",
        signal="callback-oldest",
        threshold=300,
        clear=60,
        severity=Severity.WARNING,
        summary="What a subscriber or platform is to be told has waited over five minutes.",
        runbook=f"{_RUNBOOK}a-subscriber-does-not-get-its-callbacks",
    ),
    # A host that was left alone twice and is no better.
    Rule(
        name="callback-host-down",
        signal="callback-host",
        threshold=0,
        clear=0,
        for_ms=90 * _S,
        clear_for_ms=30 * _S,
        severity=Severity.WARNING,
        summary="A subscriber's or platform's host fails again and again, and is left alone.",
        runbook=f"{_RUNBOOK}a-subscriber-does-not-get-its-callbacks",
    ),
    # A figure that nobody can read is not fine. The slowest is read every minute.
    Rule(
        name="figure-unknown",
        signal="unread",
        threshold=180,
        clear=120,
        severity=Severity.WARNING,
        summary="A figure that is watched cannot be read.",
        runbook=f"{_RUNBOOK}a-figure-is-unknown",
    ),
)
