"""
Settlement files, their lines and what people said of differences, in PostgreSQL.

Promises: a file is there whole or not at all; a movement is there once; what was resolved stays on
record, with the facts it was resolved for.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

import orjson
from asyncpg import LockNotAvailableError

from agents.settlements import Verdict
from schemas.base import order_key
from schemas.errors import Rejected, Unavailable
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.settlements.judging import match
from streams.settlements.reading import Line, Look
from streams.settlements.templates import of_platform

Row = dict[str, Any]
Place = tuple[datetime, str]

#: Rows of one page; of one order's lines.
LISTED_MAX: Final = 200
LINES_MAX: Final = 500
REPEATS_MAX: Final = 200
#: Whoever works at a file of the same shop is waited for so long; to resolve, a person waits.
_TURN_WITHIN: Final = "5min"
_RESOLVE_WITHIN: Final = "5s"
#: Movements that are asked for at once.
_CHUNK: Final = 10_000
_COLUMNS: Final = (
    "platform", "shop", "movement", "part", "file", "line", "order_said", "order_key", "kind",
    "word", "amount_minor", "currency", "at",
)  # fmt: skip


class UnknownFile(Rejected):
    """There is no such settlement file."""


class Contradiction(Rejected):
    """A movement is known, and was another one."""


class Busy(Unavailable):
    """Somebody else works at the settlements of this shop."""


class StillNeeded(Rejected):
    """A later file repeats this one, and would lack what it repeats."""


class Source(NamedTuple):
    """Where lines come from, and who brings them."""

    id: str
    digest: str
    name: str
    size: int
    platform: str
    shop: str
    operator: str


class Taken(NamedTuple):
    """What became of a file."""

    id: str
    #: Its bytes were taken before, by the file of this id.
    is_known: bool
    line_count: int = 0
    repeat_count: int = 0
    order_count: int = 0
    name_count: int = 0
    #: Verdict -> how many of the orders that were judged.
    verdicts: Mapping[str, int] = {}


class Filter(NamedTuple):
    """Which differences; empty is any."""

    verdict: str = ""
    platform: str = ""
    shop: str = ""
    #: Those that were resolved too.
    resolved: bool = False


class Settlements:
    """`async with Settlements.opened(dsn) as known`; methods raise LedgerUnavailable."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str, *, within_s: float | None = None) -> AsyncIterator[Self]:
        """
        Connect to *dsn*: the reader's to look, that of operations to change something.

        A question may take *within_s* seconds; None: as long as it takes.
        """
        session = {} if within_s is None else {"statement_timeout": f"{within_s:g}s"}
        async with connected(dsn, name="orderflow-settlement", **session) as connection:
            yield cls(connection)

    # --- files ------------------------------------------------------------------------------------

    async def take(self, source: Source, look: Look) -> Taken:
        """
        Take what was read of a file, in one transaction, and judge what it touches.

        Raises Contradiction where a movement is known as another one; nothing is written then.
        """
        async with self._turn((source.platform, source.shop)):
            known = await self._connection.fetchval(
                sql("settlement_file_again"), source.platform, source.shop, source.digest
            )
            if known is not None:
                return Taken(known, is_known=True)
            return await self._taken(source, look)

    async def _taken(self, source: Source, look: Look) -> Taken:
        platform, shop = source.platform, source.shop
        new, repeats = await self._sorted(source, look.lines)
        keys = await self._keys(platform, shop, look.lines)
        orders = {keys[line.order] for line in look.lines if line.order is not None}
        since = await self._since(platform, shop, look.lines)
        await self._note(source, look, len(new), len(repeats), len(orders))
        await self._connection.copy_records_to_table(
            "settlement_lines", columns=_COLUMNS, records=_records(source, new, keys)
        )
        await self._connection.copy_records_to_table(
            "settlement_repeats",
            columns=("file", "line", "part", "first_file", "first_line"),
            records=repeats,
        )
        touched = {keys[line.order] for line in new if line.order is not None}
        if look.names:
            touched |= await self._tell_names(platform, shop, look.names)
        verdicts = await self._add_up(platform, shop, touched, since=since)
        return Taken(
            source.id,
            is_known=False,
            line_count=len(new),
            repeat_count=len(repeats),
            order_count=len(orders),
            name_count=len(look.names),
            verdicts=verdicts,
        )

    async def _since(self, platform: str, shop: str, lines: Sequence[Line]) -> datetime | None:
        """
        Return since when orders were paid that a new file may show to be in none.

        Before it, every order was looked for that was due by the end of the files there were.
        """
        row = await self._connection.fetchrow(sql("settlement_coverage"), platform, shop)
        if row["covered_until"] is None or not lines:
            return None
        due: datetime = row["covered_until"] - of_platform(platform).settles_within
        return min(due, _at(min(line.at_ms for line in lines)))

    async def _note(
        self, source: Source, look: Look, lines: int, repeats: int, orders: int
    ) -> None:
        moments = [line.at_ms for line in look.lines]
        period = (_at(min(moments)), _at(max(moments))) if moments else (None, None)
        await self._connection.execute(
            sql("settlement_file_taken"), source.id, source.digest, source.name, source.size,
            look.template.name, source.platform, source.shop, source.operator, *period,
            look.row_count, lines, repeats, len(look.names), orders, look.adds_up,
            orjson.dumps(sums_of(look.lines)).decode(),
        )  # fmt: skip

    async def _sorted(
        self, source: Source, lines: Sequence[Line]
    ) -> tuple[list[Line], list[tuple[Any, ...]]]:
        """Return the lines that are new, and those that repeat one; raises Contradiction."""
        seen = await self._known(source, lines)
        new: list[Line] = []
        repeats: list[tuple[Any, ...]] = []
        for line in lines:
            key = line.movement, line.part
            first = seen.get(key)
            if first is None:
                seen[key] = (source.id, line.row, _told(line))
                new.append(line)
                continue
            file, row, told = first
            if told != _told(line):
                where = "in this file" if file == source.id else f"in file {file}"
                raise Contradiction(
                    f"{source.name}, row {line.row}: the movement {line.movement} is {_told(line)} "
                    f"here, and {told} in row {row} {where}. One of the two files is not as the "
                    "platform gave it: nothing was taken."
                )
            repeats.append((source.id, line.row, line.part, file, row))
        return new, repeats

    async def _known(
        self, source: Source, lines: Sequence[Line]
    ) -> dict[tuple[str, str], tuple[str, int, str]]:
        found: dict[tuple[str, str], tuple[str, int, str]] = {}
        movements = list(dict.fromkeys(line.movement for line in lines))
        for begin in range(0, len(movements), _CHUNK):
            for row in await self._connection.fetch(
                sql("settlement_lines_known"), source.platform, source.shop,
                movements[begin : begin + _CHUNK],
            ):  # fmt: skip
                told = _words(row["amount_minor"], row["currency"], row["order_said"])
                found[row["movement"], row["part"]] = (row["file"], row["line"], told)
        return found

    async def _keys(self, platform: str, shop: str, lines: Sequence[Line]) -> dict[str, str]:
        """Return the key of each order that lines name, by what they call it."""
        said = list(dict.fromkeys(line.order for line in lines if line.order is not None))
        named = await self._connection.fetch(sql("settlement_names_of"), platform, shop, said)
        return {each: order_key(platform, shop, each) for each in said} | {
            row["name"]: row["order_key"] for row in named
        }

    async def _tell_names(self, platform: str, shop: str, names: Mapping[str, str]) -> set[str]:
        """Keep which orders names are, and return the orders whose lines change by that."""
        keys = [order_key(platform, shop, order) for order in names.values()]
        await self._connection.execute(
            sql("settlement_names_told"), platform, shop, list(names), keys
        )
        moved = await self._connection.fetch(
            sql("settlement_lines_named"), platform, shop, list(names)
        )
        return {row["key"] for row in moved}

    async def _add_up(
        self,
        platform: str,
        shop: str,
        orders: set[str],
        *,
        since: datetime | None = None,
        anew: bool = False,
    ) -> dict[str, int]:
        """Add up the lines of *orders* anew, and judge what has to be judged."""
        keys = sorted(orders)
        if keys:
            await self._connection.execute(sql("settlement_orders_emptied"), keys)
            await self._connection.execute(sql("settlement_sums"), platform, shop, keys)
        return await match(self._connection, platform, shop, since=since, anew=anew)

    async def match(self, platform: str, shop: str) -> dict[str, int]:
        """Judge all orders of a shop anew; return how many stand how."""
        async with self._turn((platform, shop)):
            return await match(self._connection, platform, shop, anew=True)

    async def shops(self) -> list[tuple[str, str]]:
        """Return the shops that files were taken of."""
        rows = await self._connection.fetch(sql("settlement_shops"))
        return [(row["platform"], row["shop"]) for row in rows]

    async def withdraw(self, id_: str, operator: str, reason: str) -> dict[str, int]:
        """
        Let a file count no more, and judge what it touched; return how many orders stand how.

        Raises UnknownFile, StillNeeded.
        """
        file = await self.file(id_)
        platform, shop = file["platform"], file["shop"]
        async with self._turn((platform, shop)):
            later = await self._connection.fetch(sql("settlement_later_files"), id_)
            if others := [row["file"] for row in later if row["file"] != id_]:
                raise StillNeeded(
                    f"Withdraw {', '.join(others)} first: it repeats lines of this file."
                )
            done = await self._connection.execute(
                sql("settlement_withdrawn"), id_, operator, reason
            )
            if not done.endswith(" 1"):
                raise Rejected(f"Settlement file {id_} was withdrawn before.")
            await self._connection.execute(sql("settlement_repeats_withdrawn"), id_)
            gone = await self._connection.fetch(sql("settlement_lines_withdrawn"), id_)
            touched = {row["order_key"] for row in gone}
            return await self._add_up(platform, shop, touched, anew=True)

    @asynccontextmanager
    async def _turn(
        self, *shops: tuple[str, str], within: str = _TURN_WITHIN
    ) -> AsyncIterator[None]:
        """Whoever changes what stands of an order has its shop's turn; raises Busy."""
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL lock_timeout = '{within}'")
            for platform, shop in shops:
                try:
                    await self._connection.execute(sql("settlement_turn"), platform, shop)
                except LockNotAvailableError as error:
                    raise Busy(
                        f"Files of {platform} shop {shop} are being taken or matched by somebody "
                        "else; nothing was changed. Try again in a moment."
                    ) from error
            yield

    async def file(self, id_: str) -> Row:
        """Return one file; raises UnknownFile."""
        row = await self._connection.fetchrow(sql("settlement_file"), id_)
        if row is None:
            raise UnknownFile(
                f"There is no settlement file {id_!r}; `orderflow settlement list` has them."
            )
        return _file(row)

    async def repeats(self, id_: str) -> list[Row]:
        """Return lines of a file that another one brought before."""
        rows = await self._connection.fetch(sql("settlement_repeats_of_file"), id_, REPEATS_MAX)
        return [dict(row) for row in rows]

    async def files(
        self, before: str | None, platform: str | None, shop: str | None, limit: int
    ) -> list[Row]:
        """Return a page of files, latest first."""
        rows = await self._connection.fetch(
            sql("settlement_files_listed"), before, platform, shop, min(limit, LISTED_MAX + 1)
        )
        return [_file(row) for row in rows]

    async def known_orders(self, platform: str, shop: str, lines: Sequence[Line]) -> int:
        """Return how many of the orders that lines name are orders of ours."""
        keys = await self._keys(platform, shop, lines)
        found = await self._connection.fetch(sql("orders_known"), list(keys.values()))
        return len(found)

    # --- differences ------------------------------------------------------------------------------

    async def differences(self, wanted: Filter, after: Place | None, limit: int) -> list[Row]:
        """Return a page of differences, latest first; raises Rejected for no verdict."""
        if wanted.verdict and wanted.verdict not in set(Verdict):
            raise Rejected(f"There is no verdict {wanted.verdict!r}.")
        name = "settlement_differences_all" if wanted.resolved else "settlement_differences_open"
        filters = [said or None for said in wanted[:3]]
        rows = await self._connection.fetch(sql(name), *(after or (None, "")), *filters, limit)
        return [dict(row) for row in rows]

    async def counts(self, wanted: Filter) -> dict[str, int]:
        """Return how many differences are open, by verdict."""
        rows = await self._connection.fetch(
            sql("settlement_counts"), wanted.platform or None, wanted.shop or None
        )
        return {row["verdict"]: row["orders"] for row in rows}

    async def order(self, key: str) -> Row | None:
        """Return how one order stands, its `lines` and `resolutions`; None: no file touched it."""
        row = await self._connection.fetchrow(sql("settlement_order"), key)
        if row is None:
            return None
        lines = await self._connection.fetch(sql("settlement_lines_of_order"), key, LINES_MAX)
        said = await self._connection.fetch(sql("settlement_resolutions_of"), key, LISTED_MAX)
        return dict(row) | {
            "lines": [dict(line) for line in lines],
            "resolutions": [dict(one) for one in said],
        }

    async def resolve(
        self, orders: Mapping[str, str | None], operator: str, reason: str
    ) -> list[str]:
        """
        Resolve open differences, and return those of *orders* that were.

        Where facts are said of an order, they have to be those that it is judged by now. Waits for
        whoever judges the same shops, because a verdict that did not see the resolution would open
        it again; raises Busy.
        """
        # In one sequence for everybody: two people who chose the same never wait for each other.
        shops = sorted(
            {(said[0], said[1]) for key in orders if len(said := key.split(":", 2)) == 3}
        )
        async with self._turn(*shops, within=_RESOLVE_WITHIN):
            rows = await self._connection.fetch(
                sql("settlement_resolved"), list(orders), list(orders.values()), operator, reason
            )
        return sorted(row["order_key"] for row in rows)


