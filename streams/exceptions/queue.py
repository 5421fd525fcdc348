"""
The exceptions queue, worked off by people: corrected, tried again the way it came, left for good.

Promises. A retry takes the live way: the original bytes (or corrected ones) go to the topic they
came from, with a marker; what cannot be read again is a new exception that names the old. An order
that was not fetched is asked for again, and a delivery that nobody took is tried as often as at
first; each is the same exception if that is in vain. A retry applies once, however often and by how
many it is asked: the row is locked until the broker has the message and it is settled, and what a
crash lets go out twice says the same, which the keeper knows. An edit changes no original bytes;
before and after are kept, and so is who did what and why.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiokafka.errors import KafkaError
from msgspec import Struct

from agents.intake import PAYLOAD_BYTES_MAX, RETRY_HEADER
from schemas.errors import BrokerUnavailable, Rejected
from schemas.parked import Cause, Stage
from streams import raw_records, topics
from streams.polling.leaving import named_by
from streams.polling.store import want
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.settings import Settings

Row = dict[str, Any]

#: A bulk action takes at most so many; it may be asked again.
BULK_MAX = 10_000
#: A page is never longer.
PAGE_MAX = 500
#: What stands for a topic where a delivery is parked; its offset is the delivery's number.
DELIVERIES = "deliveries"
#: Why nothing can be done about an id that nobody knows.
NO_SUCH = "there is no such exception"
#: The outcome of an edit that somebody else was quicker with.
OVERTAKEN = "overtaken"
#: So many are locked, sent and settled at a time: what a crash may send twice.
_TOGETHER = 200
_LETTER = 1
_connected = partial(connected, name="orderflow-exceptions")


class UnknownKind(Rejected):
    """There are no exceptions of that kind."""


class BadEdit(Rejected):
    """The bytes cannot stand for the message."""


class Kind(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which exceptions are meant; what is left out may be anything."""

    cause: str | None = None
    stage: str | None = None
    platform: str | None = None
    shop: str | None = None
    #: How the id begins: a topic, or topic/partition/.
    place: str | None = None

    @property
    def is_any(self) -> bool:
        """Say whether nothing is left out because nothing is said."""
        return not any(_values(self))

    def check(self) -> "Kind":
        """Return this kind; raises UnknownKind where nothing could ever be of it."""
        known: Mapping[str, Sequence[str]] = {
            "cause": [each.value for each in Cause],
            "stage": [each.value for each in Stage],
            "platform": topics.PLATFORMS,
        }
        for name, words in known.items():
            said = getattr(self, name)
            if said is not None and said not in words:
                raise UnknownKind(f"{name} is one of {', '.join(words)}, not {said[:40]!r}.")
        if "\0" in (self.shop or "") + (self.place or ""):
            raise UnknownKind("No shop and no place has a NUL in its name.")
        return self


def _values(kind: Kind) -> list[str | None]:
    return [kind.cause, kind.stage, kind.platform, kind.shop, kind.place]


class Settled(NamedTuple):
    """What became of one exception: retried, discarded, settled before, overtaken, or refused."""

    id: str
    outcome: str
    said: str = ""


class Page(NamedTuple):
    """Some exceptions, and how many are open in all."""

    open: int
    exceptions: list[Row]


# --- looking --------------------------------------------------------------------------------------


async def listed(
    dsn: str,
    kind: Kind,
    limit: int,
    *,
    settled: bool = False,
    after: tuple[datetime, str] | None = None,
) -> Page:
    """Return a page of those of that kind, latest first, *after* the last of the page before."""
    values = _values(kind.check())
    last_seen, id_ = after or (None, None)
    async with _connected(dsn) as connection:
        count = await connection.fetchval(sql("exceptions_counted"), *values)
        rows = await connection.fetch(
            sql("exceptions_found"), *values, settled, last_seen, id_, min(limit, PAGE_MAX)
        )
        return Page(count, [dict(row) for row in rows])


async def one(dsn: str, id_: str) -> Row | None:
    """Return the exception called *id_*, whole, with what people did about it as `changes`."""
    if "\0" in id_:
        return None
    async with _connected(dsn) as connection:
        row = await connection.fetchrow(sql("exception_by_id"), id_)
        if row is None:
            return None
        changes = await connection.fetch(sql("exception_changes_of"), id_)
        return {**row, "changes": [dict(each) for each in changes]}


