"""
What people and pages ask the ledger. Reads only, as the reader role.

Promises that what is personal comes out masked, but from `personal`, whose caller answers for the
right and the record; and that an answer is bounded however much there is. Rows are
plain dicts: names are columns, times are UTC.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from msgspec import json, msgpack

from schemas.orders import Buyer, OrderDetails, Receiver
from streams.annotating import table
from streams.annotating.definitions import NOTHING, Annotation, Definitions
from streams.postgres.connecting import pool, told
from streams.postgres.queries import sql

Row = dict[str, Any]

#: A page is never longer.
ROWS_MAX = 500
READ_SECONDS = 30.0
POOL_MAX = 4
#: What a step of a statement may hold in memory: what a list looked at is sorted there.
WORK_MEM = "16MB"


class Reads:
    """
    The read side: `async with Reads(dsn) as reads`.

    Every method raises LedgerUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, dsn: str, *, at_once: int = POOL_MAX) -> None:
        self._dsn = dsn
        self._at_once = at_once
        self._pool: Any = None

    async def __aenter__(self) -> Self:
        self._pool = await pool(
            self._dsn,
            name="orderflow-reads",
            tried=True,
            at_most=self._at_once,
            answers_within_s=READ_SECONDS,
            default_transaction_read_only="on",
            work_mem=WORK_MEM,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._pool.close()

    async def order(self, word: str) -> list[Row]:
        """Return the orders called *word*: a key `platform:shop:id`, or a bare id in any shop."""
        found = await self._rows("orders_called", word)
        return [row | {"short": json.decode(row["short"] or "[]")} for row in found]

    async def order_story(self, key: str) -> Row | None:
        """Return everything known about one order; None if there is no such order."""
        found = [order for order in await self.order(key) if order["order_key"] == key]
        if not found:
            return None
        return {
            "order": found[0],
            "lines": await self._rows("lines_of_order", key),
            "events": [_told_event(row) for row in await self._rows("events_of_order", key)],
            "holds": await self._rows("holds_of_order", key),
            "moves": await self._rows("moves_of_order", key),
            "returns": await self._rows("returns_of_order", key),
            "ignored_releases": await self._rows("ignored_releases_of_order", key),
            "details": await self.details(key),
            "annotation": (await self.annotations([key])).get(key, NOTHING),
            "annotation_changes": await self.annotation_changes(key),
        }

    async def details(self, key: str) -> Row | None:
        """Return what is personal about one order, masked; None when unknown or erased."""
        row = await self._row("details_of_order", key)
        return None if row is None else masked(_DETAILS.decode(row["body"]))

    async def personal(self, key: str) -> OrderDetails | None:
        """Return what is personal about one order, in clear: only for those who may see it."""
        row = await self._row("details_of_order", key)
        return None if row is None else _DETAILS.decode(row["body"])

    async def definitions(self) -> Definitions:
        """Return the labels and fields that there are."""
        try:
            return await table.definitions(self._pool)
        except Exception as error:
            raise told(error) from error

    async def definition_changes(self, of: table.Table, code: str) -> list[Row]:
        """Return who changed one label or field, and why, latest first."""
        rows = await self._rows("definition_changes", of.value, code, ROWS_MAX)
        decode = json.decode
        return [
            row | {name: decode(row[name] or "{}") for name in ("before", "after")} for row in rows
        ]

    async def annotations(self, keys: list[str]) -> dict[str, Annotation]:
        """Return what these orders carry, of those that carry anything."""
        rows = await self._rows("annotations_of", keys)
        return {row["order_key"]: table.annotation_of(row) for row in rows}

    async def annotation_changes(self, key: str) -> list[Row]:
        """Return who changed what one order carries, latest first: `before` and `after`."""
        return [
            {
                "version": row["version"],
                "at": row["at"],
                "by": row["by"],
                "before": Annotation(
                    row["version"] - 1, tuple(row["labels_before"]),
                    json.decode(row["fields_before"]),
                ),
                "after": Annotation(
                    row["version"], tuple(row["labels"]), json.decode(row["fields"])
                ),
            }
            for row in await self._rows("annotation_changes", key, ROWS_MAX)
        ]  # fmt: skip

    async def orders_annotated(self, *asked: Any) -> list[Row]:
        """Return a page of the orders that carry labels or fields."""
        return await self._rows("orders_annotated", *asked)

    async def orders_annotated_end(self, *asked: Any) -> Row | None:
        """Return where a walk over so many of them ends; None where there are fewer."""
        return await self._row("orders_annotated_end", *asked)

    async def orders_walked(self, *asked: Any) -> list[Row]:
        """Return a page of orders by time; what is asked is in the order of the statement."""
        return await self._rows("orders_walked", *asked)

    async def orders_walk_end(self, *asked: Any) -> Row | None:
        """Return where a walk over so many orders ends; None where there are fewer."""
        return await self._row("orders_walk_end", *asked)

    async def orders_found(self, *asked: Any) -> list[Row]:
        """Return a page of the orders that a word finds."""
        return await self._rows("orders_found", *asked)

    async def is_common_sku(self, word: str, lines: int) -> bool:
        """Is *word* a SKU that stands in so many *lines* of orders, or more?"""
        row = await self._row("is_common_sku", word, lines)
        return bool(row and row["is_common"])

    async def orders_of_common_sku(self, *asked: Any) -> list[Row]:
        """Return a page of the orders of such a SKU."""
        return await self._rows("orders_of_common_sku", *asked)

    async def orders_figured(self, *asked: Any) -> list[Row]:
        """Return a page of the orders behind a figure; what is asked is as in the statement."""
        return await self._rows("orders_figured", *asked)

    async def orders_figured_back(self, *asked: Any) -> list[Row]:
        """Return a page of the orders behind a figure of what went back, the latest back first."""
        return await self._rows("orders_figured_back", *asked)

    async def orders_figured_back_end(self, *asked: Any) -> Row | None:
        """Return where such a page has looked to; None where it has seen all."""
        return await self._row("orders_figured_back_end", *asked)

    async def orders_figured_end(self, *asked: Any) -> Row | None:
        """Return where such a page has looked to; None where it has seen all."""
        return await self._row("orders_figured_end", *asked)

    @asynccontextmanager
    async def in_a_row(self) -> AsyncIterator["Reads"]:
        """Give reads on one connection, for many in a row: each giving back is a statement."""
        async with self.lent() as connection:
            its = Reads(self._dsn)
            its._pool = connection  # a connection is asked in the words of a pool
            yield its

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Any]:
        """Give a connection to read by; what goes wrong on it is said in our words."""
        try:
            async with self._pool.acquire() as connection:
                yield connection
        except Exception as error:
            raise told(error) from error

    async def to_ship(self, *asked: Any) -> list[Row]:
        """Return a page of the orders that can go now; what is asked is as in the statement."""
        return await self._rows("to_ship", *asked)

    async def to_pack(self, orders: list[str]) -> list[Row]:
        """Return these orders with what each holds that has not left, and their `lines`."""
        lines: dict[str, list[Row]] = {}
        for line in await self._rows("lines_to_pack", orders):
            lines.setdefault(line["order_key"], []).append(line)
        found = await self._rows("to_pack", orders)
        return [row | {"lines": lines.get(row["order_key"], [])} for row in found]

    async def unmapped(
        self, platform: str | None, shop: str | None, waiting: int, limit: int
    ) -> list[Row]:
        """Return the SKUs of theirs that nobody has mapped, in the first *waiting* orders."""
        return await self._rows("unmapped_listed", platform, shop, waiting, min(limit, ROWS_MAX))

    async def marks(
        self, orders: list[str], skus: list[str], exceptions: Sequence[str] = ()
    ) -> dict[tuple[str, str], str]:
        """Return a mark of each of these, another one after every change that shows."""
        found = {
            ("order", row["order_key"]): row["mark"]
            for row in await self._rows("marks_of_orders", orders)
        }
        if skus:
            found |= {
                ("sku", row["sku"]): row["mark"] for row in await self._rows("marks_of_skus", skus)
            }
        if exceptions:
            rows = await self._rows("marks_of_exceptions", list(exceptions))
            found |= {("exception", row["id"]): row["mark"] for row in rows}
        return found

    async def stock_listed(
        self, after: str, begins: str, at_most: int | None, *, short: bool, limit: int
    ) -> list[Row]:
        """Return a page of balances by SKU."""
        return await self._rows("stock_listed", after, begins, at_most, short, min(limit, ROWS_MAX))

    async def moves_before(self, sku: str, version: int | None, limit: int) -> list[Row]:
        """Return a page of one SKU's trail, newest first."""
        return await self._rows("moves_before", sku, version, min(limit, ROWS_MAX))

    async def orders_of_shop(
        self, platform: str, shop: str, *, before: datetime | None = None, limit: int = 50
    ) -> list[Row]:
        """Return a page of one shop's orders, newest first."""
        return await self._rows("orders_of_shop", platform, shop, before, min(limit, ROWS_MAX))

    async def stock(self, sku: str, *, limit: int = 20) -> Row | None:
        """Return a SKU's balance, open holds, quotas and last moves; None if never received."""
        balance = await self._row("stock_of_sku", sku)
        if balance is None:
            return None
        limit = min(limit, ROWS_MAX)
        return {
            "balance": balance,
            "holds": await self._rows("open_holds_of_sku", sku, limit),
            "quotas": await self._rows("quotas_of_sku", sku, limit),
            "moves": await self._rows("last_moves_of_sku", sku, limit),
        }

    async def moves_around(self, sku: str, version: int, before: int, after: int) -> list[Row]:
        """Return the moves of one SKU around *version*, oldest first."""
        limits = min(before, ROWS_MAX), min(after, ROWS_MAX)
        return await self._rows("moves_around", sku, version, *limits)

    async def decisions_of(self, orders: list[str]) -> dict[str, list[Row]]:
        """Return what happened to *orders*, each oldest first."""
        found: dict[str, list[Row]] = {order: [] for order in orders[:ROWS_MAX]}
        for row in await self._rows("decisions_of_orders", list(found)):
            found[row["order_key"]].append(_told_event(row))
        return found

    async def open_shortfalls(self, limit: int = 50) -> list[Row]:
        """Return the SKUs of which more is held than is there, the shortest first."""
        return await self._rows("open_shortfalls", min(limit, ROWS_MAX))

    async def trail_breaks(self, sku: str, *, limit: int = 20) -> list[Row]:
        """Return the moves of one SKU that do not follow from the move before."""
        return await self._rows("trail_breaks", sku, min(limit, ROWS_MAX))

    async def orders_by_channel_and_status(self) -> list[Row]:
        """Return how many orders each shop has in each status."""
        return await self._rows("orders_by_channel_and_status")

    async def stock_by_bucket(self) -> Row:
        """Return all units by bucket."""
        return await self._row("stock_by_bucket") or {}

    async def count_parked_open(self) -> int:
        """Return how many exceptions wait for a person."""
        row = await self._row("count_parked_open")
        return int(row["count"]) if row else 0

    async def throughput_and_latency(self, within: timedelta = timedelta(minutes=5)) -> Row:
        """Return rate and latency, raw message to row and to verdict, of what came in lately."""
        return await self._row("throughput_and_latency", within) or {}

    async def answer(self, command: str) -> Row | None:
        """Return the answer to an operator's command; None while there is none."""
        return await self._row("answer", command)

    async def positions(self) -> list[Row]:
        """Return where the ledger stands on every partition."""
        return await self._rows("positions")

    async def _rows(self, name: str, *values: Any) -> list[Row]:
        try:
            return [_legible(row) for row in await self._pool.fetch(sql(name), *values)]
        except Exception as error:
            raise told(error) from error

    async def _row(self, name: str, *values: Any) -> Row | None:
        rows = await self._rows(name, *values)
        return rows[0] if rows else None


