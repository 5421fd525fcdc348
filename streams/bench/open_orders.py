"""Rows of open orders, made by the real adapters, intake and rules from generated messages."""

from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from types import SimpleNamespace
from typing import Any

from msgspec import json, structs

from agents.intake import SHOP_HEADER, Destinations, Intake
from agents.letters import PREFIX_BYTES
from agents.reference import Directory, reference_key
from schemas.base import order_key
from schemas.orders import StockAnswered
from schemas.reference import Shop
from schemas.stock import HoldStock
from streams import topics
from streams.adapters import ADAPTERS
from streams.clock import now_ms
from streams.feed.payloads import render
from streams.feed.trade import SHOP, Trade, statements
from tables import orders

_HOUR_MS = 3_600_000
#: Different orders that the others are copies of, under keys of their own.
_TEMPLATES = 300


def rows(count: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and encoded row of *count* reserved, unpaid three-line orders."""
    templates = list(_templates())
    for number, row in enumerate(islice(cycle(templates), count)):
        order_id = f"{number:019d}"
        key = order_key(row.platform, row.shop, order_id)
        copy = structs.replace(row, key=key, order_id=order_id)
        yield key.encode(), orders.TABLE.encode_row(copy)


def _templates() -> Iterator[Any]:
    for observed in observations(_TEMPLATES):
        yield _reserved(observed)


def observations(count: int) -> Iterator[bytes]:
    """Yield what intake tells the order keeper of *count* unpaid orders, as MessagePack."""
    trade = Trade(orders=count, unpaid=True, starts_s=now_ms() // 1000)
    directory = Directory()
    for platform in trade.platforms:
        shop = Shop(platform=platform, shop=SHOP, hold_for_ms=24 * _HOUR_MS)
        directory.put(reference_key(shop), json.encode(shop))
    to = Destinations(topics.ORDER_COMMANDS.name, topics.STOCK_COMMANDS.name, topics.PARKED.name)
    adapters: Mapping[str, Any] = ADAPTERS  # frozen: their attributes are read-only
    intake = Intake(adapters, directory, to, 24 * _HOUR_MS)
    for said in statements(trade):
        draft = said.draft
        record = SimpleNamespace(
            offset=said.number,
            timestamp=now_ms(),
            key=None,
            value=render(draft, said.step),
            headers=[(SHOP_HEADER, draft.shop.encode())],
        )
        (output,) = intake.observe(draft.platform, topics.raw(draft.platform), 0, record)
        yield output.value[PREFIX_BYTES:]


def _reserved(command: bytes) -> Any:
    """Return the row of the order that *command* observes, after all its stock was held."""
    table, known = orders.TABLE, dict[bytes, Any]()
    pending: list[Any] = [table.decode_command(command)]
    while pending:
        changes, said = table.decide(known, pending.pop(), now_ms())
        known |= changes
        pending += [
            StockAnswered(order=letter.order, sku=letter.sku, attempt=letter.attempt)
            for letter in said
            if isinstance(letter, HoldStock)
        ]
    (row,) = known.values()
    return row
