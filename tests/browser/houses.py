"""
The two houses whose consoles are looked at.

One is at rest: nothing works in it. It is looked at empty, then with 10,000 rows of everything, and
by then it is old too: an event was told that nobody writes into the ledger. The other lives:
workers run, orders of all platforms came in, and its console reaches PostgreSQL by a way that can
be closed.
"""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import msgpack

from schemas.orders import Buyer, OrderDetails, Receiver, Shipment
from streams.annotating import table
from streams.annotating.definitions import FIELDS_MAX, LABELS_MAX, CustomField, Label
from streams.callbacks.subscribers import SUBSCRIBERS_MAX
from streams.clock import now_ms
from streams.importing.planning import Reading
from streams.importing.store import options_of
from streams.operations.rights import Role
from streams.postgres.connecting import connected
from streams.postgres.schema import mend_to_ship
from streams.topics import ORDER_EVENTS
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import Installation, installation
from tests.integration.robots import Tap
from tests.integration.selling import RedisServer, a_redis
from tests.integration.the_console import (
    TAOBAO,
    Shop,
    a_mall_order,
    check_logs,
    console,
    exceptions,
    feed,
    furnished,
    printed,
    to_ship,
)

ROWS = 10_000
#: Orders of the mall that can go now.
READY = [f"20260601{n:04}" for n in range(12)]
_DSNS = ("READER", "OPERATIONS", "CONSOLE")


class Aside:
    """A loop in a thread of its own: in the thread of the tests Playwright has one that runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(600)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


@dataclass
class House:
    """An installation, its console, and what the screens of one thing are of."""

    shop: Shop
    aside: Aside
    tap: Tap
    #: What stands in the paths of screens: `order`, `sku`, `exception`, …
    names: dict[str, str] = field(default_factory=dict)
    _console: ExitStack = field(default_factory=ExitStack)
    #: Where it is kept who edits.
    redis: RedisServer | None = None
    #: To PostgreSQL, as its owner: opened once, and asked all the time.
    _connection: Any = None

    @property
    def url(self) -> str:
        return self.shop.url

    @property
    def env(self) -> dict[str, str]:
        """What the console finds in its environment: PostgreSQL by the way that can be closed."""
        house = self.shop.house
        return {
            f"ORDERFLOW_POSTGRES_{name}": self.tap.through(house.env[f"ORDERFLOW_POSTGRES_{name}"])
            for name in _DSNS
        }

    def serve(self) -> None:
        """Start the console, again where it was before."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        url, log = self._console.enter_context(console(self.shop.house, port, **self.env))
        if not self.url:
            self.shop.url, self.shop.first = url, printed(log)

    def stop(self) -> None:
        """Stop the console."""
        self._console.close()

    def session(self, role: Role) -> str:
        """Return the cookie of a user with *role*."""
        return str(self.shop.of(role).cookie("orderflow").value)

    def path(self, path: str) -> str:
        return path.format_map({name: quote(said) for name, said in self.names.items()})

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async def go() -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await self._connection.fetch(query, *values)]

        found: list[tuple[Any, ...]] = self.aside.run(go())
        return found

    @contextmanager
    def asked(self) -> Iterator["House"]:
        """Keep a connection for `rows` and `value`."""
        made = connected(self.shop.house.env["ORDERFLOW_POSTGRES_OWNER"], name="t")
        self._connection = self.aside.run(made.__aenter__())
        try:
            yield self
        finally:
            self.aside.run(made.__aexit__(None, None, None))

    def nobody_edits(self) -> None:
        """Let all leases be over."""
        assert self.redis is not None
        self.aside.run(self.redis.do("FLUSHALL"))

    def value(self, query: str, *values: Any) -> Any:
        ((found,),) = self.rows(query, *values)
        return found


@contextmanager
def _house(folder: Any, aside: Aside, **env: str) -> Iterator[House]:
    made = installation(folder)
    there: Installation = aside.run(made.__aenter__())
    try:
        there.env.update(env, ORDERFLOW_IMPORT_FOLDER=str(folder / "uploads"))
        tap = Tap(there.env["ORDERFLOW_POSTGRES_CONSOLE"])
        aside.run(tap.open())
        found = House(Shop(there, "", ""), aside, tap)
        found.serve()
        try:
            with found.asked():
                yield found
        finally:
            found.stop()
            aside.run(tap.close())
    finally:
        aside.run(made.__aexit__(None, None, None))


@contextmanager
def _redis(folder: Any, aside: Aside) -> Iterator[RedisServer]:
    made = a_redis(folder)
    try:
        yield aside.run(made.__aenter__())
    finally:
        aside.run(made.__aexit__(None, None, None))


