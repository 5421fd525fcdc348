"""
What must hold after every step, and what must hold at the end.

The judges are those of `orderflow check`: they fold every event from zero, and share no line with
the house (import-linter keeps it so). Here they look after each step at what it has appended; at
the end the whole check is run on the logs and on what the ledger wrote.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from streams.check.checker import CHANGELOGS, NUMBERED, PHASES, Checker
from streams.check.lanes import Lanes
from streams.check.ledger import LedgerCheck
from streams.check.report import Claims, Finding, Place
from streams.check.run import OF_POSTGRES
from streams.check.stock import StockFold
from streams.check.wire import (
    STATE_KEY,
    fingerprint,
    open_announcement,
    open_event,
    open_letter,
    open_row,
)
from streams.check.words import CANCELLED, GONE, STILL_HELD, may_follow
from tests.simulation.database import Database
from tests.simulation.house import Record

Logs = Mapping[tuple[str, int], Sequence[Record | None]]


class Violation(AssertionError):  # noqa: N818  the word of the check
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class _Story:
    """One order, as its events tell it."""

    __slots__ = ("attempts", "version", "word")

    def __init__(self) -> None:
        self.version = 0
        self.word: str | None = None
        self.attempts: set[int] = set()


class Witness:
    """Reads what each step appends. Raises Violation at the first thing that is wrong."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._seen: dict[tuple[str, int], int] = {}
        self._claims = Claims()
        self._lanes = Lanes(self._claims["I7"])
        self._stock = StockFold(self._claims)
        self._stories: dict[str, _Story] = {}
        #: Changelog partition -> position of its newest commit.
        self.records = 0

    @property
    def repeats(self) -> int:
        """Letters that came more than once."""
        return self._lanes.repeats

    def look(self) -> None:
        """Judge everything that was appended since the last look: I1 I2 I3 I6 I7 I13 T21."""
        for (topic, partition), log in self._logs.items():
            start = self._seen.get((topic, partition), 0)
            if start == len(log):
                continue
            self._seen[topic, partition] = len(log)
            if topic in NUMBERED:
                for offset in range(start, len(log)):
                    if (record := log[offset]) is not None:
                        self._take(topic, record, Place(topic, partition, offset))
            elif topic in CHANGELOGS:
                self._whole(topic, partition, [each for each in log[start:] if each is not None])
        for id_, claim in self._claims.items():
            if claim.violations:
                raise Violation(id_, str(claim.examples[0]))

    def _take(self, topic: str, record: Record, place: Place) -> None:
        self.records += 1
        if (said := open_announcement(record)) is not None:
            self._lanes.announce(said.sender, said.epoch, place)
            return
        if not topic.endswith("-events"):
            letter = open_letter(record.value)
            if letter is not None and letter.sender:
                self._lanes.fresh(
                    letter.sender, letter.epoch, letter.number, fingerprint(record), place
                )
            return
        event = open_event(record)
        if event is None or event.fault:
            raise Violation("I7", f"{place} is no event of ours")
        print_ = fingerprint(record)
        if not self._lanes.fresh(event.sender, event.epoch, event.number, print_, place):
            return
        if topic == "stock-events":
            self._of_stock(event.said)
        elif event.said["event"] != "order.answered":
            self._of_order(event.said)

    def _of_stock(self, said: dict[str, Any]) -> None:
        match said["event"]:
            case "stock.moved":
                self._stock.moved(said)
            case "stock.quota":
                self._stock.quota_changed(said)
            case "stock.shortfall":
                self._stock.shortfall_changed(said)
            case "stock.answered":
                self._stock.answered_command(said)

    def _of_order(self, said: dict[str, Any]) -> None:
        """I6: versions without a gap, one verdict an attempt, statuses by the rules."""
        key, tag = said["order"], said["event"]
        story = self._stories.setdefault(key, _Story())
        if said["version"] != story.version + 1:
            raise Violation("I6", f"{key}: version {said['version']} after {story.version}")
        story.version = said["version"]
        if tag in ("order.reserved", "order.short"):
            if said["attempt"] in story.attempts:
                raise Violation("I6", f"{key}: a second verdict of attempt {said['attempt']}")
            story.attempts.add(said["attempt"])
        if tag == "order.expired" and said["at_ms"] < said["deadline_ms"]:
            raise Violation("I6", f"{key}: expired {said['deadline_ms'] - said['at_ms']} ms early")
        if tag in ("order.reserved", "order.short", "order.status") and said["status"] is not None:
            if not may_follow(story.word, said["status"]):
                raise Violation("I6", f"{key}: {story.word} became {said['status']}")
            story.word = said["status"]
        if tag == "order.status" and said["status"] in GONE | {CANCELLED}:
            if said["reservation"] in STILL_HELD:
                raise Violation("I6", f"{key}: {said['status']}, and still holds something")
        for name, value in said.items():
            if name.endswith("_minor") and type(value) not in (int, type(None)):
                raise Violation("I10", f"{key}: {name} is {value!r}")

    def _whole(self, topic: str, partition: int, batch: Sequence[Record]) -> None:
        """I8: whatever a step wrote to a changelog is whole commits, rows and state of one place."""
        position: int | None = None
        for record in batch:
            row = open_row(record)
            if row is None:
                raise Violation("I8", f"{topic}/{partition}: a record that is none of ours")
            if position is not None and row.position != position:
                raise Violation(
                    "I8",
                    f"{topic}/{partition} at {record.offset}: position {row.position} in a commit "
                    f"at {position}",
                )
            position = None if record.key == STATE_KEY else row.position
        if position is not None:
            raise Violation("I8", f"{topic}/{partition}: rows at {position} without their state")


