"""The figures that are judged, read from the real PostgreSQL and Kafka; and who may acknowledge."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from starlette.types import Receive, Scope, Send

from schemas.alerts import Reading
from streams.alerting.sources import Broker, House, Ledger
from streams.engine.admin import apply
from streams.gateway.requests import Reader
from streams.operations import keys
from streams.operations.operation import SLOW_AFTER_S
from streams.operations.operation import House as OfOperations
from streams.operations.rights import Role
from streams.people import web
from streams.people.metrics import Metrics
from streams.settings import Settings
from streams.topics import ORDER_EVENTS
from tests.integration.conftest import settings  # noqa: F401  a fixture
from tests.integration.databases import Database, database, empty  # noqa: F401  fixtures

pytestmark = pytest.mark.stack


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    async with Ledger(database.reader) as ledger:
        yield ledger


async def an_order(there: Database, key: str, **columns: Any) -> None:
    now = datetime.now(UTC)
    row = {
        "order_key": key, "version": 1, "facets": 1, "changed_at": now, "platform": "taobao",
        "shop": "lamps", "order_id": key, "received_at": now, "reservation": "asking",
        "ignored": 0, "first_received_at": now, "first_written_at": now, "written_at": now,
        **columns,
    }  # fmt: skip
    places = ", ".join(f"${nth}" for nth in range(1, len(row) + 1))
    async with there.connected() as connection:
        await connection.execute(
            f"INSERT INTO orders ({', '.join(row)}) VALUES ({places})",  # noqa: S608  our own names
            *row.values(),
        )


def ago(**span: float) -> datetime:
    return datetime.now(UTC) - timedelta(**span)


def values(readings: list[Reading]) -> dict[str, float]:
    return {each.subject: each.value for each in readings}


async def test_orders_are_late_by_the_sources_time_and_by_ours(database: Database, ledger: Ledger):
    # Naive Los Angeles time read as UTC+8 would look like this; an old order brought in would not.
    await an_order(database, "zone", updated_at=ago(hours=6))
    await an_order(database, "import", updated_at=ago(days=400), shop="old")
    await an_order(database, "asks", first_received_at=ago(minutes=7), shop="slow")
    await an_order(
        database, "waits", first_received_at=ago(minutes=30), shop="unmapped", unmapped=["x"]
    )

    by_source = values(await ledger.late_by_source())
    by_receipt = values(await ledger.late_by_receipt())

    assert by_source == {"taobao/lamps": pytest.approx(6 * 3600, abs=60)}
    assert by_receipt["taobao/slow"] == pytest.approx(7 * 60, abs=60)
    assert "taobao/unmapped" not in by_receipt


async def test_what_stays_too_long_in_a_state_is_counted_by_state(
    database: Database, ledger: Ledger
):
    await an_order(database, "asks", changed_at=ago(minutes=4), first_received_at=ago(minutes=4))
    await an_order(database, "young", changed_at=ago(minutes=2))
    await an_order(
        database, "unmapped", first_received_at=ago(minutes=31), unmapped=["x"],
        changed_at=ago(minutes=31),
    )  # fmt: skip
    await an_order(
        database, "case", open_case="no_answer", changed_at=ago(hours=25), reservation="short"
    )
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO holds (order_key, sku, version, bucket, quantity, deadline_at, changed_at,"
            " verb, moves) VALUES ('a', 'RUG', 1, 'locked', 1, now() - interval '2 minutes', now(),"
            " 'hold', '1'), ('b', 'RUG', 1, 'locked', 1, now() - interval '30 seconds', now(),"
            " 'hold', '1')"
        )

    assert values(await ledger.stuck()) == {
        "order asking for stock": 1,
        "order without a mapping": 1,
        "case untouched": 1,
        "hold after its deadline": 1,
        "order to be fetched": 0,
    }


async def test_t62_a_shortfall_that_came_and_went_is_read_with_its_own_moments(
    database: Database, ledger: Ledger
):
    came, went = ago(seconds=20), ago(seconds=9)
    async with database.connected() as connection:
        await connection.executemany(
            "INSERT INTO shortfalls VALUES ('RUG', $1, $2, $3, $4, 3, 'test')",
            [(1, came, 0, 3), (2, went, 3, 0)],
        )

    read = [(each.value, each.at_ms) for each in await ledger.negative_stock()]

    came_ms, went_ms = (round(at.timestamp() * 1000) for at in (came, went))
    assert read == [(3, came_ms), (3, went_ms - 1), (0, went_ms)]


async def test_a_month_that_is_not_ready_is_trouble(database: Database, ledger: Ledger):
    assert set(values(await ledger.strayed()).values()) == {0.0}
    month = f"order_events_{datetime.now(UTC):%Y_%m}"
    async with database.connected() as connection:
        await connection.execute(f"DROP TABLE {month}")

    assert values(await ledger.strayed())[f"{month} is missing"] == 1.0


async def test_t52_lag_is_how_long_the_oldest_unread_record_waits(settings: Settings):
    await apply(settings, [ORDER_EVENTS])
    topic = settings.topic(ORDER_EVENTS.name)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all")
    await producer.start()
    now_ms = round(time.time() * 1000)
    for partition, age_s in ((0, 900), (0, 400), (0, 10), (1, 5)):
        await producer.send_and_wait(
            topic, b"x" * 5_000, partition=partition, timestamp_ms=now_ms - age_s * 1000
        )
    await producer.stop()
    group = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=settings.group_prefix + "ledger",
        enable_auto_commit=False,
    )  # fmt: skip
    async with group, Broker(settings) as broker:
        group.assign([TopicPartition(topic, each) for each in range(settings.partitions)])
        assert await broker.lag() == [], "a group that has never read is nobody's lag"
        await group.commit({TopicPartition(topic, 0): 1, TopicPartition(topic, 1): 1})
        behind = values(await broker.lag())
        await group.commit({TopicPartition(topic, 0): 3})
        caught_up = await broker.lag()
        trouble = await broker.partitions()
        await broker.lives()

    assert behind == {"ledger order-events": pytest.approx(400, abs=60)}
    assert caught_up == []
    assert trouble == []


async def test_a_part_that_does_not_answer_is_named(database: Database, settings: Settings):
    nowhere = settings.model_copy(update={"kafka": "127.0.0.1:1", "redis": None})
    async with Ledger(database.reader) as ledger, Broker(nowhere) as broker:
        house = House(nowhere, ledger, broker, [], {"gateway": "http://127.0.0.1:1/healthz"})

        assert values(await house.down()) == {"postgres": 0.0, "kafka": 1.0, "gateway": 1.0}


# --- pages ----------------------------------------------------------------------------------------


class Asked:
    """The operations API, asked with somebody's key or with none."""

    def __init__(self, settings: Settings, there: Database) -> None:
        house = OfOperations(settings, there.operations, Reader(SLOW_AFTER_S))
        self._app = web.app(house, Metrics(), lambda: "")
        self.key = ""

    async def __call__(
        self, method: str, path: str, body: bytes = b""
    ) -> tuple[int, dict[str, Any]]:
        path, _, query = path.partition("?")
        named = [(b"authorization", f"Bearer {self.key}".encode())] if self.key else []
        scope: Scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(),
            "headers": [*named, (b"content-length", str(len(body)).encode())],
            "root_path": "", "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        said: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        receive_: Receive = receive
        send_: Send = send
        await self._app(scope, receive_, send_)
        return said[0]["status"], orjson.loads(said[1]["body"])


