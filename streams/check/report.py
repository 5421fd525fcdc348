"""
What was found: for every invariant whether it holds, its figures, and the first violations.

A claim is filled while the log is read and closed once. Promise: a violation that was met is
counted, however many there are; the first ten are kept word for word.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from msgspec import Struct

#: How many violations of one invariant are kept word for word; all are counted.
EXAMPLES_MAX = 10

#: What a record that is not as we know it makes a witness stumble over.
STUMBLES = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)

Status = Literal["holds", "violated", "skipped"]

#: id -> what is claimed. The order is the report's.
SENTENCES: dict[str, str] = {
    "I0": "Every topic was read whole, from its first record ever to its end",
    "I1": "Stock folded from zero: each move is what the balances say, and the changelog agrees",
    "I2": "No oversell: live holds are never more than what is on hand, available never below 0",
    "I3": "Zero-sum: only receive, ship and adjust change what is on hand, each verb on its path",
    "T21": "Every order's demands have exactly their holds, and every hold has its demand",
    "I4": "Every message has one outcome: an order event or a parked message; every ask an answer",
    "I5": "Nothing waits: every inbox is read to its end, and changelogs agree with themselves",
    "I6": "Legal history: versions without gap, statuses by the rules, one verdict, none before it",
    "I7": "Effective once: letters run 1..n without gap, repeats are byte-identical",
    "I8": "Order rows are what their events say",
    "I10": "Money: whole minor units, never altered between a statement and what is told of it",
    "I12": "Nothing is stuck: no hold past its deadline, no ask undecided, each parked with why",
    "I13": "Every repair says who, when and why",
    "I1.postgres": "PostgreSQL's balances are the folded ones",
    "T21.postgres": "PostgreSQL's holds are the folded ones",
    "I5.postgres": "The ledger has read every topic of its own to the end",
    "I7.postgres": "PostgreSQL holds each event exactly once, as it was published",
    "I8.postgres": "PostgreSQL's orders and lines are what the events say",
    "I12.postgres": "Every parked message is in the exceptions queue, whole and with a reason",
    "I13.postgres": "The trails cannot be changed or deleted by the roles that serve",
    "feed": "Every message the feed saw acknowledged stands in its raw topic",
}


class Example(Struct, frozen=True):
    """One violation, exactly."""

    #: Which SKU, order, offset or row.
    where: str
    expected: str
    found: str


class Finding(Struct, frozen=True):
    """One invariant and what became of it."""

    id: str
    sentence: str
    status: Status
    violations: int
    figures: dict[str, Any]
    examples: list[Example]
    #: Why it was not looked at.
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """It was looked at and holds."""
        return self.status == "holds"


class Claim:
    """One invariant while it is being looked at."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.violations = 0
        self.figures: Counter[str] = Counter()
        self.examples: list[Example] = []
        self.skipped = ""

    def wrong(self, where: str, expected: object, found: object) -> None:
        """Take note of one violation."""
        self.violations += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(Example(where, str(expected), str(found)))

    def same(self, where: str, expected: object, found: object) -> bool:
        """Say whether both are equal; take note if they are not."""
        if expected == found:
            return True
        self.wrong(where, expected, found)
        return False

    @contextmanager
    def stumbling(self, where: str) -> Iterator[None]:
        """Count what cannot be read as a violation: the check itself must go on."""
        try:
            yield
        except STUMBLES as error:
            self.wrong(where, "what we know how to read", f"{type(error).__name__}: {error}")

    def close(self) -> Finding:
        """Return what was found."""
        status: Status = "violated" if self.violations else "holds"
        if self.skipped and not self.violations:
            status = "skipped"
        return Finding(
            self.id,
            SENTENCES[self.id],
            status,
            self.violations,
            dict(self.figures),
            self.examples,
            self.skipped,
        )


class Claims(dict[str, Claim]):
    """Every invariant, opened when first spoken of."""

    def __missing__(self, id_: str) -> Claim:
        claim = self[id_] = Claim(id_)
        return claim

    def close(self) -> list[Finding]:
        """Return the findings in the order of `SENTENCES`."""
        return [self[id_].close() for id_ in SENTENCES if id_ in self]


class Report(Struct, frozen=True):
    """The verdict."""

    ok: bool
    invariants: list[Finding]
    seconds: float
    records: int = 0
    without_postgres: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return `ok` and a figure per invariant, as plain values for machines."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "records": self.records,
            "violations": sum(finding.violations for finding in self.invariants),
            "invariants": {finding.id: _as_json(finding) for finding in self.invariants},
        }


def _as_json(finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ok": finding.ok,
        "status": finding.status,
        "violations": finding.violations,
        "figures": finding.figures,
    }
    if finding.examples:
        found["examples"] = [
            {"where": one.where, "expected": one.expected, "found": one.found}
            for one in finding.examples
        ]
    if finding.skipped:
        found["skipped"] = finding.skipped
    return found


def verdict(findings: list[Finding], *, without_postgres: bool) -> bool:
    """Say whether everything holds; what was skipped counts as no, unless it was asked for."""
    for finding in findings:
        if finding.status == "violated":
            return False
        if finding.status == "skipped" and not without_postgres:
            return False
    return True


_MARKS: dict[Status, str] = {"holds": "ok", "violated": "NO", "skipped": "skipped"}


def render(report: Report) -> list[str]:
    """Return the report as lines of plain text: one an invariant, its violations below it."""
    lines = []
    for finding in report.invariants:
        figures = "  ".join(f"{name} {_number(value)}" for name, value in finding.figures.items())
        lines.append(f"{_MARKS[finding.status]:<8} {finding.id:<13} {finding.sentence}")
        if figures or finding.skipped:
            lines.append(f"{'':<23}{finding.skipped or figures}")
        if finding.violations:
            lines.append(f"{'':<23}{finding.violations} violations; the first:")
        lines += [
            f"{'':<25}{one.where}: expected {one.expected}, found {one.found}"
            for one in finding.examples
        ]
    said = "every invariant holds" if report.ok else "NOT every invariant holds"
    lines.append(f"{said} ({report.records:,} records in {report.seconds:.1f} s)")
    return lines


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


class Place(Struct, frozen=True, gc=False):
    """Where a record stands; its words are used all over the report."""

    topic: str
    partition: int
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"
