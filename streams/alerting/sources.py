"""
The figures that are judged, each from one place: PostgreSQL, Kafka, Redis, disks, other processes.

Each method of `Ledger`, `Broker` and `House` is one signal of `agents/alert_rules.py`, and names
every subject that may be in trouble; a subject that is not named is fine. What cannot be read
raises Unavailable: then nobody knows, and nothing is judged.

Reads only, as the reader role. Every query is bounded by an index or a stretch of time, however
large the ledger is.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from agents.silence import WEEKS, Hour, judged
from schemas.alerts import Reading
from schemas.errors import BrokerUnavailable, LedgerUnavailable, Misconfigured
from streams import caching
from streams.clock import now_ms
from streams.postgres.connecting import pool, told
from streams.postgres.months import TRAILS, months_of
from streams.postgres.queries import sql
from streams.settings import Settings
from streams.topics import TOPICS
from streams.topology import LISTENERS

#: Subjects of one signal; beyond them trouble is everywhere, and more names help nobody.
SUBJECTS_MAX = 1_000
#: One query; whoever is slower counts as away.
ANSWERS_WITHIN_S = 10.0
#: A part that is asked whether it lives has so long.
LIVES_WITHIN_S = 3.0
#: The ledger is behind its keepers by less than this: what was short then is known by now.
SETTLED_MS = 1_000
#: Changes of shortfalls are read again for so long, as partitions are written one by one.
CHANGES_FOR = timedelta(seconds=60)
#: Orders are judged by the source's time when they came within this, and are that young.
CAME_WITHIN, YOUNG = timedelta(minutes=5), timedelta(days=1)
#: Orders that came before this are looked at no more for their way to a verdict.
DECIDED_WITHIN = timedelta(hours=1)

Ask = Callable[[], Awaitable[list[Reading]]]


class Budgets:
    """How long a thing may stay in a state."""

    #: An order that asks for stock; the keeper answers in milliseconds, and asks again after 60 s.
    ASKING = timedelta(minutes=3)
    #: An order whose SKU nobody has mapped: the keeper opens a case after half an hour.
    UNMAPPED = timedelta(minutes=30)
    #: A case that nobody has touched.
    CASE = timedelta(hours=24)
    #: A hold after its deadline; it is released within a second.
    HOLD = timedelta(minutes=1)
    #: An order that a thin message named and that is still to be fetched.
    FETCH = timedelta(minutes=10)
    #: An order that asks is looked for among those that came within this.
    LOOK_BACK = timedelta(days=1)


class Ledger:
    """Figures out of PostgreSQL: `async with Ledger(dsn) as ledger`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: Any = None

    async def __aenter__(self) -> Self:
        self._pool = await pool(
            self._dsn, name="orderflow-alerts", at_most=4, answers_within_s=ANSWERS_WITHIN_S,
            default_transaction_read_only="on",
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.terminate()

    async def exceptions_open(self) -> list[Reading]:
        """How many exceptions wait for a person."""
        return [Reading("", await self._count("count_parked_open"), now_ms())]

    async def late_by_source(self) -> list[Reading]:
        """Of each shop, how long its orders were under way before they came here."""
        now = _now()
        rows = await self._rows("late_by_source", now - CAME_WITHIN, YOUNG, SUBJECTS_MAX)
        return _by_shop(rows, now)

    async def late_by_receipt(self) -> list[Reading]:
        """Of each shop, how long its orders take from here to a verdict."""
        now = _now()
        rows = await self._rows(
            "late_by_receipt", now - DECIDED_WITHIN, now - CAME_WITHIN, now, SUBJECTS_MAX
        )
        return _by_shop(rows, now)

    async def negative_stock(self) -> list[Reading]:
        """
        How much of each SKU is held and not there: exact to the millisecond.

        The ledger knows when it changed, so what came and went between two looks is seen too.
        """
        known_ms = now_ms() - SETTLED_MS
        changes = await self._rows("shortfalls_since", _now() - CHANGES_FOR, SUBJECTS_MAX)
        readings = []
        for row in changes:
            at_ms = _ms(row["at"])
            if row["before"]:
                readings.append(Reading(row["sku"], row["before"], at_ms - 1))
            readings.append(Reading(row["sku"], row["shortfall"], at_ms))
        readings += [
            Reading(row["sku"], row["shortfall"], known_ms)
            for row in await self._rows("short_stock", SUBJECTS_MAX)
            if _ms(row["short_since"]) <= known_ms
        ]
        return readings

    async def stuck(self) -> list[Reading]:
        """How many are in a state for longer than they may be."""
        now = _now()
        counts = {
            "order asking for stock": await self._count(
                "stuck_orders", now - Budgets.LOOK_BACK, now - Budgets.ASKING
            ),
            "order without a mapping": await self._count("unmapped_orders", now - Budgets.UNMAPPED),
            "case untouched": await self._count("stuck_cases", now - Budgets.CASE),
            "hold after its deadline": await self._count("overdue_holds", now - Budgets.HOLD),
        }
        # Where nobody polls, the reader may not look at the poller's table either.
        if await self._may_read("poll_fetches"):
            waiting = await self._count("stuck_fetches", now - Budgets.FETCH)
            counts["order to be fetched"] = waiting
        return [Reading(state, count, _ms(now)) for state, count in counts.items()]

    async def silent(self) -> list[Reading]:
        """Of each channel that says nothing, how many orders were to be expected."""
        now = _now()
        rows = await self._rows("orders_by_channel_and_hour", now - timedelta(weeks=WEEKS + 1), now)
        return [
            Reading(f"{each.platform}/{each.shop}", max(each.expected, 0.1), _ms(now))
            for each in judged((Hour(*row) for row in rows), now)
            if each.state == "silent"
        ]

    async def paused(self) -> list[Reading]:
        """For how long each paused shop has been paused."""
        if not await self._may_read("intake_pauses"):
            return []
        now = _now()
        return [
            Reading(
                f"{row['platform']}/{row['shop']}",
                (now - row["paused_at"]).total_seconds(),
                _ms(now),
            )
            for row in await self._rows("paused_shops", SUBJECTS_MAX)
        ]

    async def drift_open(self) -> list[Reading]:
        """How many differences between stores wait for a person."""
        return [Reading("", await self._count("count_open_drifts"), now_ms())]

    async def callbacks_oldest(self) -> list[Reading]:
        """For how long the oldest delivery of each destination has waited."""
        if not await self._may_read("deliveries"):
            return []
        rows = await self._rows("oldest_deliveries", SUBJECTS_MAX)
        return [Reading(row["subject"], row["seconds"], now_ms()) for row in rows]

    async def callback_hosts(self) -> list[Reading]:
        """How often each host that is left alone has failed in a row."""
        if not await self._may_read("delivery_hosts"):
            return []
        rows = await self._rows("hosts_not_well")
        return [
            Reading(row["host"], float(row["failures"]), now_ms()) for row in rows[:SUBJECTS_MAX]
        ]

    async def strayed(self) -> list[Reading]:
        """Trails whose rows have no month of their own, and months that are not ready."""
        now = _now()
        readings = [
            Reading(row["trail"], float(row["strayed"]), _ms(now))
            for row in await self._rows("strayed_trails", [f"{trail}_default" for trail in TRAILS])
        ]
        for trail in TRAILS:
            for name, first, _ in months_of(trail, now, months_after=1):
                if first > now - timedelta(days=32):
                    there = await self._count("is_table", name)
                    readings.append(Reading(f"{name} is missing", float(not there), _ms(now)))
        return readings

    async def lives(self) -> None:
        """Raise LedgerUnavailable or Misconfigured unless PostgreSQL answers."""
        await self._rows("may_read", "alerts")

    async def came_through(self, order: str, since_ms: int) -> int | None:
        """Return when the verdict on *order* of after *since_ms* was said; None: not yet."""
        (row,) = await self._rows("canary_came_through", order, _at(since_ms))
        return None if row[0] is None else _ms(row[0])

    async def _may_read(self, table: str) -> bool:
        return bool(await self._count("may_read", table))

    async def _count(self, name: str, *values: Any) -> float:
        (row,) = await self._rows(name, *values)
        return float(row[0])

    async def _rows(self, name: str, *values: Any) -> list[Any]:
        try:
            return list(await self._pool.fetch(sql(name), *values))
        except Exception as error:  # noqa: BLE001  `told` sorts them
            raise told(error) from None


# --- Kafka ----------------------------------------------------------------------------------------


class Broker:
    """Figures out of Kafka: `async with Broker(settings) as broker`. Connects when it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AIOKafkaAdminClient | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def lag(self) -> list[Reading]:
        """For how long the oldest record has waited that a reader has not read, by topic."""
        async with asyncio.timeout(ANSWERS_WITHIN_S * 3):
            found: list[Reading] = await self._asked(self._lag)
        return found

    async def partitions(self) -> list[Reading]:
        """Partitions of ours without a leader, or with fewer copies in step than they have."""
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            found: list[Reading] = await self._asked(self._partitions)
        return found

    async def lives(self) -> None:
        """Raise BrokerUnavailable unless a broker answers."""
        async with asyncio.timeout(LIVES_WITHIN_S):
            await self._asked(self._describe)

    async def _asked(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await ask()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._close()
            raise BrokerUnavailable(
                f"Kafka at {self._settings.kafka}: {type(error).__name__}"
            ) from error
        except BaseException:
            await self._close()
            raise

    async def _describe(self) -> None:
        await (await self._connected())[0].describe_cluster()

    async def _partitions(self) -> list[Reading]:
        admin, _ = await self._connected()
        names = [self._settings.topic(topic.name) for topic in TOPICS]
        at_ms, readings = now_ms(), []
        for topic in await admin.describe_topics(names):
            for each in topic["partitions"]:
                missing = len(set(each["replicas"]) - set(each["isr"]))
                if each["leader"] < 0 or missing:
                    place = f"{topic['topic']}/{each['partition']}"
                    readings.append(Reading(place, float(missing or 1), at_ms))
        return readings[:SUBJECTS_MAX]

    async def _lag(self) -> list[Reading]:
        admin, reader = await self._connected()
        behind: dict[tuple[str, str], dict[TopicPartition, int]] = {}
        for listener in LISTENERS.values():
            offsets = await admin.list_consumer_group_offsets(
                self._settings.group_prefix + listener.name
            )
            reads = {self._settings.topic(topic.name): topic.name for topic in listener.reads}
            ends = await reader.end_offsets([tp for tp in offsets if tp.topic in reads])
            for tp, end in ends.items():
                at = offsets[tp].offset
                if 0 <= at < end:
                    subject = listener.name, reads[tp.topic]
                    behind.setdefault(subject, {})[tp] = at
        since = await self._oldest(reader, behind.values())
        at_ms = now_ms()
        return [
            Reading(
                f"{role} {topic}",
                max(0, *(at_ms - since[place] for place in places.items())) / 1000,
                at_ms,
            )
            for (role, topic), places in behind.items()
        ]

    async def _oldest(
        self, reader: AIOKafkaConsumer, behind: Any
    ) -> dict[tuple[TopicPartition, int], int]:
        """Return when the first unread record of each place was written, ms."""
        found: dict[tuple[TopicPartition, int], int] = {}
        wanted = {(tp, at) for places in behind for tp, at in places.items()}
        while left := wanted - found.keys():
            # Two readers may stand at different places of one partition.
            turn = dict(sorted(left, key=str))
            begins = await reader.beginning_offsets(list(turn))
            reader.assign(list(turn))
            for tp, at in turn.items():
                reader.seek(tp, max(at, begins[tp]))
            heard: set[TopicPartition] = set()
            until = time.monotonic() + LIVES_WITHIN_S
            while heard < turn.keys() and time.monotonic() < until:
                for tp, records in (await reader.getmany(timeout_ms=200)).items():
                    if tp not in heard and records:
                        found[tp, turn[tp]] = records[0].timestamp
                        heard.add(tp)
                        reader.pause(tp)
            for tp in turn.keys() - heard:  # compacted or gone meanwhile: nobody waits
                found[tp, turn[tp]] = now_ms()
        reader.unsubscribe()
        return found

    async def _connected(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        async with self._connecting:
            if self._admin is None:
                self._admin = AIOKafkaAdminClient(
                    bootstrap_servers=self._settings.kafka,
                    request_timeout_ms=round(ANSWERS_WITHIN_S * 1000),
                )
                await self._admin.start()
            if self._reader is None:
                self._reader = AIOKafkaConsumer(
                    bootstrap_servers=self._settings.kafka, enable_auto_commit=False,
                    auto_offset_reset="none", max_partition_fetch_bytes=1_024,
                    request_timeout_ms=round(ANSWERS_WITHIN_S * 1000),
                )  # fmt: skip
                await self._reader.start()
            return self._admin, self._reader

    async def _close(self) -> None:
        admin, reader = self._admin, self._reader
        self._admin = self._reader = None
        if reader is not None:
            await reader.stop()
        if admin is not None:
            await admin.close()


# --- the rest -------------------------------------------------------------------------------------


class House:
    """Parts that live or do not, and disks."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        broker: Broker,
        folders: Sequence[Path],
        watch: Mapping[str, str],
    ) -> None:
        self._parts: dict[str, Callable[[], Awaitable[None]]] = {
            "postgres": ledger.lives,
            "kafka": broker.lives,
        }
        if settings.redis is not None:
            address = settings.redis.get_secret_value()
            self._parts["redis"] = lambda: _redis_lives(address)
        for name, url in watch.items():
            self._parts[name] = lambda url=url: _page_lives(url)  # type: ignore[misc]
        self._folders = folders

    async def down(self) -> list[Reading]:
        """Which parts do not answer: 1 for each that does not."""
        ups = await asyncio.gather(*(_is_up(lives) for lives in self._parts.values()))
        at_ms = now_ms()
        return [
            Reading(name, float(not up), at_ms) for name, up in zip(self._parts, ups, strict=True)
        ]

    async def disk_used(self) -> list[Reading]:
        """How full each folder's disk is, in bytes or in files, whichever is fuller."""
        at_ms = now_ms()
        return [
            Reading(str(folder), await asyncio.to_thread(_used_percent, folder), at_ms)
            for folder in self._folders
        ]


async def _is_up(lives: Callable[[], Awaitable[None]]) -> bool:
    try:
        async with asyncio.timeout(LIVES_WITHIN_S):
            await lives()
    except (LedgerUnavailable, BrokerUnavailable, Misconfigured, OSError, TimeoutError):
        return False
    except (RedisError, aiohttp.ClientError, ValueError):
        return False
    return True


async def _redis_lives(address: str) -> None:
    client = caching.client(address, LIVES_WITHIN_S)
    try:
        await client.ping()
    finally:
        await client.aclose()


async def _page_lives(url: str) -> None:
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status >= 500:
            raise ValueError


def _used_percent(folder: Path) -> float:
    said = os.statvfs(folder)
    used = 1 - said.f_bavail / said.f_blocks if said.f_blocks else 0.0
    files = 1 - said.f_favail / said.f_files if said.f_files else 0.0
    return round(100 * max(used, files), 1)


def _by_shop(rows: Sequence[Any], now: datetime) -> list[Reading]:
    return [Reading(f"{row['platform']}/{row['shop']}", row["seconds"], _ms(now)) for row in rows]


def _now() -> datetime:
    return _at(now_ms())


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
