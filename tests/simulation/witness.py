"""
What must hold after every step, and what must hold at the end.

The judges are those of `orderflow check`: they fold every event from zero, and share no line with
the house (import-linter keeps it so). Here they look after each step at what it has appended; at
the end the whole check is run on the logs and on what the ledger wrote.
"""

from collections import defaultdict
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
    Event,
    Letter,
    fingerprint,
    open_announcement,
    open_event,
    open_letter,
    open_row,
)
from streams.check.words import CANCELLED, GONE, INBOXES, STILL_HELD, may_follow
from tests.simulation.database import Database
from tests.simulation.house import Record

Logs = Mapping[tuple[str, int], Sequence[Record | None]]


#: What a command is told that is asked again after a day.
TOO_OLD = "too_old"

_INBOX_TOPICS = frozenset(INBOXES.values())
_VERDICTS = frozenset({"order.reserved", "order.short"})
_TELLS_STATUS = _VERDICTS | {"order.status"}


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
        #: Id of an operator's command -> why it was refused, or None.
        self._answers: dict[str, str | None] = {}
        #: Inbox partition -> when something was appended there.
        self._appended: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
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
        for id_ in self._claims:
            self._say(id_)

    def _say(self, id_: str) -> None:
        claim = self._claims[id_]
        if claim.violations:
            raise Violation(id_, str(claim.examples[0]))

    def _take(self, topic: str, record: Record, place: Place) -> None:
        self.records += 1
        if topic in _INBOX_TOPICS:
            self._appended[topic, place.partition].add(record.timestamp)
        if (said := open_announcement(record)) is not None:
            self._lanes.announce(said.sender, said.epoch, place)
        elif topic.endswith("-events"):
            self._take_event(topic, record, place)
        elif (letter := open_letter(record.value)) is not None and letter.sender:
            self._fresh(letter, record, place)

    def _fresh(self, said: Letter | Event, record: Record, place: Place) -> bool:
        """I7: say whether it is heard for the first time; a gap is told before what comes of it."""
        fresh = self._lanes.fresh(said.sender, said.epoch, said.number, fingerprint(record), place)
        self._say("I7")
        return fresh

    def _take_event(self, topic: str, record: Record, place: Place) -> None:
        event = open_event(record)
        if event is None or event.fault:
            raise Violation("I7", f"{place} is no event of ours")
        if not self._fresh(event, record, place):
            return
        said = event.said
        keeper, _, partition = event.sender.partition("/p")
        if said["at_ms"] not in self._appended[INBOXES[keeper], int(partition)]:
            raise Violation("I8", f"{place}: no command was appended at {said['at_ms']}")
        if said["event"] in ("stock.answered", "order.answered"):
            self._answered(said)
        elif topic == "stock-events":
            self._of_stock(said)
        else:
            self._of_order(said)

    def _answered(self, said: dict[str, Any]) -> None:
        """I6: an answer, once given, stands."""
        command, refusal = said["command"], said["refusal"]
        known = self._answers.setdefault(command, refusal)
        if refusal not in (known, TOO_OLD):
            raise Violation("I6", f"command {command} was told {known}, and now {refusal}")

    def _of_stock(self, said: dict[str, Any]) -> None:
        match said["event"]:
            case "stock.moved":
                self._stock.moved(said)
            case "stock.quota":
                self._stock.quota_changed(said)
            case "stock.shortfall":
                self._stock.shortfall_changed(said)

    def _of_order(self, said: dict[str, Any]) -> None:
        """I6: versions without a gap, one verdict an attempt, statuses by the rules."""
        key, tag = said["order"], said["event"]
        story = self._stories.setdefault(key, _Story())
        if said["version"] != story.version + 1:
            raise Violation("I6", f"{key}: version {said['version']} after {story.version}")
        story.version = said["version"]
        if tag in _VERDICTS:
            if said["attempt"] in story.attempts:
                raise Violation("I6", f"{key}: a second verdict of attempt {said['attempt']}")
            story.attempts.add(said["attempt"])
        if tag in _TELLS_STATUS:
            self._status(key, story, said)
        if tag == "order.expired" and said["at_ms"] < said["deadline_ms"]:
            raise Violation("I6", f"{key}: expired {said['deadline_ms'] - said['at_ms']} ms early")
        for name, value in said.items():
            if name.endswith("_minor") and type(value) not in (int, type(None)):
                raise Violation("I10", f"{key}: {name} is {value!r}")

    def _status(self, key: str, story: _Story, said: dict[str, Any]) -> None:
        status = said["status"]
        if status is None:
            return
        if not may_follow(story.word, status):
            raise Violation("I6", f"{key}: {story.word} became {status}")
        story.word = status
        over = status in GONE or status == CANCELLED
        if over and said.get("reservation") in STILL_HELD:
            raise Violation("I6", f"{key}: {status}, and still holds something")

    def _whole(self, topic: str, partition: int, batch: Sequence[Record]) -> None:
        """I8: what a step wrote to a changelog is whole commits: rows and state of one position."""
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


def said_by(sender: str, log: Sequence[Record | None]) -> list[tuple[Any, ...]]:
    """Return what *sender* said on one lane, each once, in the order of its numbers."""
    said: dict[int, tuple[Any, ...]] = {}
    for record in log:
        if record is None or open_announcement(record) is not None:
            continue
        found = open_event(record) if record.headers else open_letter(record.value)
        if found is not None and found.sender == sender:
            said.setdefault(found.number, (record.key, record.value, *record.headers))
    return [said[number] for number in sorted(said)]


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
    tables["orders_to_ship"] = [
        {"order_key": order, "warehouse": warehouse, "since": since}
        for (order, warehouse), since in database.to_ship.items()
    ]
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
