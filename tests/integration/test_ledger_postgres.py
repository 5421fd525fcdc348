"""The ledger on the real PostgreSQL: exactly once, whatever happens on the way."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from random import Random
from typing import Any

import asyncpg
import pytest
from msgspec import json

from agents.ledger import LEDGER_TOPICS, fold
from agents.letters import seal
from agents.ports import FramesHalted
from schemas.errors import LedgerUnavailable
from schemas.ledger import LedgerBatch, Start
from schemas.orders import Buyer, Receiver, Status
from schemas.parked import Cause, Parked, Stage
from streams.exceptions import queue
from streams.postgres import ledger
from streams.postgres.connecting import connect
from streams.postgres.ledger import NotTheOwner, PostgresLedger
from streams.postgres.sink import LedgerSink, Prepared
from streams.reads import Reads
from tables import stock
from tables.order_rows import Order
from tests.builders import T0, a_line, a_statement, observe, receive
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.test_to_ship import LIST, can_go
from tests.simulation import House, Record

pytestmark = pytest.mark.stack

LAMP, RUG, CHAIR = "GARISH-LAMP", "HUMBLE-RUG", "WOBBLY-CHAIR"
SKUS = (LAMP, RUG, CHAIR)
Frames = dict[tuple[str, int], list[Any]]
LIVES = (
    (Status.PENDING_PAYMENT,),
    (Status.PENDING_PAYMENT, Status.PAID),
    (Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED),
    (Status.PENDING_PAYMENT, Status.CANCELLED),
    (Status.PAID, Status.CANCELLED),
)


def a_busy_house(seed: int, *, many: int = 40, crashes: float = 0.15) -> House:
    """Orders that live their lives while the keepers crash, so that letters are repeated."""
    random = Random(seed)
    house = House(partitions=3)
    house.tell(*(receive(sku, 60) for sku in SKUS))
    house.settle()
    said = []
    for order in range(many):
        chosen = random.sample(SKUS, random.randint(1, 3))
        lines = [a_line(sku, random.randint(1, 4)) for sku in chosen]
        if order % 10 == 0:
            lines.append(a_line(None, line_id="unmapped"))
        for at, status in enumerate(random.choice(LIVES)):
            more = {"buyer": Buyer(name="Ann"), "receiver": Receiver(city="杭州市", name="张三")}
            said.append(a_statement(status, *lines, order=str(1000 + order), at=at, **more))
    for place, statement in enumerate(sorted(said, key=lambda _: random.random())):
        house.tell(observe(statement, place))
        if random.random() < 0.5:
            house.settle(random, crashes)
    house.settle(random, crashes)
    return house


def frames(house: House) -> Frames:
    return {
        (topic, partition): house.log(topic, partition)
        for topic in LEDGER_TOPICS
        for partition in range(house.partitions)
    }


def cut(given: Frames, random: Random) -> Iterable[Frames]:
    """The same records in rounds of any size, partitions in any order."""
    at = dict.fromkeys(given, 0)
    while waiting := [where for where, log in given.items() if at[where] < len(log)]:
        chosen = random.sample(waiting, random.randint(1, len(waiting)))
        round_: Frames = {}
        for where in chosen:
            upto = at[where] + random.randint(1, 40)
            round_[where] = given[where][at[where] : upto]
            at[where] = upto
        yield round_


async def a_sink(database: Database, given: Frames) -> LedgerSink:
    sink = LedgerSink(PostgresLedger(database.ledger))
    await sink.starts(given)
    return sink


async def close(*sinks: LedgerSink) -> None:
    for sink in sinks:
        await sink._ledger.close()  # type: ignore[attr-defined]


async def write(sink: LedgerSink, round_: Frames) -> None:
    await sink.put(sink.prepare(round_))


async def write_ahead(sink: LedgerSink, rounds: Iterable[Frames], ahead: int = 2) -> int:
    """As the engine does: up to so many rounds are prepared before one is put, again if need be."""
    waiting: deque[Prepared] = deque()
    lost = 0
    for round_ in (*rounds, *[None] * ahead):
        if round_ is not None:
            waiting.append(sink.prepare(round_))
        while len(waiting) > (ahead if round_ is not None else 0):
            try:
                await sink.put(waiting[0])
                waiting.popleft()
            except LedgerUnavailable:
                lost += 1
    return lost


async def write_all(database: Database, given: Frames) -> LedgerSink:
    sink = await a_sink(database, given)
    await write(sink, given)
    await close(sink)
    return sink


async def agree(database: Database, house: House) -> None:
    """Assert that PostgreSQL says what the keepers hold."""
    kept = {
        key: house.row("orders", key)
        for keeper in house.keepers.values()
        for key in keeper.rows
        if keeper.table.name == "orders"
    }
    mine = {row.key: row for row in kept.values() if isinstance(row, Order)}
    told = await database.rows("SELECT order_key, version, platform_status, status FROM orders")
    assert {key: (version, status) for key, version, status, _ in told} == {
        key: (row.version, row.status and row.status.value) for key, row in mine.items()
    }
    assert {key: status for key, _, _, status in told} == {
        key: row.announced and row.announced.value for key, row in mine.items()
    }
    waiting = await database.rows("SELECT order_key, unmapped FROM orders")
    assert dict(waiting) == {key: list(row.unmapped) for key, row in mine.items()}
    for sku in SKUS:
        (balance,) = await database.rows(
            "SELECT available, locked, occupied, reserved, frozen FROM stock WHERE sku = $1", sku
        )
        held = house.balance(sku)
        assert balance == (
            held.available, held.locked, held.occupied, held.reserved, held.frozen,
        )  # fmt: skip
    holds = await database.rows(
        "SELECT sku, order_key, quantity, bucket FROM holds WHERE ended_at IS NULL"
    )
    assert {(sku, order): (quantity, bucket) for sku, order, quantity, bucket in holds} == {
        (sku, key): (hold.quantity, hold.bucket.value)
        for key in mine
        for sku in SKUS
        if (hold := house.row("stock", stock.hold_key(sku, key))) is not None
    }
    assert await database.rows(LIST) == await can_go(database)
    async with Reads(database.reader) as reads:
        for sku in SKUS:
            assert await reads.trail_breaks(sku) == []
    counted = await database.rows("SELECT (SELECT count(*) FROM order_events)")
    assert counted == [(sum(row.version for row in mine.values()),)]


@pytest.fixture(params=[0, 1_000_000], ids=["staged", "from-arrays"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows reach their tables in two ways, by their number; both must do the same."""
    monkeypatch.setattr(ledger, "FEW_ROWS", request.param)


