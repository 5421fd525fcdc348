"""How old the data of an open page are, and how many pages are told of changes."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from schemas.errors import BrokerUnavailable
from streams.annotating.leases import Leases
from streams.console import live
from streams.console.live import Live
from streams.engine.admin import apply
from streams.reads import Reads
from streams.settings import Settings
from streams.topics import ORDER_EVENTS, STOCK_EVENTS
from tests.integration import shop
from tests.integration.databases import Database, database, empty  # noqa: F401

pytestmark = pytest.mark.stack

EVENTS = (ORDER_EVENTS, STOCK_EVENTS)


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Settings]:
    await apply(settings, EVENTS)
    yield settings
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.delete_topics([settings.topic(topic.name) for topic in EVENTS])
    finally:
        await admin.close()


async def test_the_data_are_as_of_the_moment_at_which_the_ledger_had_everything(
    there: Settings, database: Database
) -> None:
    async with Reads(database.reader) as reads:
        known = Live(there, reads, Leases(there))
        try:
            await known._age()
            at_first = known.as_of_ms
            assert at_first is not None

            # Something is told, and the ledger does not have it yet.
            async with shop.a_producer(there) as producer:
                topic = there.topic(ORDER_EVENTS.name)
                await producer.send_and_wait(topic, value=b"{}", key=b"a:b:c", partition=2)
            await known._age()
            assert known.as_of_ms == at_first

            # One partition of another topic is no help; the right one is.
            await _stands(database, STOCK_EVENTS.name, 2)
            await known._age()
            assert known.as_of_ms == at_first
            await _stands(database, ORDER_EVENTS.name, 2)
            await known._age()
            assert known.as_of_ms is not None
            assert known.as_of_ms > at_first
        finally:
            await known._forget_consumer()


async def _stands(database: Database, topic: str, partition: int) -> None:
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO sink_positions (topic, partition, next) VALUES ($1, $2, 1)",
            topic, partition,
        )  # fmt: skip


async def test_without_the_broker_nobody_knows_how_old_the_data_are(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_KAFKA_S", 5.0)
    away = settings.model_copy(update={"kafka": "127.0.0.1:1", "drain_for": timedelta(seconds=1)})
    async with Reads(database.reader) as reads:
        known = Live(away, reads, Leases(away))

        with pytest.raises(BrokerUnavailable):
            await known._age()

        assert known.as_of_ms is None


async def test_of_one_user_only_so_many_pages_are_told_and_the_others_ask_by_themselves(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STREAMS_OF_USER_MAX", 2)
    async with Reads(database.reader) as reads:
        known = Live(settings, reads, Leases(settings))
        streams = [known.told(("sku", f"S{n}"), "mei") for n in range(2)]
        begun = [await anext(each) for each in streams]

        refused = [said async for said in known.told(("sku", "S3"), "mei")]
        another = known.told(("sku", "S3"), "li")

        assert all(said.startswith("event: age") for said in begun)
        assert refused == ["event: full\ndata: 0\n\n"]
        assert (await anext(another)).startswith("event: age")
        for each in (*streams, another):
            await each.aclose()
        # Who goes makes room.
        again = known.told(("sku", "S4"), "mei")
        assert (await anext(again)).startswith("event: age")
        await again.aclose()
        assert not known._open
        assert not known._users
