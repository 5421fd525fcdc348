"""
What each order of a file would meet, before anything is sent.

Two questions, asked of whoever will decide. Intake's own code reads the message, with the reference
data of now: what it would park is a bad row. And the ledger says what is known of the order, so it
can be told whether the file's word is newer. The first is certain as long as the reference data
stays; the second is a forecast, because webhooks flow meanwhile and the order keeper decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import msgpack

from agents.intake import Intake
from agents.letters import unseal
from schemas.base import order_key
from schemas.orders import NoticeCode, ObserveOrder, Status
from schemas.parked import Parked
from streams.importing.planning import Bad, Plan, Planned
from streams.postgres.queries import sql
from streams.raw_records import headers_of
from streams.topics import PARKED, raw
from tables.lifecycle import CANNOT_UNHAPPEN, RANK

#: Orders that are asked for at once.
_PAGE = 5_000

_observed = msgpack.Decoder(ObserveOrder).decode
_parked = msgpack.Decoder(Parked).decode


class Verdict(StrEnum):
    """What becomes of a row."""

    #: Nobody had heard of the order.
    NEW = "new"
    #: Something newer is said of a known order.
    UPDATE = "update"
    #: Exactly this was said before.
    DUPLICATE = "duplicate"
    #: What is known is as new, or newer.
    STALE = "stale"
    #: It would undo what cannot be undone; the keeper alone says so.
    ILLEGAL = "illegal"
    #: It says nothing about the order.
    EMPTY = "empty"
    #: The order is known, and such orders were to be left alone.
    SKIPPED = "skipped"
    #: The row cannot be used; nothing of its order is sent.
    BAD = "bad"


#: Counted also where there is none.
_ALWAYS_COUNTED = (Verdict.NEW, Verdict.UPDATE, Verdict.DUPLICATE, Verdict.STALE, Verdict.BAD)


class Existing(StrEnum):
    """What is done about orders that are known already."""

    #: Their rows are not sent.
    SKIP = "skip"
    #: They are sent; the newest statement wins, as ever.
    UPDATE = "update"
    #: They are sent and count as stated now, because an operator says that the file is right.
    FORCE = "force"


class Outlook(NamedTuple):
    """What one order would meet."""

    planned: Planned
    key: str
    digest: str
    verdict: Verdict
    #: Its lines that nobody has mapped: it will wait for them.
    unmapped: int
    created_ms: int


class Forecast(NamedTuple):
    """What a file would meet."""

    outlooks: list[Outlook]
    #: Row -> why it is refused, by the file and by intake's rules.
    bad: dict[int, Bad]

    @property
    def rows(self) -> dict[str, int]:
        """How many rows have which verdict."""
        counts = {each.value: 0 for each in _ALWAYS_COUNTED}
        counts[Verdict.BAD.value] = len(self.bad)
        for outlook in self.outlooks:
            word = outlook.verdict.value
            counts[word] = counts.get(word, 0) + len(outlook.planned.rows)
        return counts

    @property
    def orders(self) -> dict[str, int]:
        """How many orders have which verdict; a bad one is counted by its rows alone."""
        return dict(Counter(each.verdict.value for each in self.outlooks))

    @property
    def waiting(self) -> int:
        """How many orders will wait until somebody maps a SKU."""
        return sum(each.unmapped > 0 for each in self.outlooks)


class _Said(NamedTuple):
    """One order, as intake reads it."""

    planned: Planned
    key: str
    digest: str
    stated_ms: int
    status: Status | None
    unmapped: int
    created_ms: int


@dataclass(slots=True)
class _Record:
    """A raw record that nobody has sent."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


async def forecast(
    plan: Plan,
    where: tuple[str, str],
    existing: Existing,
    intake: Intake,
    connection: Any,
    now_ms: int,
) -> Forecast:
    """Return what *plan* would meet in the shop *where* (platform, shop)."""
    bad, said = dict(plan.bad), []
    for planned in plan.orders:
        found = _read(intake, where, planned, now_ms)
        if isinstance(found, Bad):
            bad |= dict.fromkeys(planned.rows, found)
        else:
            said.append(found)
    outlooks: list[Outlook] = []
    for first in range(0, len(said), _PAGE):
        page = said[first : first + _PAGE]
        rows = await connection.fetch(sql("orders_known"), [each.key for each in page])
        known = {row["order_key"]: row for row in rows}
        outlooks += [_outlook(each, known, existing) for each in page]
    return Forecast(outlooks, dict(sorted(bad.items())))


def _read(intake: Intake, where: tuple[str, str], planned: Planned, now_ms: int) -> _Said | Bad:
    platform, shop = where
    key, headers = planned.order_id.encode(), headers_of(shop)
    record = _Record(0, now_ms, key, planned.payload, headers)
    output = intake.observe(platform, raw(platform), 0, record)[0]
    body = unseal(output.value)[3]
    if output.topic == PARKED.name:
        refused = _parked(body)
        return Bad(refused.field, refused.reason, planned.order_id)
    observed = _observed(body)
    statement = observed.statement
    return _Said(
        planned,
        order_key(platform, shop, planned.order_id),
        observed.source.digest,
        statement.stated_ms,
        statement.status,
        sum(notice.code is NoticeCode.UNMAPPED_SKU for notice in statement.notices),
        statement.created_at.ms if statement.created_at else 0,
    )


def _outlook(said: _Said, known: Mapping[str, Any], existing: Existing) -> Outlook:
    row = known.get(said.key)
    verdict = Verdict.NEW if row is None else _against(said, row, existing)
    return Outlook(said.planned, said.key, said.digest, verdict, said.unmapped, said.created_ms)


def _against(said: _Said, row: Any, existing: Existing) -> Verdict:
    """Compare what the file says with what the ledger knows, as the order keeper would."""
    if existing is Existing.SKIP:
        return Verdict.SKIPPED
    if row["digest"] == said.digest:
        return Verdict.DUPLICATE
    known_ms = row["stated_ms"] or 0
    if said.stated_ms > known_ms:
        return Verdict.UPDATE
    known = Status(row["platform_status"]) if row["platform_status"] else None
    if said.status is None:
        return Verdict.STALE
    ours = (CANNOT_UNHAPPEN[said.status], said.stated_ms, RANK[said.status])
    theirs = (CANNOT_UNHAPPEN[known], known_ms, RANK[known]) if known else (0, 0, 0)
    return Verdict.UPDATE if ours > theirs else Verdict.STALE