def newest(log: Sequence[Record | None]) -> list[Record]:
    """Return of each key the record with the greatest position, as recovery has to see it."""
    best: dict[bytes, tuple[int, Record]] = {}
    for record in log:
        row = open_row(record) if record is not None else None
        if record is not None and row is not None:
            key = record.key or b""
            if key not in best or row.position >= best[key][0]:
                best[key] = (row.position, record)
    rows = [record for _, record in best.values() if record.value is not None]
    # A commit ends with its state.
    return sorted(rows, key=lambda record: record.key == STATE_KEY)


def judge(logs: Logs, tables: dict[str, list[dict[str, Any]]], now_ms: int) -> list[Finding]:
    """Run the whole check, as `orderflow check` does, on the logs and the ledger's tables."""
    claims = Claims()
    checker = Checker(now_ms, None, claims)
    ends = {place: len(log) for place, log in logs.items()}
    for phase in PHASES:
        for (topic, partition), log in logs.items():
            if topic in phase:
                there = [each for each in log if each is not None]
                checker.take(topic, partition, there)
    checker.settle(dict.fromkeys(ends, 0), ends)
    ledger = LedgerCheck(checker)
    for id_ in OF_POSTGRES:
        _ = claims[id_]
    for table, rows in tables.items():
        ledger.take(table, rows)
    ledger.close(ends)
    return checker.findings()


def tables_of(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return what the ledger has written."""
    appended = (
        "order_events", "order_lines", "stock_ledger", "returns", "releases_ignored", "shortfalls",
    )  # fmt: skip
    tables = {name: list(database.appended.get(name, [])) for name in appended}
    tables["order_lines"].sort(key=lambda row: (row["order_key"], row["line_no"]))
    tables |= {name: list(rows.values()) for name, rows in database.merged.items()}
    tables["parked"] = [row | {"settled_at": None} for row in database.parked.values()]
    tables["command_answers"] = [
        dict(zip(("command_id", "sku", "refusal", "available", "at"), row, strict=True))
        for row in database.answers.values()
    ]
    tables["sink_positions"] = [
        {"topic": topic, "partition": partition, "next": next_}
        for (topic, partition), next_ in database.positions.items()
    ]
    tables["sink_sources"] = [
        {"topic": t, "partition": p, "source": source, "epoch": epoch, "number": number}
        for (t, p, source), (epoch, number) in database.sources.items()
    ]
    return tables


