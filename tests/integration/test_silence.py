"""Silence as the ledger knows it, and as the command tells it."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from cloudevents.v1.kafka import KafkaMessage, from_binary

from streams.contract import schemas
from streams.topics import CHANNEL_EVENTS
from tests.integration.at_the_gate import everything_on
from tests.integration.databases import ROOT, Database, database, empty  # noqa: F401  fixtures
from tests.integration.polling import Ground, Polled, some_ground, until
from tests.platforms.families import FAMILIES
from tests.platforms.simulator import Platform

pytestmark = pytest.mark.stack


def silence(there: Database, at: str, code: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "silence", "--at", at, "--json"],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")},
            "ORDERFLOW_KAFKA": "127.0.0.1:1",
            "ORDERFLOW_POSTGRES_READER": there.reader,
        },
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


async def test_t41_a_channel_that_stops_is_told_by_the_command(database: Database):
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,"
            " received_at, reservation, ignored, first_received_at, first_written_at, written_at)"
            " SELECT shop || n, 1, 1, at, 'taobao', shop, n::text, at, 'reserved', 0, at, at, at"
            " FROM (VALUES ('lamps', '2026-11-11T12:00Z'::timestamptz),"
            " ('rugs', '2026-11-11T14:59Z'::timestamptz)) AS shops (shop, until),"
            " generate_series(0, 8 * 7 * 24 * 10) AS n,"
            " LATERAL (SELECT until - n * interval '6 minutes' AS at) AS moments"
        )

    now = silence(database, "2026-11-11T15:00:00+00:00", code=1)

    assert [(each["shop"], each["state"]) for each in now["channels"]] == [
        ("lamps", "silent"), ("rugs", "talking"),
    ]  # fmt: skip
    assert 29 <= now["channels"][0]["expected"] <= 31
    assert silence(database, "2026-11-11T12:10:00+00:00", code=0)["silent"] == 0


async def some_weeks(database: Database, shop: str, until: datetime) -> None:
    """An order each six minutes, up to then."""
    async with database.connected() as connection:
        await connection.execute(
            "INSERT INTO orders (order_key, version, facets, changed_at, platform, shop, order_id,"
            " received_at, reservation, ignored, first_received_at, first_written_at, written_at)"
            " SELECT $1::text || $2::timestamptz::text || n, 1, 1, at, 'taobao', $1, n::text,"
            " at, 'reserved', 0, at, at, at FROM generate_series(0, 8 * 7 * 24 * 10) AS n,"
            " LATERAL (SELECT $2::timestamptz - n * interval '6 minutes' AS at) AS moments",
            shop, until,
        )  # fmt: skip


async def told(ground: Ground) -> list[dict[str, Any]]:
    """What stands on channel-events, as the standard's own library reads it."""
    found = []
    for record in await everything_on(ground.settings, CHANNEL_EVENTS.name):
        message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
        event = from_binary(message)
        data = json.loads(record.value)
        jsonschema.Draft202012Validator(schemas()[event["type"]]).validate(data)
        assert event["source"] == "/orderflow/channels"
        assert record.key == f"{data['platform']}/{data['shop']}".encode()
        found.append(data | {"id": event["id"]})
    return found


async def is_silent(polled: Polled, shop: str) -> float | None:
    """What the gauge says of a shop; None while nobody answers."""
    url = f"http://127.0.0.1:{polled.port}/metrics"
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            page = await answer.text()
    except aiohttp.ClientError:
        return None
    met = re.search(
        rf'^orderflow_channel_silent{{platform="taobao",shop="{shop}"}} (\S+)$', page, re.MULTILINE
    )
    return None if met is None else float(met[1])


async def test_t41_a_silence_is_told_at_its_beginning_and_at_its_end_whatever_dies_between(
    database: Database, tmp_path: Path
):
    now = datetime.now(UTC)
    await some_weeks(database, "lamps", now - timedelta(hours=3))
    await some_weeks(database, "rugs", now)
    async with some_ground(database, tmp_path) as ground, Platform(FAMILIES["shopify"], 1) as there:
        ground.open([there])

        with ground.polling() as polled:
            await until(lambda: _is_not(polled, "lamps", 1.0), 60, lambda _: polled.log.read_text())
            assert await is_silent(polled, "rugs") == 0
            await until(lambda: _fewer_told(ground, 1), 60, lambda _: polled.log.read_text())
            polled.kill()
        (silent,) = await told(ground)
        assert (silent["event"], silent["shop"]) == ("channel.silent", "lamps")
        assert 29 <= silent["expected_orders"] <= 31

        # Started again it tells nothing twice. Had it died before it noted that the broker has it,
        # it tells it under the same id.
        for again in (1, 2):
            with ground.polling() as polled:
                await until(lambda p=polled: _is_not(p, "lamps", 1.0), 60, lambda _: "no gauge")
                assert {each["id"] for each in await told(ground)} == {silent["id"]}
                assert len(await told(ground)) == again
                polled.kill()
            await database.rows(
                "UPDATE channel_silences SET told_began_at = NULL WHERE ended_at IS NULL"
                " AND $1 = 1 RETURNING 1", again,
            )  # fmt: skip

        await some_weeks(database, "lamps", datetime.now(UTC))
        with ground.polling() as polled:
            await until(lambda: _is_not(polled, "lamps", 0.0), 60, lambda _: polled.log.read_text())
            await until(lambda: _fewer_told(ground, 3), 60, lambda _: polled.log.read_text())
        *_, talking = sorted(await told(ground), key=lambda each: each["id"] != silent["id"])

    assert (talking["event"], talking["by"]) == ("channel.talking", "order")
    assert talking["silence"] == silent["silence"]
    assert talking["began_ms"] == silent["at_ms"] < talking["at_ms"]
    (row,) = await database.rows("SELECT ended_at IS NOT NULL, by_order FROM channel_silences")
    assert row == (True, True)


async def _is_not(polled: Polled, shop: str, silent: float) -> bool:
    return await is_silent(polled, shop) != silent


async def _fewer_told(ground: Ground, count: int) -> bool:
    return len(await told(ground)) < count
