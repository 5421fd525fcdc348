"""
Why a SKU stands as it does, or stood at a moment: folded from the ledger, with every cause.

The balance is added up from the first entry on, and the chain is computed on the way: what is told
is what the entries prove, not what a current row says.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from agents.audit import BUCKETS, Trail, words
from streams.explaining.order import COMMANDS, links, raw_messages, reason
from streams.postgres.trails import snapshot
from streams.reads import Reads
from streams.settings import Settings

Row = dict[str, Any]

#: Moves shown after the moment.
AFTER_MAX = 5
#: Holds shown in words; `--json` has all of them.
_HOLDS_SHOWN = 20


async def explained(settings: Settings, dsn: str, sku: str, at_ms: int, moves: int) -> Row | None:
    """Return the story of *sku* at *at_ms*, with *moves* before it; None if it has no entry."""
    later = 0
    async with snapshot(dsn) as moment:
        trail = Trail(sku, await moment.corrections())
        async for stretch in moment.entries(sku):
            for entry, chain in stretch:
                if entry.at > at_ms:
                    later += 1
                else:
                    trail.take(entry, chain)
    if not trail.entries and not later:
        return None
    async with Reads(dsn) as reads:
        around = await reads.moves_around(sku, trail.version, moves, AFTER_MAX)
        orders = sorted({move["order_key"] for move in around if move["order_key"]})
        decisions = await reads.decisions_of(orders)
    raw = await raw_messages(settings, dict.fromkeys(move["cause"] for move in around))
    return _story(trail, at_ms, later, around, decisions, raw)


def _story(
    trail: Trail,
    at_ms: int,
    later: int,
    around: list[Row],
    decisions: dict[str, list[Row]],
    raw: list[Row],
) -> Row:
    balance = dict(zip(BUCKETS, trail.said, strict=True))
    return {
        "sku": trail.sku,
        "at_ms": at_ms,
        "version": trail.version,
        "balance": balance | {"on_hand": sum(trail.said[:5]) - trail.said[5]},
        "folded": dict(zip(BUCKETS, trail.folded, strict=True)),
        "chain": trail.chain.hex(),
        "fault": trail.fault and trail.fault._asdict(),
        "entries": trail.entries,
        "entries_later": later,
        "holds": [
            {"order": order, "quantity": held.quantity, "bucket": held.bucket,
             "deadline_ms": held.deadline_ms}
            for order, held in sorted(trail.holds.items())
            if held.open
        ],
        "quotas": trail.quotas,
        "moves": [_move(move, decisions, trail.version) for move in around],
        "raw": raw,
    }  # fmt: skip


def _move(move: Row, decisions: dict[str, list[Row]], version: int) -> Row:
    told = [
        {"version": event["version"], "event": event["event"],
         "why": reason(event["event"], event["body"]), "cause": event["body"].get("cause")}
        for event in decisions.get(move["order_key"], ())
        if event["body"].get("cause") == move["cause"]
    ]  # fmt: skip
    return move | {
        "is_later": move["version"] > version,
        "command": COMMANDS.get(move["verb"]),
        "told": told,
        "because": links(move, told),
    }


def in_words(told: Row) -> Iterator[str]:
    """Yield the story for a person."""
    balance = told["balance"]
    yield (
        f"{told['sku']} at {_time(told['at_ms'])} UTC: {balance['on_hand']} on hand, "
        f"version {told['version']}"
    )
    yield f"  {words(tuple(balance[bucket] for bucket in BUCKETS))}"
    yield f"  added up from {told['entries']} entries; {told['entries_later']} came later"
    if fault := told["fault"]:
        yield f"  THE LEDGER IS IN DOUBT from version {fault['version']} on: {fault['what']}"
    else:
        yield f"  the chain is whole up to there: {told['chain'][:16]}…"
    for hold in told["holds"][:_HOLDS_SHOWN]:
        until = f" until {_time(hold['deadline_ms'])}" if hold["deadline_ms"] else ""
        yield f"  held by {hold['order']}: {hold['quantity']} {hold['bucket']}{until}"
    if len(told["holds"]) > _HOLDS_SHOWN:
        yield f"  and by {len(told['holds']) - _HOLDS_SHOWN} more orders"
    yield from ("", "What moved around it, and why")
    for move in told["moves"]:
        yield from _move_words(move)
    yield from ("", "What the platforms sent")
    for raw in told["raw"]:
        said = raw.get("gone") or f"{_time(raw['received_ms'])}  {raw['bytes']:,} bytes"
        yield f"  {raw['place']}  {said}"
    if not told["raw"]:
        yield "  nothing: operators moved it"


def _move_words(move: Row) -> Iterator[str]:
    mark = "later" if move["is_later"] else "     "
    yield (
        f"  {mark} no {move['version']:>4}  {move['at']:%Y-%m-%d %H:%M:%S}  {move['verb']}: "
        f"{move['quantity']} from {move['source'] or 'outside'} to {move['target'] or 'outside'}; "
        f"then {move['available']} available"
    )
    yield f"         {' → '.join(move['because'])}"
    for told in move["told"]:
        yield f"         {told['event']}: {told['why']}"


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