def sums_of(lines: Sequence[Line]) -> list[Row]:
    """Return what lines come to, by kind, word and currency, the largest kinds of words first."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for line in lines:
        both = found.setdefault((line.kind.value, line.word, line.currency), [0, 0])
        both[0] += 1
        both[1] += line.amount
    ordered = sorted(found.items(), key=lambda each: (each[0][0], -each[1][0], each[0]))
    return [
        {"kind": kind, "word": word, "currency": currency, "lines": count, "amount_minor": amount}
        for (kind, word, currency), (count, amount) in _short(ordered)
    ]


#: Words of one kind that are told apart; further ones are added up.
_WORDS_MAX: Final = 50
_Sums = list[tuple[tuple[str, str, str], list[int]]]


def _short(found: _Sums) -> _Sums:
    """Return *found* with what is beyond so many words of a kind and currency added up."""
    kept: _Sums = []
    rest: dict[tuple[str, str, str], list[int]] = {}
    seen: dict[tuple[str, str], int] = {}
    for key, both in found:
        kind, _, currency = key
        seen[kind, currency] = seen.get((kind, currency), 0) + 1
        if seen[kind, currency] <= _WORDS_MAX:
            kept.append((key, both))
            continue
        more = rest.setdefault((kind, "…", currency), [0, 0])
        more[0] += both[0]
        more[1] += both[1]
    return [*kept, *rest.items()]


def _records(
    source: Source, lines: Sequence[Line], keys: Mapping[str, str]
) -> Iterator[tuple[Any, ...]]:
    for line in lines:
        key = None if line.order is None else keys[line.order]
        yield (
            source.platform, source.shop, line.movement, line.part, source.id, line.row, line.order,
            key, line.kind.value, line.word, line.amount, line.currency, _at(line.at_ms),
        )  # fmt: skip


def _told(line: Line) -> str:
    return _words(line.amount, line.currency, line.order)


def _words(amount: int, currency: str, order: str | None) -> str:
    """Return what makes a movement this one and no other; its kind is our word, and may change."""
    return f"{amount} {currency} of {order or 'no order'}"


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _file(row: Mapping[str, Any]) -> Row:
    return dict(row) | {"sums": orjson.loads(row["sums"])}
