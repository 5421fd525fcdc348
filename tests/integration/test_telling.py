"""
Parcels told to their platform by the queue, on the real PostgreSQL and a simulated platform.

Who can be told is said by the sender that has the shops file; what a platform answers decides what
the queue does with it.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.deliveries import BreakerRule, Schedule
from agents.shipments import Told
from schemas.orders import OrderShipped, ShippedLine
from streams.clock import now_ms
from streams.delivering.metrics import Metrics
from streams.delivering.sender import Sender, lease_of
from streams.delivering.store import Store
from streams.exceptions import queue
from streams.shipping.telling import KIND, MEANS, Teller
from tests.integration.at_the_gate import stack_settings
from tests.integration.databases import Database, database, empty  # noqa: F401
from tests.integration.receiving import PATIENT, all_ended, states, told, until
from tests.integration.test_callbacks import a_sender, ended
from tests.platforms.desks import DESKS
from tests.platforms.families import FAMILIES, credentials
from tests.platforms.simulator import Platform

pytestmark = pytest.mark.stack

SHOP = "shanjiao"
THERE = f"douyin:{SHOP}"
#: What a platform asks for is not waited for here.
QUICK = Schedule(first_wait_ms=40, retry_after_max_ms=60)
WITHIN = timedelta(seconds=20)


@asynccontextmanager
async def a_platform() -> AsyncIterator[Platform]:
    async with Platform(FAMILIES["douyin"], 20261111) as there:
        there.faults.fail = there.faults.throttle = 0
        there.desk = DESKS["douyin"]
        there.place(1, there.now_ms() - 300_000)
        yield there


def a_shops_file(folder: Path, there: Platform, **carriers: str) -> Path:
    api = {**credentials(there), "calls_per_s": 500, "calls_at_once": 50}
    lines = [f"{name} = {json.dumps(value)}" for name, value in api.items()]
    own = [f"{name} = {json.dumps(value)}" for name, value in carriers.items()]
    file = folder / "shops.toml"
    file.touch(0o600)
    file.write_text(
        "\n".join(
            [
                "[[shops]]", 'platform = "douyin"', f'shop = "{SHOP}"', "[shops.api]", *lines,
                "[shops.api.carriers]", *own,
            ]
        )
    )  # fmt: skip
    return file


def a_file_without_api(folder: Path) -> Path:
    file = folder / "shops.toml"
    file.touch(0o600)
    file.write_text('[[shops]]\nplatform = "mall"\nshop = "own"\nsecrets = ["0123456789abcdef"]\n')
    return file


def a_parcel(there: Platform, parcel: int, number: str, carrier: str = "SF") -> OrderShipped:
    """Of an order with one line more in it than is in this parcel, until the last."""
    (order_id,) = there.orders
    lines = DESKS["douyin"].lines(there.family.order(order_id, 0, 1))
    (id_, units) = sorted(lines.items())[parcel - 1]
    left = sum(lines.values()) - sum(n for _, n in sorted(lines.items())[:parcel])
    return OrderShipped(
        order=f"{THERE}:{order_id}", version=parcel, at_ms=now_ms(), cause="c",
        platform="douyin", shop=SHOP, order_id=order_id, parcel=parcel, carrier=carrier,
        tracking_number=number,
        lines=(ShippedLine(line_id=id_, sku="X", platform_sku=id_, quantity=units, left=0),),
        earlier=(), left=left, reservation="reserved", command="c", operator="wei",
        reason="packed",
    )  # fmt: skip


def numbers(there: Platform) -> list[str]:
    return [each.number for some in there.parcels.values() for each in some]


@asynccontextmanager
async def telling(
    database: Database, file: Path, rule: Schedule = QUICK, breaker: BreakerRule = PATIENT
) -> AsyncIterator[Teller]:
    """A sender at work that has *file*."""
    stop = asyncio.Event()
    async with (
        Store(database.callbacks, lease_of(WITHIN), breaker) as store,
        Teller(store, file, WITHIN.total_seconds()) as teller,
    ):
        await teller.introduce()
        sender = Sender(
            store, teller.kinds, rule, Metrics(), answer_within=WITHIN,
            look_every=timedelta(seconds=0.05), keep=timedelta(days=30),
        )  # fmt: skip
        task = asyncio.ensure_future(sender.run(stop))
        try:
            yield teller
        finally:
            stop.set()
            await task


async def outcomes(database: Database) -> list[str]:
    rows = await database.rows("SELECT outcome FROM delivery_attempts ORDER BY at, attempt")
    return [str(outcome) for (outcome,) in rows]


async def standing(database: Database) -> list[tuple[Any, ...]]:
    return await database.rows("SELECT kind, id, host, standing FROM delivery_destinations")


def test_every_verdict_means_something_to_the_queue() -> None:
    assert set(MEANS) == set(Told)


async def test_a_parcel_is_queued_once_for_a_shop_that_can_be_told_and_for_no_other(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there:
        host = f"127.0.0.1:{there.port}"
        first = a_parcel(there, 1, "SF10010001")
        # Nobody has said that this shop can be told.
        await told(database, first)
        assert await states(database) == {}

        async with telling(database, a_shops_file(tmp_path, there)):
            assert await standing(database) == [(KIND, THERE, host, "active")]
            await told(database, first)
            await until(lambda: all_ended(database))
            # Its keeper says it again.
            await told(database, first)
            await until(lambda: all_ended(database))
        assert numbers(there) == ["SF10010001"]

        # Its API access is taken away, and given back.
        async with telling(database, a_file_without_api(tmp_path)):
            assert await standing(database) == [(KIND, THERE, host, "gone")]
            await told(database, a_parcel(there, 2, "SF10010002"))
        assert await states(database) == {"delivered": 1}
        async with telling(database, a_shops_file(tmp_path, there)):
            assert await standing(database) == [(KIND, THERE, host, "active")]

    [row] = await database.rows("SELECT kind, destination, lane, message, about FROM deliveries")
    assert row == (KIND, THERE, first.order, f"{first.order}/1", "order.shipped")


async def test_a_parcel_that_is_refused_is_parked_at_once_and_holds_up_no_other(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there, telling(database, a_shops_file(tmp_path, there)) as teller:
        # Nobody has confirmed what this platform calls that carrier.
        await told(
            database, a_parcel(there, 1, "DPK1", carrier="DBL"), a_parcel(there, 2, "SF10010002")
        )
        await until(lambda: all_ended(database))

        assert await outcomes(database) == ["declined", "taken"]
        assert numbers(there) == ["SF10010002"]
        [row] = (await queue.listed(database.reader, queue.Kind(stage="push"), 10)).exceptions
        assert (row["cause"], row["platform"], row["shop"]) == ("not_delivered", "douyin", SHOP)
        assert "[shops.api.carriers]" in row["reason"]

        a_shops_file(tmp_path, there, DBL="yuantong")
        assert teller.read_again()
        [done] = await queue.retry(
            stack_settings(""), database.operations, [row["id"]], "mei", "corrected"
        )
        assert done.outcome == "retried"
        await until(lambda: all_ended(database))

    assert sorted(numbers(there)) == ["DPK1", "SF10010002"]
    assert await states(database) == {"delivered": 2}


async def test_refused_credentials_park_nothing_and_are_read_anew(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there:
        file = a_shops_file(tmp_path, there)
        right = file.read_text()
        file.write_text(right.replace(credentials(there)["access_token"], "expired"))
        async with telling(database, file, QUICK._replace(attempts_max=2)):
            await told(database, a_parcel(there, 1, "SF10010001"))

            async def has_waited() -> bool:
                return len(await outcomes(database)) > 3

            await until(has_waited)
            # More often than a delivery is tried, and not one attempt is used up.
            assert await states(database) == {"waiting": 1}
            assert (await database.rows("SELECT DISTINCT attempt FROM delivery_attempts")) == [(1,)]

            file.write_text(right)
            await until(lambda: all_ended(database))

    assert set((await outcomes(database))[:-1]) == {"denied"}
    assert numbers(there) == ["SF10010001"]


async def test_a_platform_that_is_down_is_left_alone_by_all_senders_and_then_told_in_order(
    database: Database, tmp_path: Path
) -> None:
    async with a_platform() as there:
        there.faults.down = True
        async with telling(
            database, a_shops_file(tmp_path, there), QUICK._replace(attempts_max=20),
            BreakerRule(after=3, for_ms=300),
        ):  # fmt: skip
            await told(database, a_parcel(there, 1, "SF10010001"), a_parcel(there, 2, "SF10010002"))
            open_ = "SELECT host FROM delivery_hosts WHERE circuit <> 'closed'"

            async def is_open() -> bool:
                return await database.rows(open_) == [(f"127.0.0.1:{there.port}",)]

            await until(is_open)
            there.faults.down = False
            await until(lambda: all_ended(database))

    assert numbers(there) == ["SF10010001", "SF10010002"]
    assert await states(database) == {"delivered": 2}
    assert set(await outcomes(database)) == {"away", "taken"}
    # Well again, it has no row.
    assert await database.rows("SELECT host FROM delivery_hosts") == []


async def test_a_sender_runs_with_a_shops_file_that_has_no_api(
    database: Database, tmp_path: Path
) -> None:
    sender = a_sender(database, ORDERFLOW_SHOPS_FILE=str(a_file_without_api(tmp_path)))
    try:

        async def is_at_work() -> bool:
            return bool(
                await database.value(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'orderflow-callbacks'"
                    " AND datname = current_database()"
                )
            )

        await until(is_at_work)
        assert sender.poll() is None
    finally:
        await ended(sender)
