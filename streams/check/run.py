"""
One check, from the addresses to the report.

Promises to change nothing: no consumer group, no write, one read-only snapshot of PostgreSQL.
"""

import time
from collections.abc import Callable
from pathlib import Path

from streams.check import feedlog, postgres
from streams.check.checker import PHASES, Checker
from streams.check.ledger import LedgerCheck
from streams.check.reading import Reader
from streams.check.report import Claims, Report, verdict
from streams.settings import Settings

OF_POSTGRES = (
    "I1.postgres", "T21.postgres", "I5.postgres", "I7.postgres", "I8.postgres", "I12.postgres",
    "I13.postgres",
)  # fmt: skip
NO_ADDRESS = "no PostgreSQL address is set (ORDERFLOW_POSTGRES_LEDGER)"
NOT_WANTED = "PostgreSQL was left out, as asked"

Progress = Callable[[str, int], None]


async def run(
    settings: Settings,
    *,
    feed_log: Path | None = None,
    without_postgres: bool = False,
    progress: Progress | None = None,
    now_ms: int | None = None,
) -> Report:
    """
    Check every invariant on the installation that *settings* names.

    The system must be at rest. *progress* hears what is read next and how many records were.
    Raises BrokerUnavailable, LedgerUnavailable, Misconfigured.
    """
    began = time.monotonic()
    claims = Claims()
    feed = _feed(feed_log, claims, settings)
    now = now_ms if now_ms is not None else time.time_ns() // 1_000_000
    checker = Checker(now, feed, claims)
    checker.prefix = settings.topic_prefix
    tell = progress or _silence
    async with Reader(settings, [topic for phase in PHASES for topic in phase]) as reader:
        for phase in PHASES:
            tell(phase[0], checker.records)
            await reader.read(phase, checker)
        begins, ends = reader.begins, reader.ends
    checker.settle(begins, ends)
    tell("PostgreSQL", checker.records)
    await _postgres(settings, checker, ends, wanted=not without_postgres)
    findings = checker.findings()
    return Report(
        ok=verdict(findings, without_postgres=without_postgres),
        invariants=findings,
        seconds=time.monotonic() - began,
        records=checker.records,
        without_postgres=without_postgres,
    )


def _silence(what: str, records: int) -> None:
    """Nobody wants to hear how far it is."""


def _feed(path: Path | None, claims: Claims, settings: Settings) -> feedlog.FeedLog | None:
    if path is None:
        return None
    return feedlog.read(path, claims, lambda topic: topic.removeprefix(settings.topic_prefix))


async def _postgres(
    settings: Settings, checker: Checker, ends: dict[tuple[str, int], int], *, wanted: bool
) -> None:
    dsn = postgres.address(settings) if wanted else None
    for id_ in OF_POSTGRES:
        checker.claims[id_].skipped = "" if dsn else NO_ADDRESS if wanted else NOT_WANTED
    if dsn is None:
        return
    ledger = LedgerCheck(checker)
    await postgres.compare(dsn, ledger)
    ledger.close(ends)
    rights, names = checker.claims["I13.postgres"], postgres.roles(settings)
    if names:
        await postgres.check_rights(dsn, names, rights)
    else:
        rights.skipped = "no role that serves is named (ORDERFLOW_POSTGRES_LEDGER)"
