"""
The reconciler, mutated: one row of one store is deleted, doubled or altered, and it is found.

T25. A shop's day (the keepers' real rules, every kind of movement) stands in Kafka, PostgreSQL and
Redis. Rows are chosen by seeds that an assertion prints, and what was done is undone.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import json
from msgspec.structs import replace
from pydantic import SecretStr
from redis.asyncio import Redis

from agents.availability import newest
from agents.comparing import Drift, Kind, Remedy
from agents.frames import POSITION_BYTES
from schemas.errors import Refusal
from streams.availability.cache import WRITE_WITHIN_S, RedisCache
from streams.engine.admin import apply
from streams.engine.store import AT
from streams.reconciling.book import Book
from streams.reconciling.confirming import NotConfirmed, confirm
from streams.reconciling.looking import Look, Reconciler
from streams.reconciling.watching import once
from streams.settings import Settings
from streams.topics import TOPICS
from tables import stock
from tests.builders import MINUTE, T0
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.selling import RedisServer, redis  # noqa: F401
from tests.integration.shop import home
from tests.integration.test_check_stack import publish, write
from tests.rules.test_check_world import Evidence, a_day

pytestmark = pytest.mark.stack

SEEDS = (1, 2, 3)
PATIENCE_S = 5.0


class Shop:
    """A day at rest in every store, and ways to spoil it."""

    def __init__(self, settings: Settings, database: Database, redis: RedisServer) -> None:
        self.settings, self.database = settings, database
        self.redis: Any = Redis.from_url(redis.url)
        self.prefix = f"orderflow:{settings.topic_prefix}stock:"
        self.reconciler = Reconciler(settings, PATIENCE_S, lambda: T0 + MINUTE)

    async def fill(self, day: Evidence) -> None:
        await publish(self.settings, day)
        await write(self.database, day)
        events = [r for (topic, _), log in day.logs.items() if topic == "stock-events" for r in log]
        cache = RedisCache(self.settings, WRITE_WITHIN_S)
        await cache.put(list(newest(events).balances.values()))
        await cache.close()
        await self._commit(day)

    async def _commit(self, day: Evidence) -> None:
        """Let the cache's group stand where its writer would."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka,
            group_id=self.settings.topic("availability"),
            enable_auto_commit=False,
        )
        await consumer.start()
        topic = self.settings.topic("stock-events")
        places = [TopicPartition(topic, p) for p in range(self.settings.partitions)]
        consumer.assign(places)
        await consumer.commit({
            place: len(day.logs.get(("stock-events", place.partition), ())) for place in places
        })  # fmt: skip
        await consumer.stop()

    async def look(self) -> Look:
        return await self.reconciler.look()

    async def book(self) -> list[dict[str, Any]]:
        """Look, write down what was found, and return what is open."""
        _, open_ = await once(self.reconciler, Book(self.database.ledger))
        return open_

    async def fetch(self, query: str) -> list[dict[str, Any]]:
        async with self.database.connected() as connection:
            return [dict(row) for row in await connection.fetch(query)]

    @asynccontextmanager
    async def spoilt(self, table: str, query: str, *values: object) -> AsyncIterator[list[Drift]]:
        """Give the drifts after *query* changed one row of *table*; put the table back."""
        async with self.database.connected() as connection:
            columns = ", ".join(
                row["attname"]
                for row in await connection.fetch(
                    "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass"
                    " AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
                    table,
                )
            )
            await connection.execute(f"CREATE TEMPORARY TABLE was AS SELECT {columns} FROM {table}")  # noqa: S608  our own names
            done = await connection.execute(query, *values)
            assert done.endswith(" 1"), f"{query} {values}: {done}"
            yield (await self.look()).drifts
            await connection.execute(f"TRUNCATE {table}")
            await connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM was"  # noqa: S608
            )
            await connection.execute("DROP TABLE was")

    def kept(self, keeper: str = "stock") -> dict[bytes, Any]:
        """The keeper's rows, as they were followed last."""
        return dict(self.reconciler.keepers._rows(keeper))

    async def write_row(self, keeper: str, key: bytes, row: Any, *, home_of: str) -> list[Drift]:
        """
        Write one row (None: a tombstone) into a changelog, as somebody who is no keeper would.

        Returns the drifts that were not there before.
        """
        before = (await self.look()).drifts
        partition = home(self.settings, home_of)
        at = self.reconciler.keepers._parts[keeper, partition].state_record[:POSITION_BYTES]
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait(
                self.settings.topic(f"{keeper}-changelog"),
                None if row is None else at + ENCODE(row),
                key,
                partition=partition,
                headers=[(AT, at)] if row is None else [],
            )
        finally:
            await producer.stop()
        await self.look()  # what an owner would pass over is read anew by the next look
        return [drift for drift in (await self.look()).drifts if drift not in before]


