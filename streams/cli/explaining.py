"""
An order's story, from the first raw message to the last row, in words and as data.

Everything comes from the ledger, but the raw messages: those are fetched from Kafka, from the
place that each decision names as its cause. Promise: what is personal is masked, in the raw bytes
too; a message that retention has removed is said to be gone, not left out.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import aiokafka
import orjson
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.errors import BrokerUnavailable
from streams.logs import SECRET_NAMES, masked
from streams.settings import Settings

Row = dict[str, Any]

#: `topic/partition/offset`.
_PLACE = re.compile(r"(raw-[a-z-]+)/(\d+)/(\d+)")
_FETCH_S = 5.0
#: A story has at most so many raw messages.
_RAW_MAX = 50
_RAW_BYTES_SHOWN = 2_000
#: Characters of a payload in words; `--json` has all of it.
_OPENING_MAX = 300
_HEAD = frozenset({"order", "version", "at_ms", "cause", "event"})


async def explained(settings: Settings, story: Row) -> Row:
    """Return *story* with its raw messages, in the order in which things happened."""
    causes = dict.fromkeys(
        cause for event in story["events"] if (cause := event["body"].get("cause"))
    )
    return {
        "order": story["order"],
        "lines": story["lines"],
        "raw": await _raw(settings, list(causes)[:_RAW_MAX]),
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
        "ignored_releases": story["ignored_releases"],
        "details": story["details"],
    }


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
    return f"nothing is held: {_shorts(body['short'])} (attempt {body['attempt']})"


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


_REASONS = {
    "order.observed": _observed,
    "order.ignored": _ignored,
    "order.reserved": _reserved,
    "order.short": _short,
    "order.expired": _expired,
    "order.status": _status,
    "order.refund": _refund,
    "order.case": _case,
}


# --- the raw messages -----------------------------------------------------------------------------


async def _raw(settings: Settings, causes: list[str]) -> list[Row]:
    places = {cause: met for cause in causes if (met := _PLACE.fullmatch(cause))}
    if not places:
        return []
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, fetch_max_wait_ms=100
    )
    try:
        await consumer.start()
        return [
            await _fetched(consumer, settings, cause, met[1], int(met[2]), int(met[3]))
            for cause, met in places.items()
        ]
    except KafkaConnectionError as error:
        raise BrokerUnavailable(
            f"Kafka at {settings.kafka} does not answer; start it, or set ORDERFLOW_KAFKA right."
        ) from error
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.kafka}: {error!r}") from error
    finally:
        await consumer.stop()


async def _fetched(
    consumer: Any, settings: Settings, cause: str, topic: str, partition: int, offset: int
) -> Row:
    place = aiokafka.TopicPartition(settings.topic(topic), partition)
    consumer.assign([place])
    first = (await consumer.beginning_offsets([place]))[place]
    if offset < first:
        return {"place": cause, "gone": "retention has removed it"}
    consumer.seek(place, offset)
    try:
        record = await asyncio.wait_for(consumer.getone(place), _FETCH_S)
    except TimeoutError:
        return {"place": cause, "gone": "the broker did not return it in time"}
    if record.offset != offset:
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


def shown(payload: bytes) -> Any:
    """Return *payload* to look at: JSON with personal fields hidden, else its masked opening."""
    try:
        return _hidden(orjson.loads(payload))
    except orjson.JSONDecodeError:
        return masked(payload[:_RAW_BYTES_SHOWN].decode("utf-8", "replace"))


def _hidden(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: "***" if inner and SECRET_NAMES.search(key) else _hidden(inner)
                for key, inner in value.items()
            }
        case list():
            return [_hidden(inner) for inner in value]
        case str():
            return masked(value)
        case _:
            return value


# --- in words -------------------------------------------------------------------------------------


def in_words(told: Row) -> Iterator[str]:
    """Yield the story for a person, in the order in which it happened."""
    order = told["order"]
    yield f"{order['order_key']}: {order['status'] or 'no verdict yet'}, {order['reservation_now']}"
    yield from ("", "What the platform sent")
    for raw in told["raw"]:
        yield from _raw_words(raw)
    yield from ("", "What was decided, and why")
    for decision in told["decisions"]:
        yield f"  {decision['version']:>3}  {_at(decision['at'])}  {decision['why']}"
        yield f"       because of {decision['cause']}"
    yield from ("", "What moved")
    yield from _moved_words(told)
    yield from ("", "What stands in the ledger")
    yield from _ledger_words(told)


def _raw_words(raw: Row) -> Iterator[str]:
    if "gone" in raw:
        yield f"  {raw['place']}  {raw['gone']}"
        return
    yield f"  {raw['place']}  {_time(raw['received_ms'])}  {raw['bytes']:,} bytes"
    yield f"      {orjson.dumps(raw['payload']).decode()[:_OPENING_MAX]}"


def _moved_words(told: Row) -> Iterator[str]:
    for move in told["moves"]:
        yield (
            f"  {move['sku']} no {move['version']}  {_at(move['at'])}  {move['verb']}: "
            f"{move['quantity']} from {move['source'] or 'outside'} "
            f"to {move['target'] or 'outside'}; then {move['available']} available"
        )
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