async def test_whoever_may_sees_alerts_and_takes_one_by_name(
    settings: Settings, database: Database
):
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO alerts (id, rule, subject, severity, state, since, value, worst, read_at,"
            " fired_at) VALUES ('0192-4f09ac', 'lag', 'ledger', 'critical', 'firing', now(), 1, 1,"
            " now(), now()), ('0192-000000', 'lag', 'orders', 'critical', 'pending', now(), 1, 1,"
            " now(), NULL)"
        )
    ask = Asked(settings, database)
    roles = {"mei": Role.OPERATIONS, "guest": Role.VIEWER}
    made = {
        name: await keys.make(database.owner, name, role, "root", "a test")
        for name, role in roles.items()
    }
    take = "/v1/alerts/4f09ac/acknowledge"
    mine = '{"reason": "我来"}'.encode()

    assert (await ask("GET", "/v1/alerts"))[0] == 401
    assert (await ask("POST", take, mine))[0] == 401
    ask.key = made["guest"].key
    assert (await ask("POST", take, mine))[0] == 403
    status, said = await ask("GET", "/v1/alerts")
    assert (status, [each["id"] for each in said["alerts"]]) == (200, ["0192-4f09ac"])

    ask.key = made["mei"].key
    assert (await ask("GET", "/v1/alerts?state=hot"))[0] == 400
    assert (await ask("POST", take, b'{"reason": "x", "by": "lin"}'))[0] == 400
    assert (await ask("POST", take, b"{}"))[0] == 400
    assert (await ask("POST", "/v1/alerts/nobody/acknowledge", mine))[0] == 404
    assert (await ask("POST", "/v1/alerts/000000/acknowledge", mine))[0] == 409
    status, said = await ask("POST", take, mine)
    assert (status, said["alert"]["acknowledged_by"], said["alert"]["note"]) == (200, "mei", "我来")
    status, said = await ask("POST", take, mine)
    assert (status, said["error"]) == (409, "mei sees to it already.")
