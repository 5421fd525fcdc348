"""
Who is told by webhook, and what people change about it.

Promises. Every change carries who and why, and stays in an append-only trail, written in the same
transaction. A secret is made here, given back once, and cannot be read again by whoever changes
subscribers; a new one signs beside the old for a day. What is shown of a URL ends before its query,
which may hold a secret of theirs. A subscriber that is removed is told nothing more, also of what
waits.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
from aiohttp.abc import AbstractResolver

from agents.callbacks import TEST_TYPE, TYPES, Filter, body
from agents.deliveries import Standing, State
from schemas.errors import OrderflowError, Rejected
from streams.callbacks.posting import KIND
from streams.callbacks.reach import PublicResolver, Target, reachable, readable
from streams.clock import now_ms
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.topics import PLATFORMS
from streams.web.signing import new_secret

Row = dict[str, Any]

#: More subscribers than this are a mistake; every event is looked at for each.
SUBSCRIBERS_MAX: Final = 200
NAME_LENGTH_MAX: Final = 100
FILTER_MAX: Final = 100
#: A page of deliveries is never longer.
PAGE_MAX: Final = 200
#: Deliveries of one subscriber that are under way at a time, each of another order.
AT_ONCE, AT_ONCE_MAX = 4, 32
#: For so long the old secret signs beside the new one.
BOTH_SIGN_FOR: Final = timedelta(hours=24)
_ALSO_REMOVED = True
_connected = partial(connected, name="orderflow-subscribers")


class NoSuchSubscriber(OrderflowError):  # noqa: N818  an answer
    """There is no such subscriber."""


class AsItIs(OrderflowError):  # noqa: N818  an answer
    """It stands as it was asked to, or cannot be made to; nothing was changed."""


class Wish(NamedTuple):
    """A subscriber as somebody wants it."""

    name: str
    url: str
    wanted: Filter = Filter()
    at_once: int = AT_ONCE


class Made(NamedTuple):
    """A subscriber, and its new secret, which is never seen again."""

    id: str
    secret: str


async def add(
    dsn: str,
    wish: Wish,
    by: str,
    why: str,
    *,
    loopback: bool = False,
    resolver: AbstractResolver | None = None,
) -> Made:
    """
    Add a subscriber, who is told of what happens from now on.

    Raises ForbiddenUrl, Rejected, AsItIs, LedgerUnavailable.
    """
    _refuse_nameless(by, why)
    target = readable(wish.url, loopback=loopback)
    _check(wish)
    await _resolved(target, resolver, loopback=loopback)
    id_, secret = f"sub_{token_hex(8)}", new_secret()
    async with _connected(dsn) as connection, connection.transaction():
        if await connection.fetchval(sql("count_subscribers")) >= SUBSCRIBERS_MAX:
            raise AsItIs(f"There are {SUBSCRIBERS_MAX} subscribers; remove one first.")
        made = await connection.fetchval(
            sql("add_subscriber"), id_, wish.name, wish.url, list(wish.wanted.types),
            list(wish.wanted.shops),
        )  # fmt: skip
        if made is None:
            raise AsItIs(f"There is, or was, a subscriber called {wish.name}; choose another name.")
        await connection.execute(sql("add_destination"), KIND, id_, target.host, wish.at_once)
        await connection.execute(sql("add_subscriber_secret"), id_, secret)
        await connection.execute(sql("note_subscriber_change"), id_, "added", by, why)
    return Made(id_, secret)


def _check(wish: Wish) -> None:
    name, wanted = wish.name, wish.wanted
    if not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise Rejected(f"A name has 1 to {NAME_LENGTH_MAX} characters that can be seen.")
    if not 1 <= wish.at_once <= AT_ONCE_MAX:
        raise Rejected(f"At once are 1 to {AT_ONCE_MAX} deliveries.")
    if len(wanted.types) > FILTER_MAX or len(wanted.shops) > FILTER_MAX:
        raise Rejected(f"A filter has at most {FILTER_MAX} types and {FILTER_MAX} shops.")
    if unknown := sorted(set(wanted.types) - set(TYPES)):
        raise Rejected(f"There is no event {unknown[0][:40]!r}; they are {', '.join(TYPES)}.")
    for shop in wanted.shops:
        platform, _, _ = shop.partition(":")
        if platform not in PLATFORMS or not shop.isprintable():
            raise Rejected(
                f"A shop is PLATFORM or PLATFORM:SHOP, such as {PLATFORMS[0]}:qingyou,"
                f" not {shop[:80]!r}."
            )


async def _resolved(target: Target, resolver: AbstractResolver | None, *, loopback: bool) -> None:
    names = PublicResolver(resolver, loopback=loopback)
    try:
        await reachable(target, names)
    finally:
        await names.close()


# --- looking --------------------------------------------------------------------------------------


async def listed(dsn: str, *, removed: bool = False) -> list[Row]:
    """Return the subscribers by name, with how each stands."""
    async with _connected(dsn) as connection:
        rows = await connection.fetch(sql("subscribers_listed"), None, removed, SUBSCRIBERS_MAX)
    return [_shown(row) for row in rows]


async def one(dsn: str, called: str) -> Row:
    """Return one called by id or name, with what was done to it. Raises NoSuchSubscriber."""
    async with _connected(dsn) as connection:
        row = await _found(connection, called)
        changes = await connection.fetch(sql("subscriber_changes_of"), row["id"])
    return {**_shown(row), "changes": [dict(each) for each in changes]}


async def deliveries(
    dsn: str, called: str, limit: int, *, before: int | None = None, state: str | None = None
) -> list[Row]:
    """
    Return what a subscriber was sent or is to be, latest first, with every attempt.

    Raises NoSuchSubscriber, Rejected.
    """
    if state is not None and state not in set(State):
        raise Rejected(f"A state is one of {', '.join(State)}, not {state[:40]!r}.")
    async with _connected(dsn) as connection:
        row = await _found(connection, called)
        rows = await connection.fetch(
            sql("deliveries_to"), KIND, row["id"], min(limit, PAGE_MAX), before, state
        )
    return [{**each, "tried": orjson.loads(each["tried"])} for each in map(dict, rows)]


async def _found(connection: Any, called: str) -> Any:
    rows = [] if "\0" in called else await connection.fetch(
        sql("subscribers_listed"), called, _ALSO_REMOVED, 2
    )  # fmt: skip
    if not rows:
        raise NoSuchSubscriber(
            f"There is no subscriber {called[:80]}; look at `orderflow subscribers list`."
        )
    return rows[0]


def _shown(row: Any) -> Row:
    return {**row, "url": shown_url(row["url"])}


def shown_url(url: str) -> str:
    """Return *url* as it may be shown: a query may hold a secret of theirs."""
    parts = urlsplit(url)
    return parts._replace(query="***").geturl() if parts.query else url


# --- changing -------------------------------------------------------------------------------------


async def pause(dsn: str, called: str, by: str, why: str) -> str:
    """Let what a subscriber is told wait; return its id. Raises NoSuchSubscriber, AsItIs."""
    return await _stand(dsn, called, (Standing.ACTIVE,), Standing.PAUSED, "paused", by, why)


async def resume(dsn: str, called: str, by: str, why: str) -> str:
    """Send what waited, and what is new. Raises NoSuchSubscriber, AsItIs."""
    before = (Standing.PAUSED, Standing.GONE)
    return await _stand(dsn, called, before, Standing.ACTIVE, "resumed", by, why)


async def remove(dsn: str, called: str, by: str, why: str) -> str:
    """Tell a subscriber nothing more, also of what waits. Raises NoSuchSubscriber, AsItIs."""
    before = (Standing.ACTIVE, Standing.PAUSED, Standing.GONE)
    return await _stand(dsn, called, before, Standing.REMOVED, "removed", by, why)


async def _stand(
    dsn: str,
    called: str,
    before: Sequence[Standing],
    after: Standing,
    did: str,
    by: str,
    why: str,
) -> str:
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection, connection.transaction():
        row = await _locked(connection, called)
        if row["standing"] not in before:
            raise AsItIs(f"{row['name']} is {row['standing']}, and cannot be {did}.")
        await connection.execute(sql("stand_subscriber"), row["id"], after, why)
        if after is Standing.REMOVED:
            await connection.execute(sql("cancel_deliveries"), row["id"])
            await connection.execute(sql("expire_subscriber_secrets"), row["id"], timedelta(0))
        await connection.execute(sql("note_subscriber_change"), row["id"], did, by, why)
        return str(row["id"])


async def rotate(dsn: str, called: str, by: str, why: str) -> Made:
    """
    Make a new secret; the one before signs beside it for a day, older ones no more.

    Raises NoSuchSubscriber, AsItIs.
    """
    _refuse_nameless(by, why)
    secret = new_secret()
    async with _connected(dsn) as connection, connection.transaction():
        row = await _locked(connection, called)
        _refuse_removed(row)
        await connection.execute(sql("expire_subscriber_secrets"), row["id"], BOTH_SIGN_FOR)
        await connection.execute(sql("add_subscriber_secret"), row["id"], secret)
        await connection.execute(sql("note_subscriber_change"), row["id"], "rotated", by, why)
        return Made(row["id"], secret)


async def test(dsn: str, called: str, by: str, why: str) -> int:
    """
    Send a subscriber one message that is about no order; return the number of its delivery.

    Raises NoSuchSubscriber, AsItIs.
    """
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection, connection.transaction():
        row = await _locked(connection, called)
        if row["standing"] != Standing.ACTIVE:
            raise AsItIs(f"{row['name']} is {row['standing']}: nothing is sent to it.")
        message = f"test_{token_hex(16)}"
        said = body(TEST_TYPE, now_ms(), {"subscriber": row["id"]})
        number: int = await connection.fetchval(
            sql("queue_test"), row["id"], message, TEST_TYPE, said
        )
        await connection.execute(sql("note_subscriber_change"), row["id"], "tested", by, why)
        return number


async def tested(dsn: str, called: str, number: int, within_s: float) -> Row:
    """Return delivery *number* once it was tried, or as it is when time is up."""
    async with asyncio.timeout(within_s + _LOOK_S):
        until = now_ms() + within_s * 1000
        while True:
            rows = await deliveries(dsn, called, 1, before=number + 1)
            if rows[0]["tried"] or now_ms() >= until:
                return rows[0]
            await asyncio.sleep(_LOOK_S)


_LOOK_S = 0.25


async def _locked(connection: Any, called: str) -> Any:
    row = None if "\0" in called else await connection.fetchrow(sql("lock_subscriber"), called)
    if row is None:
        raise NoSuchSubscriber(
            f"There is no subscriber {called[:80]}; look at `orderflow subscribers list`."
        )
    return row


def _refuse_removed(row: Any) -> None:
    if row["standing"] == Standing.REMOVED:
        raise AsItIs(f"{row['name']} was removed.")


def _refuse_nameless(by: str, why: str) -> None:
    for name, said in (("operator", by), ("reason", why)):
        if not said.strip() or "\0" in said:
            raise Rejected(f"Give the {name}; it stays with the subscriber.")