ENCODE = stock.TABLE.encode_row


@pytest.fixture
async def shop(settings: Settings, database: Database, redis: RedisServer) -> AsyncIterator[Shop]:
    mine = settings.model_copy(
        update={
            "partitions": 2,
            "postgres_ledger": SecretStr(database.ledger),
            "postgres_reader": SecretStr(database.reader),
            "redis": SecretStr(redis.url),
        }
    )
    await apply(mine)
    made = Shop(mine, database, redis)
    await made.fill(a_day())
    async with made.reconciler:
        yield made
    await made.redis.aclose()
    admin = AIOKafkaAdminClient(bootstrap_servers=mine.kafka)
    await admin.start()
    await admin.delete_topics([mine.topic(topic.name) for topic in TOPICS])
    await admin.close()


def the(drifts: Sequence[Drift], kind: Kind, what: str = "") -> Drift:
    """The one drift of this kind."""
    found = [drift for drift in drifts if drift.kind is kind and what in drift.what]
    assert len(found) == 1, f"{len(found)} of {kind} {what}: {drifts}"
    return found[0]


async def test_a_shop_that_nobody_touched_agrees_with_itself(shop: Shop) -> None:
    look = await shop.look()

    assert look.drifts == []
    assert look.behind == look.skipped == {}
    assert look.skus > 2
    assert look.orders > 10


# --- PostgreSQL -----------------------------------------------------------------------------------


async def a_ledger_entry_that_is_deleted_doubled_or_altered_is_found(shop: Shop) -> None:
    entries = await shop.fetch("SELECT * FROM stock_ledger ORDER BY sku, version")
    where = "WHERE sku = $1 AND version = $2"
    others = ", ".join(name for name in entries[0] if name not in ("at", "on_hand"))
    for seed in SEEDS:
        entry = Random(seed).choice(entries)
        which = (entry["sku"], entry["version"])
        for query, units in (
            (f"DELETE FROM stock_ledger {where}", entry["quantity"]),  # noqa: S608
            (
                (
                    f"INSERT INTO stock_ledger (at, {others}) SELECT at + interval '1 day',"  # noqa: S608
                    f" {others} FROM stock_ledger {where}"
                ),
                entry["quantity"],
            ),
            (f"UPDATE stock_ledger SET quantity = quantity + 3 {where}", 3),  # noqa: S608
            (f"UPDATE stock_ledger SET available = available + 2 {where}", 2),  # noqa: S608
            (f"UPDATE stock_ledger SET reason = 'gift' {where}", 0),  # noqa: S608
        ):
            async with shop.spoilt("stock_ledger", query, *which) as drifts:
                drift = the(drifts, Kind.LEDGER, "ledger: ")
                assert (drift.sku, drift.version) == which, (seed, query)
                assert abs(drift.amount) == units, (seed, query)
                assert drift.remedy is Remedy.BY_HAND, (seed, query)


async def a_balance_that_is_deleted_or_altered_is_found_and_only_that(shop: Shop) -> None:
    rows = await shop.fetch("SELECT * FROM stock ORDER BY sku")
    for seed in SEEDS:
        row = Random(seed).choice([r for r in rows if not r["shortfall"] and r["available"]])
        for change, units in (
            ("UPDATE stock SET available = available + 4", 4),
            ("UPDATE stock SET available = available - 1", -1),
            ("UPDATE stock SET frozen = frozen + 2", 2),
            ("UPDATE stock SET version = version - 1", 0),
            ("UPDATE stock SET chain = sha256(chain)", 0),
            ("DELETE FROM stock", -row["available"]),
        ):
            async with shop.spoilt("stock", f"{change} WHERE sku = $1", row["sku"]) as drifts:
                drift = the(drifts, Kind.LEDGER)
                assert len(drifts) == 1, (seed, change, drifts)
                assert (drift.sku, drift.amount) == (row["sku"], units), (seed, change)
                assert drift.remedy is Remedy.REBUILD, (seed, change)