async def matching(dsn: str, kind: Kind) -> list[str]:
    """Return the ids of the open exceptions of that kind, oldest first, at most `BULK_MAX`."""
    async with _connected(dsn) as connection:
        rows = await connection.fetch(sql("exceptions_matching"), *_values(kind.check()), BULK_MAX)
        return [row["id"] for row in rows]


async def by_cause(dsn: str) -> list[Row]:
    """Return how many are open of each cause, and since when the oldest."""
    async with _connected(dsn) as connection:
        return [dict(row) for row in await connection.fetch(sql("exceptions_by_cause"))]


# --- correcting -----------------------------------------------------------------------------------


async def edit(
    dsn: str, id_: str, body: bytes, by: str, why: str, seen: int | None = None
) -> Settled:
    """
    Let a retry of *id_* send *body*; `overtaken` where others edited it since *seen* was `edits`.

    Raises BadEdit for what is no JSON, LedgerUnavailable.
    """
    _refuse_unreadable(body)
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection, connection.transaction():
        rows = await connection.fetch(sql("lock_exceptions"), [id_])
        no = _closed(id_, rows)
        if no is not None:
            return no
        row = rows[0]
        if not row["topic"].startswith("raw-"):
            said = f"only a platform's message can be corrected; this came by {row['topic']}"
            return Settled(id_, "refused", said)
        if seen is not None and seen != row["edits"]:
            said = f"it was edited meanwhile ({row['edits']} times in all); look at it again"
            return Settled(id_, OVERTAKEN, said)
        before = sent(row)
        if before == body:
            return Settled(id_, "unchanged", "these are the bytes it has")
        await connection.execute(sql("edit_exception"), id_, body)
        await connection.execute(sql("note_exception_edit"), id_, by, why, before, body)
        return Settled(id_, "edited")


def sent(row: Mapping[str, Any]) -> bytes:
    """Return the bytes that a retry sends."""
    edited: bytes | None = row["edited"]
    return row["value"] if edited is None else edited


def _refuse_unreadable(body: bytes) -> None:
    if len(body) > PAYLOAD_BYTES_MAX:
        raise BadEdit(f"An order has at most {PAYLOAD_BYTES_MAX} bytes, not {len(body)}.")
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadEdit(
            f"The corrected message is no JSON ({error}); nothing was changed."
        ) from error


def _refuse_nameless(by: str, why: str) -> None:
    for name, said in (("operator", by), ("reason", why)):
        if not said.strip():
            raise Rejected(f"The {name} is empty; it stays with the exception.")
        if "\0" in said:
            raise Rejected(f"The {name} has a NUL in it; type it anew.")


# --- settling -------------------------------------------------------------------------------------


async def retry(
    settings: Settings, dsn: str, ids: Sequence[str], by: str, why: str
) -> list[Settled]:
    """Send each of *ids* once more, as it came or as it was corrected. Raises Unavailable."""
    _refuse_nameless(by, why)
    producer = raw_records.producer(settings)
    try:
        await producer.start()
        async with _connected(dsn) as connection:
            done: list[Settled] = []
            for some in _cut(ids):
                done += await _retry(connection, producer, settings, some, by, why)
            return done
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.kafka} does not take it: {error!r}") from error
    finally:
        await producer.stop()


async def _retry(
    connection: Any, producer: Any, settings: Settings, ids: Sequence[str], by: str, why: str
) -> list[Settled]:
    async with connection.transaction():
        rows = {row["id"]: row for row in await connection.fetch(sql("lock_exceptions"), ids)}
        said = {id_: _closed(id_, [rows[id_]] if id_ in rows else []) for id_ in ids}
        for id_, no in said.items():
            if no is None and (why_not := doubt(rows[id_])):
                said[id_] = Settled(id_, "refused", why_not)
        going = [id_ for id_, no in said.items() if no is None]
        fetches = [rows[id_] for id_ in going if rows[id_]["stage"] == Stage.FETCH]
        if fetches:
            await _ask_again(connection, fetches)
        if deliveries := [rows[id_] for id_ in going if rows[id_]["topic"] == DELIVERIES]:
            said |= await _deliver_again(connection, deliveries)
            going = [id_ for id_ in going if said[id_] is None]
        letters = [rows[id_] for id_ in going if _is_letter(rows[id_])]
        acks = [await _send(producer, settings, row) for row in letters]
        await asyncio.gather(*acks)
        await _settle(connection, going, "retried", by, why)
    return [said[id_] or Settled(id_, "retried") for id_ in ids]