@contextmanager
def at_rest(folder: Any, aside: Aside) -> Iterator[House]:
    """A house with a console and nothing else: no order, no SKU, no mapping, no worker."""
    with _house(folder, aside) as found:
        found.rows("TRUNCATE sku_mappings, sku_mapping_changes")
        found.shop.of(Role.ADMIN)
        found.names = {"sku": "NOBODY-ORDERED"}
        yield found


@contextmanager
def living(folder: Any, aside: Aside) -> Iterator[House]:
    """A house at work: three platforms' orders, a person in clear, and something of everything."""
    loopback = {"ORDERFLOW_CALLBACKS_LOOPBACK": "true"}
    with (
        _redis(folder, aside) as redis,
        _house(folder, aside, ORDERFLOW_REDIS=redis.url, **loopback) as found,
        found.shop.house.running("intake,orders,stock,ledger"),
    ):
        found.redis = redis
        _furnish(found)
        yield found
        check_logs(found.shop.house)


def _furnish(house: House) -> None:
    shop = house.shop
    (log,) = shop.house.folder.glob("console-*.log")
    shop.browsers.update(furnished(shop.house, shop.url, log).browsers)
    feed(
        shop.house,
        *(a_mall_order(id_) for id_ in READY),
        *(a_mall_order(f"20260601800{n}", total_minor="much") for n in range(8)),
        a_mall_order("202606019001", lines=[
            {"line_id": "1", "platform_sku": "9001", "title": "茶壶 500 ml", "quantity": 3,
             "unit_price_minor": 100, "line_total_minor": 300},
        ]),
    )  # fmt: skip
    operations = shop.of(Role.OPERATIONS)
    for furnish in (a_pause, a_subscriber, an_import, a_label_and_a_field):
        furnish(house)
    an_alert(house, "alert-1")
    wanted = {f"mall:main:{id_}" for id_ in READY}
    eventually(lambda: wanted <= set(to_ship(operations.ask("/to-ship?sku=LAMP"))), WITHIN_S)
    eventually(lambda: len(exceptions(shop, "?cause=malformed&platform=mall")) == 8, WITHIN_S)
    eventually(lambda: "茶壶" in operations.ask("/mappings").text, WITHIN_S)
    house.names = {
        "order": f"taobao:samples:{TAOBAO}", "go": f"mall:main:{READY[-1]}", "sku": "LAMP",
        "exception": exceptions(shop, "?cause=malformed&platform=mall")[0],
        "job": str(house.value("SELECT id FROM imports LIMIT 1")),
        "subscriber": str(house.value("SELECT id FROM subscribers LIMIT 1")),
        "platform": "mall", "there": "main", "theirs": "9001",
    }  # fmt: skip


def an_alert(house: House, id_: str) -> None:
    """Let an alert fire."""
    house.rows(
        "INSERT INTO alerts (id, rule, subject, severity, state, since, value, worst, read_at,"
        " fired_at) VALUES ($1, 'silent_channel', $1, 'critical', 'firing', now(), 9.5, 12, now(),"
        " now())",
        id_,
    )


def a_pause(house: House) -> None:
    """Let a shop's messages wait."""
    operations = house.shop.of(Role.OPERATIONS)
    done = operations.ask("/intake/pause", {
        "csrf": operations.ask("/intake").csrf, "platform": "douyin", "shop": "shanjiao",
        "reason": "平台故障",
    })  # fmt: skip
    assert done.status == 200, done.text


def a_subscriber(house: House) -> None:
    """Let somebody be told of orders."""
    house.shop.house.orderflow(
        "subscribers", "add", "wms", "--url", "http://127.0.0.1:9/hooks", "--reason", "仓库系统",
    )  # fmt: skip


def a_label_and_a_field(house: House) -> None:
    """Let there be something to note of orders, and a day that was reported."""
    dsn = house.shop.house.env["ORDERFLOW_POSTGRES_OPERATIONS"]
    for each in (Label("vip", "贵宾", "VIP", "purple"), CustomField("note", "备注", "Note")):
        house.aside.run(table.add(dsn, each, "mei", "开店"))
    house.rows("INSERT INTO daily_reports (day, version, figures) VALUES ('2026-06-01', 1, '{}')")


def an_import(house: House) -> None:
    """Let a file have been carried out, one of its rows refused."""
    file = house.shop.house.folder / "orders.csv"
    at = "2026-06-03T09:00:00+08:00"
    head = "order_id,status,created_at,updated_at,merchant_sku,quantity"
    file.write_text(f"{head}\nF-1,PAID,{at},{at},LAMP,1\nF-2,PAID,{at},{at},LAMP,none\n")
    house.shop.house.orderflow(
        "import", str(file), "--platform", "taobao", "--shop", "samples",
        "--reason", "平台故障", code=1,
    )  # fmt: skip