async def a_balance_that_nobody_moved_is_found(shop: Shop) -> None:
    """Doubled, under another name: the same one cannot stand there twice."""
    names = "version, changed_at, available, locked, occupied, reserved, frozen, shortfall, chain"
    for seed in SEEDS:
        row = Random(seed).choice(await shop.fetch("SELECT * FROM stock WHERE available > 0"))
        async with shop.spoilt(
            "stock",
            f"INSERT INTO stock (sku, {names}) SELECT sku || '-2', {names} FROM stock"  # noqa: S608
            " WHERE sku = $1",
            row["sku"],
        ) as drifts:
            drift = the(drifts, Kind.LEDGER)
            # The balance is there, its entries are not.
            assert drift.sku == f"{row['sku']}-2", seed
            assert drift.amount == -row["available"], seed


async def a_hold_in_postgres_that_is_deleted_doubled_or_altered_is_found(shop: Shop) -> None:
    holds = await shop.fetch("SELECT * FROM holds ORDER BY sku, order_key")
    names = ", ".join(name for name in holds[0] if name != "order_key")
    where = "WHERE sku = $1 AND order_key = $2"
    for seed in SEEDS:
        for hold in (
            Random(seed).choice([h for h in holds if h["ended_at"] is None]),
            Random(seed).choice([h for h in holds if h["ended_at"] is not None]),
        ):
            live = hold["quantity"] if hold["ended_at"] is None else 0
            for query, units in (
                (f"DELETE FROM holds {where}", -live),  # noqa: S608
                (f"UPDATE holds SET quantity = quantity + 2 {where}", 2 if live else 0),  # noqa: S608
                (f"UPDATE holds SET bucket = 'reserved' {where}", -live),  # noqa: S608
                (f"UPDATE holds SET version = version + 1 {where}", 0),  # noqa: S608
                (f"UPDATE holds SET moves = moves || ' 9' {where}", 0),  # noqa: S608
                (
                    (
                        f"INSERT INTO holds (order_key, {names}) SELECT order_key || '9', {names}"  # noqa: S608
                        f" FROM holds {where}"
                    ),
                    live,
                ),
            ):
                which = (hold["sku"], hold["order_key"])
                async with shop.spoilt("holds", query, *which) as drifts:
                    drift = the(drifts, Kind.LEDGER)
                    assert len(drifts) == 1, (seed, query, drifts)
                    assert drift.sku == hold["sku"], (seed, query)
                    assert drift.order.startswith(hold["order_key"]), (seed, query)
                    assert drift.amount == units, (seed, query)


async def a_quota_and_an_order_in_postgres_that_are_altered_or_gone_are_found(
    shop: Shop,
) -> None:
    (quota, *_) = await shop.fetch("SELECT * FROM quotas ORDER BY remains DESC")
    for query, units in (
        ("UPDATE quotas SET remains = remains + 3 WHERE sku = $1 AND quota = $2", 3),
        ("DELETE FROM quotas WHERE sku = $1 AND quota = $2", -quota["remains"]),
    ):
        async with shop.spoilt("quotas", query, quota["sku"], quota["quota"]) as drifts:
            assert (drifts[0].sku, drifts[0].amount, len(drifts)) == (quota["sku"], units, 1)
    orders_ = await shop.fetch("SELECT order_key FROM orders ORDER BY order_key")
    for seed in SEEDS:
        key = Random(seed).choice(orders_)["order_key"]
        for query in (
            "UPDATE orders SET status = 'ON_HOLD' WHERE order_key = $1",
            "UPDATE orders SET version = version - 1 WHERE order_key = $1",
            "DELETE FROM orders WHERE order_key = $1",
        ):
            async with shop.spoilt("orders", query, key) as drifts:
                assert the(drifts, Kind.POSTGRES).order == key, (seed, query)