async def _ask_again(connection: Any, rows: Sequence[Row]) -> None:
    """Let the poller ask for these orders once more; it says so again if that is in vain."""
    named = [named_by(row["value"]) for row in rows]
    await want(connection, [(each.platform, each.shop, each.order) for each in named])


async def _deliver_again(connection: Any, rows: Sequence[Row]) -> dict[str, Settled | None]:
    """Let these deliveries be tried anew; return what is said of those that cannot be."""
    numbers = [row["record_offset"] for row in rows]
    waiting = {row["id"] for row in await connection.fetch(sql("retry_deliveries"), numbers)}
    why_not = (
        "its destination was removed, a newer number was told since, or it is kept no more: "
        "discard it"
    )
    return {
        row["id"]: None
        if row["record_offset"] in waiting
        else Settled(row["id"], "refused", why_not)
        for row in rows
    }


def _is_letter(row: Row) -> bool:
    return bool(row["stage"] != Stage.FETCH and row["topic"] != DELIVERIES)


async def _send(producer: Any, settings: Settings, row: Any) -> Any:
    headers = [(RETRY_HEADER, row["id"].encode())]
    if row["topic"].startswith("raw-"):
        headers += raw_records.headers_of(row["shop"] or "")
    topic = settings.topic(row["topic"])
    return await producer.send(topic, value=sent(row), key=row["key"], headers=headers)


def doubt(row: Mapping[str, Any]) -> str:
    """Return why this exception cannot be sent once more, or nothing."""
    topic, value = row["topic"], row["value"]
    if topic.startswith("raw-") or row["stage"] == Stage.FETCH or topic == DELIVERIES:
        return ""
    inboxes = (topics.OPERATOR_COMMANDS, topics.ORDER_COMMANDS, topics.STOCK_COMMANDS)
    if row["stage"] == "ledger" or topic not in [each.name for each in inboxes]:
        return f"it was met on {topic} by the {row['stage']}; nobody reads it again from there"
    if value[:1] == bytes([_LETTER]):
        return "it is a numbered letter of a keeper, which counts once; settle its order instead"
    return ""


async def discard(dsn: str, ids: Sequence[str], by: str, why: str) -> list[Settled]:
    """Leave each of *ids* for good; it stays in the table with who and why."""
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection:
        done: list[Settled] = []
        for some in _cut(ids):
            async with connection.transaction():
                locked = await connection.fetch(sql("lock_exceptions"), some)
                rows = {row["id"]: row for row in locked}
                said = {id_: _closed(id_, [rows[id_]] if id_ in rows else []) for id_ in some}
                going = [id_ for id_, no in said.items() if no is None]
                await _settle(connection, going, "discarded", by, why)
            done += [said[id_] or Settled(id_, "discarded") for id_ in some]
        return done


def _closed(id_: str, rows: Sequence[Any]) -> Settled | None:
    """Say why nothing can be done about *id_* any more; None: it is open."""
    if not rows:
        return Settled(id_, "refused", NO_SUCH)
    row = rows[0]
    if row["settled_at"] is not None:
        return Settled(id_, "settled before", f"{row['settled_as']} by {row['settled_by']}")
    return None


async def _settle(connection: Any, ids: Sequence[str], as_: str, by: str, why: str) -> None:
    if ids:
        await connection.execute(sql("settle_exceptions"), ids, as_, by, why)
        await connection.execute(sql("note_exception_changes"), ids, as_, by, why)


def _cut(ids: Sequence[str]) -> Iterator[list[str]]:
    unique = [id_ for id_ in dict.fromkeys(ids) if "\0" not in id_]
    for start in range(0, len(unique), _TOGETHER):
        yield unique[start : start + _TOGETHER]