# --- exactly once ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("either_way")
async def test_what_the_keepers_hold_is_what_postgres_says(database: Database) -> None:
    house = a_busy_house(1)

    sink = await write_all(database, frames(house))

    assert sink.tally.repeats > 0, "the crashes repeated no letter: the trial proves nothing"
    assert sink.tally.parked == 0
    await agree(database, house)
    assert await database.rows(LIST), "nothing can go: its list proves nothing"


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("seed", [2, 3])
async def test_any_order_of_delivery_gives_the_same_tables(database: Database, seed: int) -> None:
    random = Random(seed)
    house = a_busy_house(seed)
    sink = await a_sink(database, frames(house))

    for round_ in cut(frames(house), random):
        await write(sink, round_)
        if random.random() < 0.2:  # the same round again, as after a rebalance
            await write(sink, round_)
        if random.random() < 0.1:  # another process takes over
            await close(sink)
            sink = await a_sink(database, frames(house))
    await close(sink)

    in_pieces = await database.dump()
    await agree(database, house)
    async with database.connected() as connection:
        await connection.execute(f"TRUNCATE {', '.join(in_pieces)}")
    await write_all(database, frames(house))
    assert await database.dump() == in_pieces


async def test_a_lost_answer_to_commit_is_found_out(database: Database) -> None:
    house = a_busy_house(4)
    sink = LedgerSink(DeafLedger(database.ledger, Random(4)))
    await sink.starts(frames(house))

    lost = await write_ahead(sink, cut(frames(house), Random(4)))
    await close(sink)

    assert lost > 5
    await agree(database, house)


class DeafLedger(PostgresLedger):
    """Loses its connection often: before the COMMIT, or after it and before its answer."""

    def __init__(self, dsn: str, random: Random) -> None:
        super().__init__(dsn)
        self._random = random

    async def write(self, batch: LedgerBatch) -> None:
        chance = self._random.random()
        if chance < 0.2:
            self.drop()
            raise LedgerUnavailable("before")
        await super().write(batch)
        if chance > 0.8:
            self.drop()
            raise LedgerUnavailable("after")


