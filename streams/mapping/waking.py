"""
Orders that wait for a mapping, and are read once more as soon as there is one.

Theory of operation. The ledger says which orders have lines that nobody has mapped; the directory
says which of those are mapped now. What the platform said last about such an order is fetched from
its raw topic and goes through intake once more, with today's directory: the same statement, of the
same version, with more SKUs. The order keeper takes exactly that (and only once), asks for the
stock and decides.

Nothing is remembered: as long as the ledger says that an order waits and the directory says that it
need not, it is read again. So a crash at any point, a lost message, a ledger that is behind or an
intake that had not yet heard of the mapping cost a repeat, which the keeper ignores, or a moment.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import msgpack

from agents.intake import Intake, Output
from agents.letters import unseal
from agents.reference import Directory
from schemas.orders import Line, ObserveOrder
from streams.postgres.queries import sql
from streams.raw_log import Place, RawLog

_PAGE = 500
#: So many of an order's statements are looked through for the last one with lines, newest first.
_STATEMENTS_MAX = 50


class _Observed(msgspec.Struct, tag_field="type", tag="order.observed"):
    """What is read of the event: which raw record said it."""

    cause: str


_observed = msgspec.json.Decoder(_Observed).decode
_decode = msgpack.Decoder(ObserveOrder).decode


class Waiting(NamedTuple):
    """An order with lines that nobody had mapped when it was read."""

    order: str
    platform: str
    shop: str
    ordered_ms: int
    lines: tuple[Line, ...]


class Found(NamedTuple):
    """One look through all that wait."""

    #: Their last words, read with today's mappings.
    outputs: list[Output]
    waiting: int
    #: Orders that could go on, but whose raw record is gone or says no lines any more.
    lost: list[str]


async def look(
    connection: Any,
    directory: Directory,
    intake: Intake,
    log: RawLog,
    now_ms: int,
    but: Mapping[str, object],
) -> Found:
    """Return what wakes the orders that are mapped by now, except those asked for in *but*."""
    found, after = Found([], 0, []), ""
    while True:
        page = await connection.fetch(sql("orders_waiting"), after, _PAGE)
        if not page:
            return found
        after = page[-1]["order_key"]
        waiting = await _waiting(connection, page)
        mapped = [
            order
            for order in waiting
            if order.order not in but and _is_mapped(order, directory, now_ms)
        ]
        outputs, lost = await _read_again(connection, mapped, intake, log, now_ms)
        found = Found(found.outputs + outputs, found.waiting + len(page), found.lost + lost)


async def _waiting(connection: Any, page: Sequence[Any]) -> list[Waiting]:
    lines: dict[str, list[Line]] = {}
    for row in await connection.fetch(sql("lines_waiting"), [row["order_key"] for row in page]):
        lines.setdefault(row["order_key"], []).append(
            Line(
                line_id=row["line_id"],
                quantity=row["quantity"],
                platform_sku=row["platform_sku"],
                merchant_sku=row["merchant_sku"],
            )
        )
    return [
        Waiting(
            row["order_key"],
            row["platform"],
            row["shop"],
            round((row["created_at"] or row["first_received_at"]).timestamp() * 1000),
            tuple(lines.get(row["order_key"], ())),
        )
        for row in page
    ]


def _is_mapped(order: Waiting, directory: Directory, now_ms: int) -> bool:
    """Say whether any of its lines is mapped now."""
    shop = directory.shop(order.platform, order.shop)
    return shop is not None and any(
        directory.sku(shop, order.shop, line, order.ordered_ms, now_ms) is not None
        for line in order.lines
    )


async def _read_again(
    connection: Any, orders: Sequence[Waiting], intake: Intake, log: RawLog, now_ms: int
) -> tuple[list[Output], list[str]]:
    if not orders:
        return [], []
    places: dict[str, dict[Place, None]] = {order.order: {} for order in orders}
    for row in await connection.fetch(sql("statements_of_orders"), list(places)):
        of_order = places[row["order_key"]]
        place = Place.of(_observed(row["body"]).cause)
        if place is not None and len(of_order) < _STATEMENTS_MAX:
            of_order[place] = None
    records = await log.records(place for several in places.values() for place in several)
    outputs, lost = [], []
    for order in orders:
        said = _last_word(order, places[order.order], records, intake, now_ms)
        if said is None:
            lost.append(order.order)
        else:
            outputs.append(said)
    return outputs, lost


def _last_word(
    order: Waiting,
    places: Iterable[Place],
    records: Mapping[Place, Any],
    intake: Intake,
    now_ms: int,
) -> Output | None:
    """Return the statement that the order's lines come from, as the keeper chose it (`Version`)."""
    newest: tuple[tuple[int, str, str], Output] | None = None
    for place in places:
        record = records.get(place)
        if record is None:
            continue
        for output in intake.observe(order.platform, place.topic, place.partition, record, now_ms):
            version = _version(output, order.order)
            if version is not None and (newest is None or version > newest[0]):
                newest = version, output
    return newest[1] if newest else None


def _version(output: Output, order: str) -> tuple[int, str, str] | None:
    """Return the version of the lines that *output* states of *order*; None: it states none."""
    if output.key != order.encode():
        return None
    command = _decode(unseal(output.value)[3])
    said, source = command.statement, command.source
    return (said.stated_ms, source.adapter, source.digest) if said.lines else None