@pytest.mark.parametrize(
    "trial",
    [
        a_ledger_entry_that_is_deleted_doubled_or_altered_is_found,
        a_balance_that_is_deleted_or_altered_is_found_and_only_that,
        a_balance_that_nobody_moved_is_found,
        a_hold_in_postgres_that_is_deleted_doubled_or_altered_is_found,
        a_quota_and_an_order_in_postgres_that_are_altered_or_gone_are_found,
    ],
)
async def test_in_postgres(shop: Shop, trial: Any) -> None:
    await trial(shop)


# --- the keepers ----------------------------------------------------------------------------------


def skus_of(rows: dict[bytes, Any], kind: type) -> list[tuple[bytes, str, str]]:
    """Key, SKU and order (or quota) of the rows of one kind."""
    found = []
    for key, row in sorted(rows.items()):
        if isinstance(row, kind):
            sku, _, about = key.decode().partition("\0")
            found.append((key, sku, about.removeprefix("\0")))
    return found


async def test_a_keepers_balance_that_is_altered_or_deleted_is_found(shop: Shop) -> None:
    await shop.look()
    rows = shop.kept()
    balances = [each for each in skus_of(rows, stock.Stock) if rows[each[0]].available > 3]
    Random(7).shuffle(balances)
    for (key, sku, _), by in zip(balances, (5, -2), strict=False):
        altered = replace(rows[key], available=rows[key].available + by)

        drifts = await shop.write_row("stock", key, altered, home_of=sku)

        drift = the(drifts, Kind.POSTGRES, "keeper's balance")
        assert (drift.sku, drift.amount, drift.delta, len(drifts)) == (sku, by, -by, 1)
        assert drift.remedy is Remedy.ADJUST
    key, sku, _ = next(each for each in skus_of(rows, stock.Stock) if rows[each[0]].locked)

    drifts = await shop.write_row("stock", key, replace(rows[key], locked=9), home_of=sku)

    by = 9 - rows[key].locked
    assert the(drifts, Kind.POSTGRES, "keeper's balance").amount == by
    assert the(drifts, Kind.BUCKETS, "keeper's locked").amount == by

    drifts = await shop.write_row("stock", key, None, home_of=sku)

    found = the(drifts, Kind.POSTGRES, "keeper's balance")
    assert (found.sku, found.amount) == (sku, -(rows[key].available or rows[key].locked))
    assert "rows" in the(drifts, Kind.POSTGRES, "stock-changelog").found


async def test_a_keepers_hold_that_is_altered_doubled_or_deleted_is_found(shop: Shop) -> None:
    """T21: and the order's line that lost it is named too."""
    await shop.look()
    rows = shop.kept()
    holds = skus_of(rows, stock.Hold)
    Random(8).shuffle(holds)
    (key, sku, order), (other, its_sku, its_order), *_ = holds
    for change, by in ((rows[key].quantity + 2, 2),):
        drifts = await shop.write_row(
            "stock", key, replace(rows[key], quantity=change), home_of=sku
        )

        for kind in (Kind.POSTGRES, Kind.DEMAND):
            drift = the(drifts, kind)
            assert (drift.sku, drift.order, drift.amount) == (sku, order, by)
        assert the(drifts, Kind.BUCKETS).amount == -by

    drifts = await shop.write_row("stock", key + b"9", rows[key], home_of=sku)

    for kind, what in ((Kind.POSTGRES, "keeper's hold"), (Kind.DEMAND, "")):
        drift = the(drifts, kind, what)
        assert (drift.order, drift.amount) == (order + "9", rows[key].quantity)

    drifts = await shop.write_row("stock", other, None, home_of=its_sku)

    for kind, what in ((Kind.POSTGRES, "keeper's hold"), (Kind.DEMAND, "")):
        drift = the(drifts, kind, what)
        expected = (its_sku, its_order, -rows[other].quantity)
        assert (drift.sku, drift.order, drift.amount) == expected