# --- 10,000 of everything -------------------------------------------------------------------------

_DETAILS = OrderDetails(
    order="mall:main:1",
    version=1,
    buyer=Buyer(id="u-1", name="林晓", phone="+8613900001234"),
    receiver=Receiver(name="林晓", country="CN", province="浙江省", city="杭州市"),
    invoice=None,
    shipments=(Shipment(carrier="SF Express", tracking_number="SF1400000000018"),),
    notices=(),
)
_MANY = f"FROM generate_series(1, {ROWS}) AS n"
_AT = "'2026-06-01T00:00:00Z'::timestamptz + n * interval '1 s'"
_FILL = (
    f"""
    INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id, status,
        platform_status, currency, total_minor, paid_minor, created_at, paid_at, received_at,
        reservation, ignored, first_received_at, first_written_at, written_at)
    SELECT 'mall:main:' || n, 1, 63, at, 'mall', 'main', n::text, 'PAID', 'PAID', 'CNY', 25800,
        25800, at, at, at, 'reserved', 0, at, at, at
    {_MANY}, LATERAL (SELECT {_AT} AS at) AS moment
    """,
    f"""
    INSERT INTO order_lines (order_key, line_no, version, line_id, sku, merchant_sku, title,
        quantity, unit_price_minor, line_total_minor)
    SELECT 'mall:main:' || n, 0, 1, '1', 'SKU-' || n, 'SKU-' || n, '台灯', 2, 12900, 25800 {_MANY}
    """,
    f"""
    INSERT INTO order_details (order_key, version, body, found_by)
    SELECT 'mall:main:' || n, 1, $1::bytea, ARRAY['tel:' || lpad((n % 10000)::text, 4, '0')] {_MANY}
    """,
    # Of SKU-1 everything is held, so that its page has the longest lists.
    f"""
    INSERT INTO holds (order_key, sku, version, bucket, quantity, changed_at, verb, moves)
    SELECT 'mall:main:' || n, 'SKU-1', n, 'occupied', 2, {_AT}, 'hold', '1' {_MANY}
    """,
    f"""
    INSERT INTO stock (sku, version, changed_at, available, locked, occupied, reserved, frozen)
    SELECT 'SKU-' || n, 1, {_AT}, 5, 0, 10, 0, 0 {_MANY}
    """,
    f"""
    INSERT INTO stock_ledger (sku, version, at, verb, quantity, source, target, available, locked,
        occupied, reserved, frozen, order_key, cause, held, chain)
    SELECT 'SKU-1', n, {_AT}, 'hold', 2, 'available', 'occupied', 5, 0, 10, 0, 0,
        'mall:main:' || n, 'order-events/0/' || n, 10, decode(repeat('ab', 32), 'hex') {_MANY}
    """,
    f"""
    INSERT INTO parked (id, stage, cause, field, reason, topic, partition, record_offset, key,
        value, platform, shop, attempts, first_seen_at, last_seen_at)
    SELECT 'raw-orders-mall/0/' || n, 'intake', 'malformed', 'total_minor', 'is no whole number',
        'raw-orders-mall', 0, n, 'k', convert_to('{{"platform_order_id": "1"}}', 'UTF8'),
        'mall', 'main', 1, {_AT}, {_AT} {_MANY}
    """,
    f"""
    INSERT INTO sku_mappings (platform, shop, theirs, ours, changed_by, changed_why)
    SELECT 'mall', 'main', 'T-' || n, 'SKU-' || n, 'mei', '新品' {_MANY}
    """,
    """
    INSERT INTO sku_mapping_changes (mapping, platform, shop, theirs, ours, valid_from, valid_to,
        at, by, why)
    SELECT id, platform, shop, theirs, ours, valid_from, valid_to, now(), 'mei', '新品'
    FROM sku_mappings
    """,
    # What nobody has mapped.
    f"""
    INSERT INTO order_lines (order_key, line_no, version, line_id, platform_sku, title, quantity)
    SELECT 'mall:main:' || n, 1, 1, '2', 'P-' || n, '茶壶', 1 {_MANY}
    """,
    f"""
    INSERT INTO alerts (id, rule, subject, severity, state, since, value, worst, read_at, fired_at)
    SELECT 'a' || n, 'silent_channel', 'mall:shop-' || n, 'warning', 'firing', {_AT}, 9.5, 12,
        now(), now() {_MANY}
    """,
    f"""
    INSERT INTO intake_pauses (platform, shop, starts, paused_by, paused_why)
    SELECT 'mall', 'shop-' || n, '{{0}}', 'mei', '价格错了' {_MANY}
    """,
    f"""
    INSERT INTO imports (id, state, file_name, path, file_digest, file_bytes, platform, shop,
        existing, options, operator, reason, dry_run)
    SELECT 'i' || n, 'done', 'orders-' || n || '.csv', '/x', '', 1, 'mall', 'main', 'update',
        '{options_of(Reading("mall", "main"))}', 'mei', '平台故障', true {_MANY}
    """,
    f"""
    INSERT INTO delivery_destinations (kind, id, host)
    SELECT 'subscriber', 's' || n, 'hooks.example.com'
    FROM generate_series(1, {SUBSCRIBERS_MAX}) AS n
    """,  # noqa: S608  a number of ours
    f"""
    INSERT INTO subscribers (id, name, url, types, shops)
    SELECT 's' || n, 'wms-' || n, 'https://hooks.example.com/' || n, '{{}}', '{{}}'
    FROM generate_series(1, {SUBSCRIBERS_MAX}) AS n
    """,  # noqa: S608  a number of ours
    f"""
    INSERT INTO deliveries (kind, destination, lane, message, about, body)
    SELECT 'subscriber', 's1', 'mall:main:' || n, 'm' || n, 'order.status', '\\x00' {_MANY}
    """,
    f"""
    INSERT INTO console_audit (by, role, address, did, about, why, outcome, said)
    SELECT 'mei', 'admin', '127.0.0.1', 'sku.adjust', 'SKU-' || n, '盘点', 'done', '' {_MANY}
    """,
    # The console counts them by and by, as it does what the ledger wrote.
    "INSERT INTO figures_touched (order_key) SELECT order_key FROM orders",
    f"""
    INSERT INTO labels (code, zh, en, changed_by, changed_why, colour)
    SELECT 'l' || n, '标签' || n, 'label ' || n, 'mei', '开店', 'grey'
    FROM generate_series(1, {LABELS_MAX}) AS n
    """,  # noqa: S608  a number of ours
    f"""
    INSERT INTO custom_fields (code, zh, en, changed_by, changed_why, kind)
    SELECT 'f' || n, '字段' || n, 'field ' || n, 'mei', '开店', 'text'
    FROM generate_series(1, {FIELDS_MAX}) AS n
    """,  # noqa: S608  a number of ours
    f"""
    INSERT INTO console_users (name, role, password, must_change, made_by, changed_by)
    SELECT 'user-' || n, 'viewer', '-', false, 'mei', 'mei' {_MANY}
    """,
    f"""
    INSERT INTO daily_reports (day, version, figures)
    SELECT '2026-06-01'::date - n, 1, '{{}}' {_MANY}
    """,
    f"""
    INSERT INTO settlement_files (id, digest, file_name, file_bytes, template, platform, shop,
        operator, row_count, line_count, repeat_count, name_count, order_count, sums)
    SELECT 's' || n, 'd' || n, 'bill-' || n || '.csv', 1, 't', 'taobao', 'qingyou', 'mei', 1, 1, 0,
        0, 1, '[]' {_MANY}
    """,
    "ANALYZE",
)