async def test_a_server_process_that_dies_under_a_write_costs_nothing(database: Database) -> None:
    house = a_busy_house(5, many=150)
    sink = await a_sink(database, frames(house))
    killed, prepared = 0, sink.prepare(frames(house))

    async with database.connected("ledger") as killer:
        for attempt in range(40):
            writing = asyncio.create_task(sink.put(prepared))
            await asyncio.sleep(0.002 * attempt)
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'orderflow-ledger'"
            )
            try:
                await writing
                break
            except LedgerUnavailable:
                killed += 1
        else:
            await sink.put(prepared)
    await close(sink)

    assert killed > 0
    await agree(database, house)


# --- owners ---------------------------------------------------------------------------------------


async def test_an_owner_that_was_replaced_writes_nothing(database: Database) -> None:
    house = a_busy_house(6)
    first, second = await a_sink(database, frames(house)), await a_sink(database, frames(house))
    await write(second, frames(house))
    before = await database.dump()

    with pytest.raises(NotTheOwner):
        await write(first, frames(house))

    assert await database.dump() == before
    await close(first, second)


async def test_an_owner_whose_answer_was_lost_and_who_was_overtaken_stops(
    database: Database,
) -> None:
    house = a_busy_house(6)
    whole = frames(house)
    where, log = next((where, log) for where, log in whole.items() if len(log) > 3)
    first, second = await a_sink(database, whole), await a_sink(database, whole)
    first._unsure = {where: fold({where: log[:2]}, {where: Start(0, {})}).positions[where]}
    await write(second, {where: log[:3]})

    with pytest.raises(NotTheOwner):
        await write(first, {where: log[:2]})

    await close(first, second)


async def test_a_new_owner_waits_for_the_transaction_of_the_old_one(database: Database) -> None:
    house = a_busy_house(6)
    (where, log), *_ = frames(house).items()
    sink = await a_sink(database, {where: log})
    async with database.connected("ledger") as old:
        transaction = old.transaction()
        await transaction.start()
        await old.execute("UPDATE sink_positions SET next = 2")

        asking = asyncio.create_task(sink.starts([where]))
        await asyncio.sleep(0.1)
        assert not asking.done()
        await transaction.commit()

    assert await asking == {where: 2}
    await close(sink)


async def test_a_new_owner_ends_the_statement_in_the_middle_of_which_the_old_one_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared and not executed is not idle: the server's own limit does not count there."""
    monkeypatch.setattr(ledger, "STOPPED_AFTER", timedelta(seconds=1))
    house = a_busy_house(6)
    (where, log), *_ = frames(house).items()
    sink = await a_sink(database, {where: log})
    old = await connect(database.ledger, name="orderflow-ledger")
    await old.transaction().start()
    await old.execute("UPDATE sink_positions SET next = 2")
    await old.prepare("SELECT 1")
    await asyncio.sleep(1.5)

    assert await sink.starts([where]) == {where: 0}, "the transaction that stopped is undone"
    await close(sink)
    old.terminate()


@pytest.mark.usefixtures("either_way")
async def test_a_stale_batch_overwrites_nothing(database: Database) -> None:
    """T59, at the last guard: even if a round came late, the newer rows stay."""
    house = House(partitions=1)
    house.tell(receive(LAMP, 9), receive(RUG, 9))
    house.settle()
    for at, line in enumerate([a_line(LAMP, 1), a_line(RUG, 2)]):
        house.tell(observe(a_statement(Status.PENDING_PAYMENT, line, at=at), at))
        house.settle()
    whole = frames(house)
    old_log = {where: log[:1] for where, log in whole.items() if where[0] == "order-events"}
    writer = PostgresLedger(database.ledger)
    await writer.starts(whole)
    await writer.write(fold(whole, {where: Start(0, {}) for where in whole}))
    tables = ("orders", "order_lines", "stock", "holds")
    before = {table: (await database.dump())[table] for table in tables}
    stale = fold(old_log, {where: Start(0, {}) for where in old_log})
    stale.order_events = []
    (where,) = stale.positions
    stands = len(whole[where])
    stale.positions = {where: stale.positions[where]._replace(start=stands, end=stands + 1)}

    await writer.write(stale)

    assert {table: (await database.dump())[table] for table in tables} == before
    await writer.close()


# --- what goes wrong ------------------------------------------------------------------------------


