"""
Reference data on its way: from a file to the `reference` topic, and from there to intake.

A file says what shall be: `apply` publishes what differs, and removes what the file does not name
only when told to. Intake reads the topic whole before its first record and follows it from then
on, so a change takes effect within moments and without a restart.
"""

import asyncio
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import time
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import available_timezones

import aiokafka
import msgspec
from aiokafka.errors import KafkaConnectionError, KafkaError

from agents.intake import Destinations, Intake
from agents.reference import Directory, reference_key
from agents.warehouses import RULES
from schemas.errors import BrokerUnavailable, Misconfigured, Rejected
from schemas.reference import Kit, Shop, SkuMapping, Written
from streams import topics
from streams.adapters import ADAPTERS, FILES, VERSIONS
from streams.settings import Settings, kafka_is_silent

#: The topic is small; a poll brings all of it or waits for this long.
_POLL_MS = 500
#: How often it is looked whether the follower has come to the end.
_LOOK_AGAIN_S = 0.02
#: How long a broker may take to answer at all.
_ANSWER_S = 20.0
_PLACE = aiokafka.TopicPartition

Entries = dict[bytes, bytes]
#: How the keys of pauses and of trials begin.
PAUSE_KEYS = b"pause/"
GRAY_KEYS = b"gray/"


class UnreadableReference(Rejected):
    """The reference file cannot be read."""


class ReferenceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reference file holds: `[[shops]]`, `[[skus]]` and `[[kits]]`."""

    shops: tuple["ShopEntry", ...] = ()
    skus: tuple["SkuEntry", ...] = ()
    kits: tuple["KitEntry", ...] = ()


class ShopEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shop as a person writes it: durations in seconds, go-live as a time."""

    platform: str
    shop: str
    name: str = ""
    hold_for_s: float = 15 * 60
    #: Payment method -> seconds, where it differs.
    holds_s: dict[str, float] = {}
    partial: bool = False
    go_live: Any = None
    sku_mapping: str = "identity"
    safety_buffer: int = 0
    stock_url: str = ""
    quota: str = ""
    warehouses: tuple[str, ...] = ()
    warehouse_by: str = "first"
    provinces: dict[str, str] = {}
    zone: str = ""
    day_begins: time = time()


class SkuEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SKU of theirs and the one of ours."""

    platform: str
    shop: str
    theirs: str
    ours: str


class KitEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SKU of ours that is made of others, and how many of each one takes."""

    sku: str
    #: SKU -> units.
    parts: dict[str, int]


class Applied(NamedTuple):
    """What `apply` did."""

    published: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    #: On the topic, not in the file, and left alone.
    kept: tuple[str, ...]