def fill(house: House) -> None:
    """Put 10,000 rows of everything into the house at rest, and let it grow old."""
    house.aside.run(_fill(house.shop.house.env["ORDERFLOW_POSTGRES_OWNER"]))
    house.names = {
        "order": "mall:main:1", "go": "mall:main:2", "sku": "SKU-1",
        "exception": "raw-orders-mall/0/1", "job": "i1", "subscriber": "s1",
        "platform": "mall", "there": "main", "theirs": "T-1",
    }  # fmt: skip
    house.aside.run(_tell_what_nobody_writes(house))


async def _fill(owner: str) -> None:
    body = msgpack.encode(_DETAILS)
    async with connected(owner, name="test") as connection, connection.transaction():
        for statement in _FILL:
            await connection.execute(statement, *([body] if "$1" in statement else []))
    await mend_to_ship(owner)  # these orders did not come by the ledger


async def _tell_what_nobody_writes(house: House) -> None:
    import aiokafka  # noqa: PLC0415

    settings = house.shop.house.settings
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=settings.kafka)
    await producer.start()
    try:
        said = json.dumps({"at_ms": now_ms()}).encode()
        await producer.send_and_wait(settings.topic(ORDER_EVENTS.name), said, partition=0)
    finally:
        await producer.stop()


@pytest.fixture(scope="module")
def aside() -> Iterator[Aside]:
    found = Aside()
    yield found
    found.close()
