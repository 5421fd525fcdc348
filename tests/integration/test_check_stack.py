"""
The check on the real Kafka and PostgreSQL: a day in order, then broken where it is kept.
"""

import secrets
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import json
from pydantic import SecretStr

from agents.ledger import LEDGER_TOPICS
from schemas.errors import BrokerUnavailable, Misconfigured
from streams.check import Report, render, run
from streams.engine.admin import apply
from streams.postgres.ledger import PostgresLedger
from streams.postgres.sink import LedgerSink
from streams.settings import Settings
from streams.topics import TOPICS
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.rules.test_check_world import Evidence, a_day

pytestmark = pytest.mark.stack
DAY = a_day()


async def publish(settings: Settings, day: Evidence) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, acks="all")
    await producer.start()
    try:
        for (topic, partition), records in day.logs.items():
            for record in records:
                await producer.send(
                    settings.topic(topic),
                    record.value,
                    record.key,
                    partition=partition,
                    headers=list(record.headers),
                )
        await producer.flush()
    finally:
        await producer.stop()


async def write(database: Database, day: Evidence) -> None:  # noqa: F811  the fixture
    frames = {place: log for place, log in day.logs.items() if place[0] in LEDGER_TOPICS}
    ledger = PostgresLedger(database.ledger)
    sink = LedgerSink(ledger)
    await sink.starts(frames)
    await sink.put(sink.prepare(frames))
    await ledger.close()


@pytest.fixture
async def shop(settings: Settings, database: Database) -> AsyncIterator[Settings]:  # noqa: F811
    mine = settings.model_copy(
        update={
            "topic_prefix": f"chk{secrets.token_hex(4)}-",
            "partitions": 2,
            "postgres_ledger": SecretStr(database.ledger),
            "postgres_reader": SecretStr(database.reader),
        }
    )
    await apply(mine)
    yield mine
    admin = AIOKafkaAdminClient(bootstrap_servers=mine.kafka)
    await admin.start()
    await admin.delete_topics([mine.topic(topic.name) for topic in TOPICS])
    await admin.close()


def violated(report: Report) -> set[str]:
    return {finding.id for finding in report.invariants if finding.violations}


async def test_a_day_in_order_is_found_in_order_and_broken_rows_are_named(
    shop: Settings,
    database: Database,  # noqa: F811
    tmp_path: Path,
) -> None:
    await publish(shop, DAY)
    await write(database, DAY)
    log = tmp_path / "feed.jsonl"
    line = {
        "topic": shop.topic("raw-orders-taobao"),
        "partition": 0,
        "offset": 0,
        "step": "created",
    }
    log.write_bytes(json.encode(line) + b"\n")

    report = await run(shop, feed_log=log, now_ms=DAY.now_ms)

    assert report.ok, "\n".join(render(report))
    assert report.as_json()["invariants"]["I7.postgres"]["figures"]["order_events"] == len(
        DAY.tables["order_events"]
    )
    assert report.as_json()["invariants"]["feed"]["figures"]["found"] == 1
    assert render(report)[-1].startswith("every invariant holds")

    async with database.connected() as connection:
        await connection.execute("UPDATE stock SET available = available + 1 WHERE sku = 'RUG'")
        await connection.execute("DELETE FROM order_events WHERE event = 'order.case'")
        await connection.execute("GRANT DELETE ON stock_ledger TO PUBLIC")

    report = await run(shop, now_ms=DAY.now_ms)

    assert not report.ok
    assert violated(report) == {"I1.postgres", "I7.postgres", "I13.postgres"}
    assert "NOT every invariant holds" in render(report)[-1]


async def test_a_lost_letter_on_the_real_topics_is_named(
    shop: Settings,
) -> None:
    day = deepcopy(DAY)
    day.logs["stock-events", 0].pop(0)
    await publish(shop, day)

    report = await run(shop, without_postgres=True, now_ms=day.now_ms)

    assert not report.ok
    assert {"I1", "I7"} <= violated(report)


async def test_without_an_address_of_postgres_the_answer_is_no_unless_that_was_asked(
    shop: Settings,
) -> None:
    await publish(shop, DAY)
    nowhere = {"postgres_owner": None, "postgres_ledger": None, "postgres_reader": None}
    blind = shop.model_copy(update=nowhere)

    report = await run(blind, now_ms=DAY.now_ms)
    asked = await run(blind, without_postgres=True, now_ms=DAY.now_ms)

    assert not report.ok
    assert {f.id for f in report.invariants if f.status == "skipped"} == {
        "I1.postgres", "T21.postgres", "I5.postgres", "I7.postgres", "I8.postgres",
        "I12.postgres", "I13.postgres",
    }  # fmt: skip
    assert asked.ok


async def test_missing_topics_and_a_missing_broker_are_said_in_one_sentence(
    settings: Settings,
) -> None:
    with pytest.raises(Misconfigured, match="run `orderflow topics apply` first"):
        await run(settings, without_postgres=True)
    nowhere = settings.model_copy(update={"kafka": "127.0.0.1:1"})
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        await run(nowhere, without_postgres=True)