def spoil(record: Record, **changes: object) -> Record:
    assert record.value is not None
    body = json.decode(record.value) | changes
    return Record(record.offset, record.timestamp, record.key, json.encode(body), record.headers)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 2**63},
        {"cause": "NUL\0"},
        {"at_ms": 2**60},
        {"at_ms": 2**50},
        {"source": "available", "target": "available"},
        {"sku": "".join(map(str, range(2000)))},
    ],
)
async def test_a_value_postgres_refuses_costs_its_own_record_only(
    database: Database, change: dict[str, object]
) -> None:
    house = a_busy_house(7, many=20, crashes=0)
    given = frames(house)
    where = ("stock-events", 0)
    spoilt = len(given[where]) // 2
    given[where] = list(given[where])
    given[where][spoilt] = spoil(given[where][spoilt], **change)

    await write_all(database, given)

    ((name, stage, cause, value),) = await database.rows(
        "SELECT id, stage, cause, value FROM parked"
    )
    assert (name, stage, cause) == (f"stock-events/0/{spoilt}", "ledger", "malformed")
    assert value == given[where][spoilt].value
    moves = sum(
        json.decode(record.value)["event"] == "stock.moved"
        for (topic, _), log in given.items()
        if topic == "stock-events"
        for record in log
    )
    assert await database.value("SELECT count(*) FROM stock_ledger") == moves - 1
    assert await database.rows(
        "SELECT topic, partition, next FROM sink_positions ORDER BY 1, 2"
    ) == sorted((*place, len(log)) for place, log in given.items())


async def test_a_partition_that_contradicts_itself_halts_alone(database: Database) -> None:
    house = a_busy_house(8, crashes=0)
    given = {(f"gray-{topic}", number): log for (topic, number), log in frames(house).items()}
    lost = ("gray-order-events", 1)
    first, _, *rest = given[lost]
    given[lost] = [Record(at, T0, r.key, r.value, r.headers) for at, r in enumerate([first, *rest])]
    sink = LedgerSink(PostgresLedger(database.ledger), "gray-")
    assert await sink.starts(given) == dict.fromkeys(given, 0)

    with pytest.raises(FramesHalted) as halted:
        await write(sink, given)

    assert list(halted.value.halted) == [lost]
    after = await sink.starts(given)
    assert after == {place: 1 if place == lost else len(log) for place, log in given.items()}
    await close(sink)


@pytest.mark.usefixtures("either_way")
async def test_parked_messages_count_their_attempts_over_rounds(database: Database) -> None:
    parked = Parked(
        id="raw-orders-taobao/0/7", stage=Stage.INTAKE, cause=Cause.MALFORMED, field="num",
        reason="not a number", topic="raw-orders-taobao", partition=0, offset=7, key=None,
        value=b"\x00\xff", seen_ms=T0,
    )  # fmt: skip
    where = ("parked", 0)
    sink = await a_sink(database, {where: []})

    for offset in range(3):
        await write(sink, {where: [Record(offset, T0, None, seal(parked))]})
    await write(sink, {where: [Record(2, T0, None, seal(parked))]})

    found = await queue.listed(database.reader, queue.Kind(), 10)
    assert (found.open, [row["attempts"] for row in found.exceptions]) == (1, [3])
    row = await queue.one(database.reader, parked.id)
    assert row is not None
    assert row["value"] == b"\x00\xff"
    async with Reads(database.reader) as reads:
        assert await reads.count_parked_open() == 1
    await close(sink)


async def test_a_server_that_is_away_is_told_without_the_address() -> None:
    writer = PostgresLedger("postgresql://ledger:hunter2@127.0.0.1:1/orderflow")

    with pytest.raises(LedgerUnavailable) as told:
        await writer.starts([("parked", 0)])

    assert "hunter2" not in str(told.value)