def read_file(path: Path) -> list[Written]:
    """Return the entries of a TOML file; raises UnreadableReference naming the field."""
    try:
        said = msgspec.convert(tomllib.loads(path.read_text("utf-8")), ReferenceFile)
        entries: list[Written] = [_shop(entry) for entry in said.shops]
        entries += [SkuMapping(**msgspec.structs.asdict(entry)) for entry in said.skus]
        entries += [_kit(entry) for entry in said.kits]
    except OSError as error:
        raise UnreadableReference(f"{path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeError, msgspec.ValidationError, ValueError) as error:
        raise UnreadableReference(f"{path}: {error}.") from error
    _refuse_doubtful(path, entries)
    return entries


def _shop(entry: ShopEntry) -> Shop:
    live = entry.go_live
    if live is not None and getattr(live, "tzinfo", None) is None:
        raise ValueError(
            f"go_live of shop {entry.shop!r} needs a time with its zone, "
            "such as 2026-01-31T00:00:00Z"
        )
    shop = {
        "platform": entry.platform,
        "shop": entry.shop,
        "name": entry.name,
        "hold_for_ms": round(entry.hold_for_s * 1000),
        "holds": {how: {"hold_for_ms": round(s * 1000)} for how, s in entry.holds_s.items()},
        "partial": entry.partial,
        "go_live_ms": round(live.timestamp() * 1000) if live is not None else 0,
        "sku_mapping": entry.sku_mapping,
        "safety_buffer": entry.safety_buffer,
        "stock_url": entry.stock_url,
        "quota": entry.quota,
        "warehouses": entry.warehouses,
        "warehouse_by": entry.warehouse_by,
        "provinces": entry.provinces,
        "zone": entry.zone,
        "day_begins_min": entry.day_begins.hour * 60 + entry.day_begins.minute,
    }
    return msgspec.convert({"type": "shop", **shop}, Shop)


def _kit(entry: KitEntry) -> Kit:
    parts = [{"sku": sku, "quantity": units} for sku, units in entry.parts.items()]
    return msgspec.convert({"type": "kit", "sku": entry.sku, "parts": parts}, Kit)


def _refuse_doubtful(path: Path, entries: list[Written]) -> None:
    """What the types cannot say: known platforms, known rules, nothing twice, no kit of kits."""
    seen = set()
    kits = {entry.sku for entry in entries if isinstance(entry, Kit)}
    for entry in entries:
        key = reference_key(entry)
        if key in seen:
            raise UnreadableReference(f"{path}: {key.decode()} stands there twice.")
        seen.add(key)
        why = _doubt(entry, kits)
        if why:
            raise UnreadableReference(f"{path}: {why}.")


def _doubt(entry: Written, kits: set[str]) -> str:
    """Return what cannot be right about *entry*, or nothing."""
    if isinstance(entry, Kit):
        inner = sorted(kits & {part.sku for part in entry.parts})
        return f"kit {entry.sku!r} contains the kit {inner[0]!r}; name its parts" if inner else ""
    if entry.platform not in topics.PLATFORMS:
        known = ", ".join(topics.PLATFORMS)
        return f"platform {entry.platform!r} is not known; it is one of {known}"
    if isinstance(entry, SkuMapping):
        return "" if entry.theirs and entry.ours else f"a SKU of shop {entry.shop!r} is empty"
    if entry.sku_mapping not in ("identity", "listed"):
        return (
            f"sku_mapping of shop {entry.shop!r} is `identity` or `listed`, "
            f"not {entry.sku_mapping!r}"
        )
    if not _is_stock_url(entry.stock_url):
        return f"stock_url of shop {entry.shop!r} is an http:// or https:// address"
    if entry.zone and entry.zone not in available_timezones():
        return f"zone of shop {entry.shop!r} is a name such as Asia/Shanghai, not {entry.zone!r}"
    return _doubtful_warehouses(entry)


def _doubtful_warehouses(shop: Shop) -> str:
    if shop.warehouse_by not in RULES:
        rules = ", ".join(RULES)
        return f"warehouse_by of shop {shop.shop!r} is one of {rules}, not {shop.warehouse_by!r}"
    for name in shop.warehouses:
        if not name or "@" in name:
            return f"a warehouse of shop {shop.shop!r} needs a name without @, not {name!r}"
    unknown = sorted(set(shop.provinces.values()) - set(shop.warehouses))
    if unknown:
        return f"provinces of shop {shop.shop!r} name {unknown[0]!r}, which is no warehouse of it"
    return ""


def _is_stock_url(text: str) -> bool:
    return not text or text.startswith(("http://", "https://"))


async def apply(settings: Settings, entries: Iterable[Written], *, prune: bool) -> Applied:
    """Publish what differs from the topic; with *prune* also remove what is not in *entries*."""
    wanted = {reference_key(entry): msgspec.json.encode(entry) for entry in entries}
    # Pauses and trials are no file's: `orderflow intake pause` and `gray start` make them.
    there = {
        key: value
        for key, value in (await read_all(settings)).items()
        if not key.startswith((PAUSE_KEYS, GRAY_KEYS))
    }
    changed = {key: value for key, value in wanted.items() if there.get(key) != value}
    extra = sorted(there.keys() - wanted.keys())
    await publish(settings, {**changed, **(dict.fromkeys(extra) if prune else {})})
    return Applied(
        tuple(key.decode() for key in changed),
        tuple(key.decode() for key in extra) if prune else (),
        len(wanted) - len(changed),
        () if prune else tuple(key.decode() for key in extra),
    )


async def publish(settings: Settings, records: Mapping[bytes, bytes | None]) -> None:
    """Put *records* on the topic, None as a tombstone; return when the broker has them."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.kafka, acks="all", enable_idempotence=True
    )
    await _started(settings, producer)
    try:
        topic = settings.topic(topics.REFERENCE.name)
        sent = [await producer.send(topic, value, key, 0) for key, value in records.items()]
        await asyncio.gather(*sent)
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.kafka} refused: {error!r}") from error
    finally:
        await producer.stop()


async def read_all(settings: Settings) -> Entries:
    """Return every entry of the topic under its key, as bytes."""
    entries: Entries = {}

    def take(key: bytes, value: bytes | None) -> None:
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value

    follower = Follower(settings, take)
    try:
        await follower.catch_up()
    finally:
        await follower.stop()
    return entries


class Follower:
    """Reads the `reference` topic to its end, and on from there."""

    def __init__(self, settings: Settings, take: Callable[[bytes, bytes | None], None]) -> None:
        self._settings = settings
        self._take = take
        self._place = _PLACE(settings.topic(topics.REFERENCE.name), 0)
        self._consumer: Any = None
        self._following: asyncio.Task[None] | None = None

    async def catch_up(self) -> None:
        """Return once everything that is on the topic now has been taken."""
        consumer = self._consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await _started(self._settings, consumer)
        try:
            if self._place.topic not in await consumer.topics():
                raise Misconfigured(
                    f"Run `orderflow topics apply`: {self._place.topic} is missing on the broker."
                )
            consumer.assign([self._place])
            end = (await consumer.end_offsets([self._place]))[self._place]
            while await consumer.position(self._place) < end:
                await self._poll()
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error

    async def caught_up(self) -> None:
        """Return once everything that is on the topic now has been taken, while following."""
        self.check()
        try:
            end = (await self._consumer.end_offsets([self._place]))[self._place]
        except KafkaError as error:
            raise BrokerUnavailable(f"Kafka at {self._settings.kafka}: {error!r}") from error
        while await self._consumer.position(self._place) < end:
            self.check()
            await asyncio.sleep(_LOOK_AGAIN_S)

    def follow(self) -> None:
        """Go on reading in the background."""
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def check(self) -> None:
        """Raise what ended the following, if anything did."""
        if self._following is not None and self._following.done():
            self._following.result()

    async def stop(self) -> None:
        """Read no more."""
        if self._following is not None:
            self._following.cancel()
        if self._consumer is not None:
            await self._consumer.stop()

    async def _follow(self) -> None:
        while True:
            await self._poll()

    async def _poll(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                self._take(record.key or b"", record.value)


def intake_of(settings: Settings, directory: Directory) -> Intake:
    """Return intake as this installation has it, reading by *directory*."""
    to = Destinations(topics.ORDER_COMMANDS.name, topics.STOCK_COMMANDS.name, topics.PARKED.name)
    adapters: Mapping[str, Any] = ADAPTERS  # frozen: their attributes are read-only
    future_max_ms = int(settings.future_max.total_seconds() * 1000)
    files: Mapping[str, Any] = FILES
    versions: Mapping[str, Mapping[int, Any]] = VERSIONS
    return Intake(adapters, directory, to, future_max_ms, imported=files, versions=versions)


async def directory_of(settings: Settings) -> tuple[Directory, Follower]:
    """Return the directory filled to the topic's end, and the follower that keeps it fresh."""
    directory = Directory()
    follower = Follower(settings, directory.put)
    await follower.catch_up()
    follower.follow()
    return directory, follower


async def _started(settings: Settings, client: Any) -> None:
    try:
        await asyncio.wait_for(client.start(), _ANSWER_S)
    except (KafkaConnectionError, TimeoutError) as error:
        await client.stop()
        raise kafka_is_silent(settings) from error