_DETAILS = msgpack.Decoder(OrderDetails)


def _legible(row: Any) -> Row:
    """Return *row* with its chain as text."""
    found = dict(row)
    if "chain" in found:
        found["chain"] = found["chain"].hex()
    return found


def _told_event(row: Row) -> Row:
    return {**row, "body": json.decode(row["body"])}


# --- masking --------------------------------------------------------------------------------------


def masked(details: OrderDetails) -> Row:
    """Return *details* as they may be shown: enough to recognise a person, not to reach one."""
    return {
        "version": details.version,
        "buyer": _buyer(details.buyer) if details.buyer else None,
        "receiver": _receiver(details.receiver) if details.receiver else None,
        "invoice": bool(details.invoice),
        "shipments": [
            {"carrier": parcel.carrier, "tracking_number": parcel.tracking_number}
            for parcel in details.shipments
        ],
        "notices": [
            {"code": notice.code, "field": notice.field, "said": notice.said}
            for notice in details.notices
        ],
    }


def _buyer(buyer: Buyer) -> Row:
    return {
        "name": hide(buyer.name, 1),
        "phone": hide(buyer.phone or buyer.phone_said, 3, 2),
        "email": hide(buyer.email, 1),
    }


def _receiver(receiver: Receiver) -> Row:
    return {
        "name": hide(receiver.name, 1),
        "phone": hide(receiver.phone or receiver.phone_said, 3, 2),
        "country": receiver.country,
        "province": receiver.province,
        "city": receiver.city,
        "district": receiver.district,
        "address": hide(receiver.address, 2),
    }


def hide(text: str | None, first: int, last: int = 0) -> str | None:
    """Return *text* with stars between *first* and *last* characters; a short one is only stars."""
    if not text:
        return text
    if len(text) <= first + last:
        return "***"
    return f"{text[:first]}***{text[len(text) - last :] if last else ''}"