# --- what is allowed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ledger", "UPDATE order_events SET event = ''"),
        ("ledger", "DELETE FROM order_events"),
        ("ledger", "TRUNCATE order_events"),
        ("ledger", "UPDATE stock_ledger SET quantity = 1"),
        ("ledger", "DELETE FROM stock_ledger"),
        ("ledger", "DELETE FROM stock_ledger_default"),
        ("ledger", "DELETE FROM orders"),
        ("ledger", "UPDATE command_answers SET refusal = NULL"),
        ("ledger", "CREATE TABLE mine (x int)"),
        ("reader", "INSERT INTO sink_positions VALUES ('parked', 0, 0)"),
        ("reader", "UPDATE orders SET status = 'PAID'"),
        ("reader", "DELETE FROM parked"),
    ],
)
async def test_what_a_role_must_not_do_is_denied(
    database: Database, role: str, statement: str
) -> None:
    async with database.connected(role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize("bucket", ["available", "locked", "occupied", "reserved", "frozen"])
async def test_no_bucket_can_be_below_zero(database: Database, bucket: str) -> None:
    """T18: the database itself says no, in the balance and in the trail."""
    others = dict.fromkeys(["available", "locked", "occupied", "reserved", "frozen"], 1)
    values = others | {bucket: -1}
    columns, figures = ", ".join(values), ", ".join(map(str, values.values()))
    async with database.connected("ledger") as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                f"INSERT INTO stock (sku, version, changed_at, {columns})"  # noqa: S608
                f" VALUES ('LAMP', 1, now(), {figures})"
            )
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO stock_ledger (sku, version, at, verb, quantity, cause, chain,"  # noqa: S608
                f" {columns}) VALUES ('LAMP', 1, now(), 'hold', 1, '', sha256(''), {figures})"
            )


# --- what people see ------------------------------------------------------------------------------


async def a_shipped_order(database: Database) -> None:
    """Order 1001 of a lamp and a rug, paid and shipped, and one late repetition."""
    house = House(partitions=2)
    house.tell(receive(LAMP, 9), receive(RUG, 9))
    house.settle()
    ann = Buyer(name="王小明", phone_said="13812345678", email="ann@example.com")
    said = [
        a_statement(status, a_line(LAMP, 2), a_line(RUG, 1), at=at, buyer=ann)
        for at, status in enumerate([Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED])
    ]
    for place, statement in enumerate([*said, said[0]]):
        house.tell(observe(statement, place))
        house.settle()
    await write_all(database, frames(house))


async def test_an_order_can_be_read_as_a_story(database: Database) -> None:
    await a_shipped_order(database)

    async with Reads(database.reader) as reads:
        (order,) = await reads.order("1001")
        story = await reads.order_story("taobao:lamps:1001")
        assert await reads.order_story("taobao:lamps:none") is None

    assert story is not None
    assert story["order"] == order
    assert (order["status"], order["reservation"]) == ("SHIPPED", "shipped")
    assert order["ignored"] == 1
    versions = [event["version"] for event in story["events"]]
    assert versions == list(range(1, order["version"] + 1))
    assert story["events"][0]["body"]["event"] == "order.observed"
    for sku in (LAMP, RUG):
        verbs = [move["verb"] for move in story["moves"] if move["sku"] == sku]
        assert verbs == ["hold", "occupy", "ship"]
    assert [hold["verb"] for hold in story["holds"]] == ["ship", "ship"]
    assert [line["sku"] for line in story["lines"]] == [LAMP, RUG]
    masked = {"name": "王***", "phone": "138***78", "email": "a***"}
    assert story["details"]["buyer"] == masked


async def test_stock_shops_and_answers_can_be_read(database: Database) -> None:
    await a_shipped_order(database)
    ((command,), *_) = await database.rows("SELECT command_id FROM command_answers")

    async with Reads(database.reader) as reads:
        lamp = await reads.stock(LAMP)
        assert lamp is not None
        assert lamp["balance"]["on_hand"] == 7
        assert [move["verb"] for move in lamp["moves"]] == ["ship", "occupy", "hold", "receive"]
        assert lamp["holds"] == []
        assert (await reads.stock_by_bucket())["on_hand"] == 15
        (channel,) = await reads.orders_by_channel_and_status()
        assert (channel["shop"], channel["status"], channel["orders"]) == ("lamps", "SHIPPED", 1)
        page = await reads.orders_of_shop("taobao", "lamps")
        assert [row["order_id"] for row in page] == ["1001"]
        answer = await reads.answer(command)
        assert answer is not None
        assert answer["refusal"] is None
        assert len(await reads.positions()) == 2 * len(LEDGER_TOPICS)
        flow = await reads.throughput_and_latency(timedelta(days=36500))
        assert (flow["orders"], flow["verdicts"]) == (1, 1)
        assert flow["row_ms_p50"] is not None


async def test_nothing_at_all_can_be_read_too(database: Database) -> None:
    async with Reads(database.reader) as reads:
        assert await reads.order("1001") == []
        assert await reads.count_parked_open() == 0
        assert (await reads.stock_by_bucket())["on_hand"] == 0
        assert (await reads.throughput_and_latency())["orders"] == 0
        assert await reads.stock("NOTHING") is None
