"""
An order's story, from the first raw message to the last row, in words and as data.

Everything comes from the ledger, but the raw messages: those are fetched from Kafka, from the
place that each decision names as its cause. Promise: what is personal is masked, in the raw bytes
too; a message that retention has removed is said to be gone, not left out.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from streams.annotating.definitions import changed
from streams.annotating.definitions import in_words as noted
from streams.masking import shown
from streams.raw_log import Place, RawLog
from streams.settings import Settings

Row = dict[str, Any]

#: A story has at most so many raw messages.
_RAW_MAX = 50
#: Characters of a payload in words; `--json` has all of it.
_OPENING_MAX = 300
_HEAD = frozenset({"order", "version", "at_ms", "cause", "event"})


async def explained(settings: Settings, story: Row) -> Row:
    """Return *story* with its raw messages, in the order in which things happened."""
    return composed(story, await raw_messages(settings, _causes(story)))


def _causes(story: Row) -> list[str]:
    """Return what the events came of, each once, in order."""
    said = (event["body"].get("cause") for event in story["events"])
    return list(dict.fromkeys(cause for cause in said if cause))


def composed(story: Row, raw: list[Row]) -> Row:
    """Return *story* with *raw*, its decisions with their reasons."""
    return {
        "order": story["order"],
        #: The ids to look for in logs and traces, one a message.
        "correlation": [cause for cause in _causes(story) if Place.of(cause)],
        "lines": story["lines"],
        "raw": raw,
        "decisions": [
            {
                "version": event["version"],
                "at": event["at"],
                "event": event["event"],
                "why": reason(event["event"], event["body"]),
                "cause": event["body"].get("cause"),
                "said": {k: v for k, v in event["body"].items() if k not in _HEAD},
            }
            for event in story["events"]
        ],
        "moves": story["moves"],
        "holds": story["holds"],
        "returns": story["returns"],
        "ignored_releases": story["ignored_releases"],
        "details": story["details"],
        #: What people noted, oldest first.
        "annotations": [_annotation(each) for each in reversed(story["annotation_changes"])],
    }


def _annotation(change: Row) -> Row:
    done = changed(change["before"], change["after"])
    head = {name: change[name] for name in ("version", "at", "by")}
    return head | {"why": noted(done), **done._asdict()}


# --- the reasons ----------------------------------------------------------------------------------


def reason(event: str, body: Row) -> str:
    """Return one sentence for an order event."""
    tell = _REASONS.get(event)
    return tell(body) if tell else event


def _observed(body: Row) -> str:
    said = body.get("status_said") or "no status"
    waits = body.get("unmapped")
    waiting = f"; the reservation waits for a mapping of {', '.join(waits)}" if waits else ""
    return f"the platform's word was taken: {said}, which is {body.get('status')}{waiting}"


def _ignored(body: Row) -> str:
    why = {
        "duplicate": "exactly this was said before",
        "stale": "something newer was said before",
        "illegal": "it would undo what cannot be undone",
        "empty": "it names the order and says nothing of it; the order has to be fetched",
    }
    return (
        f"a statement ({body.get('status')}) changed nothing: {why.get(body['why'], body['why'])}"
    )


def _reserved(body: Row) -> str:
    until = body.get("deadline_ms")
    kind = f"until {_time(until)} unless it is paid" if until else "for good: it is paid"
    short = f"; without {_shorts(body['short'])}" if body.get("short") else ""
    return f"every line has its stock, {kind}{short} (attempt {body['attempt']})"


def _short(body: Row) -> str:
    kept = "what was held before still is, and no more" if body.get("kept") else "nothing is held"
    return f"{kept}: {_shorts(body['short'])} (attempt {body['attempt']})"


def _shorts(short: Iterable[Row]) -> str:
    return ", ".join(
        f"{one['sku']}: {one['wanted']} wanted, {one['available']} available ({one['refusal']})"
        for one in short
    )


def _expired(body: Row) -> str:
    return f"not paid by {_time(body['deadline_ms'])}; what was held was given back"


def _status(body: Row) -> str:
    return f"told downstream: {body.get('before') or 'nothing'} became {body['status']}"


def _refund(body: Row) -> str:
    return f"refund: {body.get('before') or 'not said'} became {body['refund']}"


def _case(body: Row) -> str:
    short = f": {_shorts(body['short'])}" if body.get("short") else ""
    return f"a person has to settle this: {body['case']}{short}"


def _settled(body: Row) -> str:
    return f"{body['operator']} settled {body['case']} by {body['choice']}: {body['reason']}"


def _returned(body: Row) -> str:
    return (
        f"{body['quantity']} of {body['sku']} came back as {body['disposition']}, "
        f"{body['returned']} in all; {body['operator']}: {body['reason']}"
    )


def _shipped(body: Row) -> str:
    lines = ", ".join(f"{line['quantity']} of {line['line_id']}" for line in body["lines"])
    rest = f"{body['left']} units have not left" if body["left"] else "nothing more is to leave"
    return (
        f"parcel {body['parcel']} left with {body['carrier']} {body['tracking_number']}: {lines}; "
        f"{rest}; {body['operator']}: {body['reason']}"
    )


_REASONS = {
    "order.observed": _observed,
    "order.ignored": _ignored,
    "order.reserved": _reserved,
    "order.short": _short,
    "order.expired": _expired,
    "order.status": _status,
    "order.refund": _refund,
    "order.case": _case,
    "order.settled": _settled,
    "order.returned": _returned,
    "order.shipped": _shipped,
}


# --- from a move to what came of it ---------------------------------------------------------------

#: Verb -> the command that asks for it.
COMMANDS = {
    "receive": "ReceiveStock",
    "adjust_up": "AdjustStock",
    "adjust_down": "AdjustStock",
    "hold": "HoldStock",
    "draw": "HoldStock",
    "occupy": "OccupyStock",
    "release": "ReleaseStock",
    "expire": "ReleaseStock",
    "ship": "ShipStock",
    "found": "ShipStock",
    "freeze": "FreezeStock",
    "unfreeze": "UnfreezeStock",
    "count_up": "CountStock",
    "count_down": "CountStock",
    "count_short": "CountStock",
    "return": "ReturnStock",
    "return_frozen": "ReturnStock",
    "allot": "AllotStock",
    "give_back": "GiveBackStock",
}


def links(move: Row, decisions: Iterable[Row]) -> list[str]:
    """
    Return the chain of causes of *move*: raw record, command, move, and what its order told then.

    *decisions* are its order's; those with the same cause belong to it.
    """
    who = f" of {move['operator']}: {move['reason']}" if move["operator"] else ""
    command = COMMANDS.get(move["verb"], "the command")
    by = f" {move['command_id']}" if move["command_id"] else ""
    order = f" for {move['order_key']}" if move["order_key"] else ""
    told = [
        f"{each['event']} (version {each['version']})"
        for each in decisions
        if move["order_key"] and each["cause"] == move["cause"]
    ]
    return [
        move["cause"],
        f"{command}{by}{order}{who}",
        f"{move['sku']} no {move['version']}",
        *told,
    ]


# --- the raw messages -----------------------------------------------------------------------------


async def raw_messages(settings: Settings, causes: Iterable[str]) -> list[Row]:
    """Return the raw messages among *causes*, the first fifty; one that is gone says so."""
    places = {cause: place for cause in list(causes)[:_RAW_MAX] if (place := Place.of(cause))}
    if not places:
        return []
    async with RawLog(settings) as log:
        records = await log.records(places.values())
    return [_raw(cause, records.get(place)) for cause, place in places.items()]


def _raw(cause: str, record: Any) -> Row:
    if record is None:
        return {"place": cause, "gone": "it is not in the log any more"}
    shop = next((value for name, value in record.headers if name == "shop"), b"")
    return {
        "place": cause,
        "received_ms": record.timestamp,
        "key": (record.key or b"").decode("utf-8", "replace"),
        "shop": shop.decode("utf-8", "replace"),
        "bytes": len(record.value or b""),
        "payload": shown(record.value or b""),
    }


# --- in words -------------------------------------------------------------------------------------


def in_words(told: Row) -> Iterator[str]:
    """Yield the story for a person, in the order in which it happened."""
    order = told["order"]
    yield f"{order['order_key']}: {order['status'] or 'no verdict yet'}, {order['reservation_now']}"
    yield from ("", "What the platform sent (each place is the correlation id in logs and traces)")
    for raw in told["raw"]:
        yield from _raw_words(raw)
    yield from ("", "What was decided, and why")
    for decision in told["decisions"]:
        yield f"  {decision['version']:>3}  {_at(decision['at'])}  {decision['why']}"
        yield f"       because of {decision['cause']}"
    yield from ("", "What moved")
    yield from _moved_words(told)
    if told["annotations"]:
        yield from ("", "What people noted")
    for each in told["annotations"]:
        yield f"  {each['version']:>3}  {_at(each['at'])}  {each['by']}: {each['why']}"
    yield from ("", "What stands in the ledger")
    yield from _ledger_words(told)


def _raw_words(raw: Row) -> Iterator[str]:
    if "gone" in raw:
        yield f"  {raw['place']}  {raw['gone']}"
        return
    yield f"  {raw['place']}  {_time(raw['received_ms'])}  {raw['bytes']:,} bytes"
    yield f"      {orjson.dumps(raw['payload']).decode()[:_OPENING_MAX]}"


def _moved_words(told: Row) -> Iterator[str]:
    for back in told["returns"]:
        yield (
            f"  {back['sku']}  {_at(back['at'])}  {back['quantity']} came back: "
            f"{back['disposition']}"
        )
    for move in told["moves"]:
        yield (
            f"  {move['sku']} no {move['version']}  {_at(move['at'])}  {move['verb']}: "
            f"{move['quantity']} from {move['source'] or 'outside'} "
            f"to {move['target'] or 'outside'}; then {move['available']} available"
        )
        yield f"       because of {' → '.join(links(move, told['decisions']))}"
    for ignored in told["ignored_releases"]:
        yield (
            f"  {ignored['sku']}  {_at(ignored['at'])}  {ignored['verb']}: nothing moved, "
            f"{ignored['refusal']}"
        )
    if not told["moves"] and not told["ignored_releases"]:
        yield "  nothing"


def _ledger_words(told: Row) -> Iterator[str]:
    order = told["order"]
    yield (
        f"  order  version {order['version']}, {order['platform_status']} by the platform, "
        f"{order['status']} told, {order['currency'] or ''} {order['total_minor']} minor units"
    )
    for line in told["lines"]:
        sku = line["sku"] or "an unmapped SKU"
        yield f"  line   {line['line_id']}: {line['quantity']} of {sku}"
    for hold in told["holds"]:
        ended = f"ended {_at(hold['ended_at'])}" if hold["ended_at"] else f"in {hold['bucket']}"
        yield f"  hold   {hold['quantity']} of {hold['sku']}, last {hold['verb']}, {ended}"


def _at(moment: Any) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if moment else "-"


def _time(ms: int) -> str:
    return _at(datetime.fromtimestamp(ms / 1000, UTC))