async def test_a_keepers_quota_and_an_order_of_its_that_are_altered_or_gone_are_found(
    shop: Shop,
) -> None:
    await shop.look()
    rows, told = shop.kept(), shop.kept("orders")
    key, sku, _ = skus_of(rows, stock.Quota)[0]

    drifts = await shop.write_row("stock", key, replace(rows[key], left=50), home_of=sku)

    assert the(drifts, Kind.POSTGRES).amount == 50 - rows[key].left
    assert the(drifts, Kind.BUCKETS).amount == rows[key].left - 50

    drifts = await shop.write_row("stock", key, None, home_of=sku)

    assert the(drifts, Kind.POSTGRES, "keeper's quota").amount == -rows[key].left

    held = [k for k, row in sorted(told.items()) if any(d.held == "locked" for d in row.demands)]
    key = Random(9).choice(held)
    order = told[key]
    demands = tuple(replace(d, quantity=d.quantity + 1) for d in order.demands)
    altered = replace(order, demands=demands)

    drifts = await shop.write_row("orders", key, altered, home_of=order.key)

    assert {drift.kind for drift in drifts} == {Kind.DEMAND}
    assert {(drift.order, drift.amount) for drift in drifts} == {(order.key, -1)}

    drifts = await shop.write_row("orders", key, None, home_of=order.key)

    assert the(drifts, Kind.POSTGRES, "order in").order == order.key
    gone = [drift for drift in drifts if drift.kind is Kind.DEMAND]
    assert {drift.expected for drift in gone} == {"nothing"}
    kept = shop.reconciler.keepers.kept().values()
    its = [sku_.holds[order.key].quantity for sku_ in kept if order.key in sku_.holds]
    assert sum(drift.amount for drift in gone) == sum(its) > 0


# --- Redis ----------------------------------------------------------------------------------------


async def test_an_entry_in_redis_that_is_deleted_doubled_or_altered_is_found(shop: Shop) -> None:
    keys = sorted(await shop.redis.keys(f"{shop.prefix}*"))
    for seed in SEEDS:
        key = Random(seed).choice(keys)
        sku, held = key.decode().removeprefix(shop.prefix), await shop.redis.get(key)
        version = int(held[16:36])
        row = json.decode(held[36:])
        known = row.get("available", 0)

        def entry(guard: int, held: bytes = held, **body: int) -> bytes:
            fields = json.decode(held[36:]) | body
            return bytes(held[:16]) + b"%020d" % guard + json.encode(fields)

        for name, value, units in (
            (key, None, -known),
            (key, entry(version, available=known + 3), 3),
            (key, entry(version + 1, version=version + 1, available=known - 1), -1),
            (key, entry(version - 1, version=version - 1, available=known + 7), 7),
            (key, entry(version + 5), 0),
            (key, b"nothing of ours", -known),
            (key, held[:40], -known),
            (key + b"-2", held, known),
        ):
            if value is None:
                await shop.redis.delete(name)
            else:
                await shop.redis.set(name, value)

            drifts = (await shop.look()).drifts

            drift = the(drifts, Kind.REDIS)
            assert len(drifts) == 1, (seed, value, drifts)
            assert drift.sku == name.decode().removeprefix(shop.prefix), (seed, value)
            assert drift.amount == units, (seed, value, drift)
            assert drift.remedy is Remedy.REFILL
            await shop.redis.delete(key + b"-2")
            await shop.redis.set(key, held)
        assert sku


async def test_a_redis_that_is_away_is_said_to_be_not_compared(
    shop: Shop, redis: RedisServer
) -> None:
    await shop.redis.set(f"{shop.prefix}NOBODY", b"x" * 60)
    redis.stop()

    look = await shop.look()

    assert look.drifts == []
    assert "does not answer" in look.skipped[Kind.REDIS]


# --- what is no drift -----------------------------------------------------------------------------


async def test_a_ledger_that_is_behind_is_not_judged_and_said_to_be_so(shop: Shop) -> None:
    shop.reconciler._patience_s = 0.3
    producer = AIOKafkaProducer(bootstrap_servers=shop.settings.kafka, acks="all")
    await producer.start()
    for partition in range(shop.settings.partitions):
        topic = shop.settings.topic("stock-events")
        await producer.send_and_wait(topic, b"not yet written", partition=partition)
    await producer.stop()
    async with shop.database.connected() as connection:
        await connection.execute("DELETE FROM stock WHERE sku = 'NOBODY'")

    look = await shop.look()

    assert look.drifts == []
    assert look.behind["ledger"] == [0, 1]


