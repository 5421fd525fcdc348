"""
What people and pages ask the ledger. Reads only, as the reader role.

Promises that what is personal comes out masked, and that an answer is bounded however much there
is. Rows are plain dicts: names are columns, times are UTC.
"""

from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import asyncpg
from msgspec import json, msgpack

from schemas.orders import Buyer, OrderDetails, Receiver
from streams.postgres.connecting import CONNECT_SECONDS, told
from streams.postgres.queries import sql

Row = dict[str, Any]

#: A page is never longer.
ROWS_MAX = 500
READ_SECONDS = 30.0
POOL_MAX = 4


class Reads:
    """
    The read side: `async with Reads(dsn) as reads`.

    Every method raises LedgerUnavailable when PostgreSQL does not answer.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Any = None

    async def __aenter__(self) -> Self:
        try:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=POOL_MAX,
                timeout=CONNECT_SECONDS,
                command_timeout=READ_SECONDS,
                server_settings={
                    "application_name": "orderflow-reads",
                    "timezone": "UTC",
                    "default_transaction_read_only": "on",
                },
            )
        except Exception as error:  # noqa: BLE001  `told` sorts them
            raise told(error) from None  # the cause may repeat the address
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
            "ignored_releases": await self._rows("ignored_releases_of_order", key),
            "details": await self.details(key),
        }

    async def details(self, key: str) -> Row | None:
        """Return what is personal about one order, masked; None when unknown or erased."""
        row = await self._row("details_of_order", key)
        return None if row is None else masked(_DETAILS.decode(row["body"]))

    async def orders_of_shop(
        self, platform: str, shop: str, *, before: datetime | None = None, limit: int = 50
    ) -> list[Row]:
        """Return a page of one shop's orders, newest first."""
        return await self._rows("orders_of_shop", platform, shop, before, min(limit, ROWS_MAX))

    async def stock(self, sku: str, *, limit: int = 20) -> Row | None:
        """Return one SKU's balance, its open holds and its last moves; None if never received."""
        balance = await self._row("stock_of_sku", sku)
        if balance is None:
            return None
        limit = min(limit, ROWS_MAX)
        return {
            "balance": balance,
            "holds": await self._rows("open_holds_of_sku", sku, limit),
            "moves": await self._rows("last_moves_of_sku", sku, limit),
        }

    async def trail_breaks(self, sku: str, *, limit: int = 20) -> list[Row]:
        """Return the moves of one SKU that do not follow from the move before."""
        return await self._rows("trail_breaks", sku, min(limit, ROWS_MAX))

    async def orders_by_channel_and_status(self) -> list[Row]:
        """Return how many orders each shop has in each status."""
        return await self._rows("orders_by_channel_and_status")

    async def stock_by_bucket(self) -> Row:
        """Return all units by bucket."""
        return await self._row("stock_by_bucket") or {}

    async def parked_open(self, limit: int = 50) -> list[Row]:
        """Return the exceptions that wait for a person, latest first."""
        return await self._rows("parked_open", min(limit, ROWS_MAX))

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
            return [dict(row) for row in await self._pool.fetch(sql(name), *values)]
        except Exception as error:
            raise told(error) from error

    async def _row(self, name: str, *values: Any) -> Row | None:
        rows = await self._rows(name, *values)
        return rows[0] if rows else None


_DETAILS = msgpack.Decoder(OrderDetails)


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