# --- the book, and what a person does -------------------------------------------------------------


async def nobody(command: Any) -> None:
    raise AssertionError(f"{command} was sent")


async def test_a_derived_row_is_written_anew_once_and_the_drift_ends(shop: Shop) -> None:
    async with shop.database.connected() as connection:
        before = {table: (await shop.database.dump())[table] for table in ("stock", "holds")}
        await connection.execute(
            "UPDATE stock SET locked = locked + 3, chain = sha256(chain) WHERE sku ="
            " (SELECT max(sku) FROM stock)"
        )
        await connection.execute(
            "UPDATE holds SET quantity = 99 WHERE (sku, order_key) ="
            " (SELECT sku, order_key FROM holds WHERE ended_at IS NULL ORDER BY 1, 2 LIMIT 1)"
        )
    key = min(await shop.redis.keys(f"{shop.prefix}*"))
    await shop.redis.delete(key)
    open_ = await shop.book()
    assert sorted(row["remedy"] for row in open_) == ["rebuild", "rebuild", "refill"]
    assert [row["id"] for row in await shop.book()] == [row["id"] for row in open_]

    for row in open_:
        await confirm(shop.settings, row["id"], "mei", "seen by two", nobody)

    assert await shop.book() == []
    after = await shop.database.dump()
    assert {table: after[table] for table in before} == before
    ended = await shop.fetch("SELECT status, operator, reason FROM drifts")
    assert ended == [{"status": "confirmed", "operator": "mei", "reason": "seen by two"}] * 3
    with pytest.raises(NotConfirmed, match=r"is ended: confirmed .* by mei: seen by two"):
        await confirm(shop.settings, open_[0]["id"], "lin", "again", nobody)
    with pytest.raises(NotConfirmed, match="There is no drift 999"):
        await confirm(shop.settings, 999, "lin", "again", nobody)


async def test_what_no_command_can_set_right_is_refused_and_ends_by_itself(shop: Shop) -> None:
    async with shop.database.connected() as connection:
        (entry,) = await shop.fetch("SELECT sku, version, reason FROM stock_ledger LIMIT 1")
        which = (entry["sku"], entry["version"])
        change = "UPDATE stock_ledger SET reason = $3 WHERE sku = $1 AND version = $2"
        await connection.execute(change, *which, "gift")
        await connection.execute(
            "UPDATE stock SET frozen = frozen + 7 WHERE sku = $1", entry["sku"]
        )
        (drift,) = await shop.book()

        with pytest.raises(NotConfirmed, match="cannot be set right by a command"):
            await confirm(shop.settings, drift["id"], "mei", "why not", nobody)

        await connection.execute(change, *which, entry["reason"])
        (balance,) = await shop.book()
    assert (drift["version"], balance["amount"], balance["remedy"]) == (which[1], 7, "rebuild")
    (ended, _) = await shop.fetch("SELECT status FROM drifts ORDER BY id")
    assert ended == {"status": "gone"}


async def test_the_adjustment_is_one_command_however_often_it_is_asked(shop: Shop) -> None:
    await shop.look()
    rows = shop.kept()
    key, sku, _ = next(e for e in skus_of(rows, stock.Stock) if rows[e[0]].available > 3)
    altered = replace(rows[key], available=rows[key].available + 5)
    await shop.write_row("stock", key, altered, home_of=sku)
    (drift,) = await shop.book()
    sent: list[Any] = []

    async def refused(command: Any) -> Refusal | None:
        sent.append(command)
        return Refusal.NOT_ENOUGH if len(sent) == 1 else None

    with pytest.raises(NotConfirmed, match=r"refused to adjust .* not_enough.* stays open"):
        await confirm(shop.settings, drift["id"], "mei", "counted", refused)
    done = await confirm(shop.settings, drift["id"], "mei", "counted", refused)

    assert "by -5" in done.done
    assert len({command.id for command in sent}) == 1
    (_, command) = sent
    assert (command.sku, command.delta, command.operator) == (sku, -5, "mei")
    assert command.reason == f"drift {drift['id']}: counted"
