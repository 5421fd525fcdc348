"""SKU mappings on the real stack: from a person's word to an order that waited and goes on."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from streams.mapping import table
from streams.mapping.table import Wish
from tests.e2e.test_an_order_from_platform_to_ledger import eventually, order_in
from tests.installation import Installation, installation
from tests.integration.databases import ROOT, Database, database, empty  # noqa: F401  fixtures

pytestmark = pytest.mark.stack

NOW = 1_794_355_200_000
SHOP = ("douyin", "listed-shop")
REFERENCE = """
[[shops]]
platform = "douyin"
shop = "listed-shop"
sku_mapping = "listed"
"""
DOUYIN = ROOT / "streams" / "demo" / "payloads" / "douyin" / "order_paid_two_lines.json"


# --- the table ------------------------------------------------------------------------------------


async def write(there: Database, *wishes: Wish, by: str = "mei", dry_run: bool = False) -> Any:
    return await table.write(there.ledger, wishes, by, NOW, dry_run=dry_run)


async def held(there: Database) -> list[tuple[Any, ...]]:
    return [
        (row["theirs"], row["ours"], row["valid_from"], row["valid_to"])
        for row in await table.listed(there.reader, None, None, None, 100)
    ]


async def test_a_mapping_has_its_history_and_a_change_holds_from_now_on(database: Database):
    await write(database, Wish(*SHOP, "T-1", "OLD-RUG", why="listing"))
    done = await write(database, Wish(*SHOP, "T-1", "NEW-RUG", why="relaunch"), by="lin")

    assert [(each.outcome, each.said) for each in done.verdicts] == [("changed", "was OLD-RUG")]
    (_, old, began, ended), (_, new, begins, ends) = await held(database)
    assert (old, began, new, ends) == ("OLD-RUG", None, "NEW-RUG", None)
    assert ended == begins
    assert begins is not None
    assert begins.timestamp() * 1000 == NOW
    story = await table.history(database.reader, *SHOP, "T-1", 10)
    assert [(row["by"], row["why"], row["ours"], row["is_new"]) for row in story] == [
        ("mei", "listing", "OLD-RUG", True),
        ("lin", "relaunch", "OLD-RUG", False),
        ("lin", "relaunch", "NEW-RUG", True),
    ]


async def test_a_dry_run_says_what_would_happen_and_a_bad_row_stops_all(database: Database):
    good, bad = Wish(*SHOP, "T-1", "RUG", why="x"), Wish(*SHOP, "", "RUG", why="x")

    dry = await write(database, good, dry_run=True)
    refused = await write(database, good, bad)

    assert [each.outcome for each in dry.verdicts] == ["mapped"]
    assert [each.outcome for each in refused.verdicts] == ["mapped", "refused"]
    assert not dry.is_written
    assert not refused.is_written
    assert await held(database) == []


async def test_a_sku_that_stands_twice_in_one_file_follows_the_later_row(database: Database):
    await write(
        database, Wish(*SHOP, "T-1", "A", why="x"), Wish(*SHOP, "T-1", "B", from_ms=NOW, why="x")
    )

    assert [row[1] for row in await held(database)] == ["A", "B"]


async def test_twenty_people_at_once_leave_one_mapping_at_every_instant(database: Database):
    await asyncio.gather(
        *(
            write(database, Wish(*SHOP, "T-1", f"RUG-{n % 3}", ever=True, why="x"))
            for n in range(20)
        )
    )

    assert len(await held(database)) == 1


async def test_the_database_itself_refuses_two_mappings_at_once_and_a_rewritten_history(
    database: Database,
):
    await write(database, Wish(*SHOP, "T-1", "RUG", why="x"))
    async with database.connected("ledger") as connection:
        with pytest.raises(asyncpg.ExclusionViolationError):
            await connection.execute(
                "INSERT INTO sku_mappings (platform, shop, theirs, ours, changed_by, changed_why)"
                " VALUES ('douyin', 'listed-shop', 'T-1', 'LAMP', 'x', 'x')"
            )
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute("UPDATE sku_mappings SET ours = 'LAMP'")
        for forbidden in (
            "DELETE FROM sku_mappings",
            "UPDATE sku_mapping_changes SET by = 'x'",
            "DELETE FROM sku_mapping_changes",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)


# --- an order that waits --------------------------------------------------------------------------


def a_listed_shop(house: Installation) -> dict[str, Any]:
    """The shop, and an order of it with two lines that nobody has mapped."""
    file = house.folder / "reference.toml"
    file.write_text(REFERENCE)
    house.orderflow("reference", "apply", str(file))
    return json.loads(DOUYIN.read_text())["data"]["shop_order_detail"]


def feed(house: Installation, body: dict[str, Any], name: str) -> None:
    file = house.folder / f"{name}.json"
    file.write_text(json.dumps({"data": {"shop_order_detail": body}}))
    house.orderflow("feed", str(file), "--platform", "douyin", "--shop", "listed-shop")


def codes(body: dict[str, Any]) -> list[str]:
    """What each line is called there."""
    lines = body["sku_order_list"]
    return [str(line.get("code") or line.get("out_sku_id") or line["sku_id"]) for line in lines]


def map_(house: Installation, theirs: str, ours: str) -> None:
    house.orderflow("sku", "map", *SHOP, theirs, ours, "--why", "found it", "--operator", "mei")


def observed(house: Installation, order_id: str) -> list[str]:
    told = house.answer("explain", "order", order_id)["decisions"]
    return [each["event"].removeprefix("order.") for each in told]


def dies_at(house: Installation, place: str) -> None:
    """Publish, and die there as by kill -9."""
    died = subprocess.run(
        [sys.executable, "-m", "streams.cli", "reference", "publish"],
        env=house.env | {"ORDERFLOW_FAILPOINT": f"{place}:1"},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, (place, died.stderr)


@contextmanager
def publishing(house: Installation) -> Iterator[None]:
    """A publisher that runs on; it ends well when told."""
    with (house.folder / "publisher.log").open("wb") as log:
        publisher = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "reference", "publish", "--every", "0.3"],
            env=house.env,
            cwd=ROOT,
            stderr=log,
        )
        try:
            yield
        finally:
            publisher.send_signal(signal.SIGTERM)
            assert publisher.wait(20) == 0


async def test_an_order_that_waits_for_its_mapping_goes_on_by_itself(tmp_path: Path):
    async with installation(tmp_path) as house:
        body = a_listed_shop(house)
        order_id, theirs = str(body["order_id"]), codes(body)
        with house.running("intake,orders,stock,ledger"):
            for sku in ("RUG", "LAMP"):
                house.orderflow("stock", "receive", sku, "50", "--reason", "delivery")
            feed(house, body, "paid")
            waiting = eventually(order_in(house, order_id, reservation_now="waiting"))
            assert len(waiting["unmapped"]) == 2
            assert house.answer("reference", "publish")["woken"] == []

            # One of two lines: the order still waits for the other, and holds nothing.
            map_(house, theirs[0], "RUG")
            assert house.answer("reference", "publish")["woken"] == [waiting["order_key"]]
            half = eventually(
                lambda: (
                    (seen := house.answer("order", "show", order_id)["order"])["unmapped"]
                    and len(seen["unmapped"]) == 1
                    and seen
                )
            )
            assert half["reservation_now"] == "waiting"
            assert house.answer("stock", "show", "RUG")["balance"]["available"] == 50

            # The publisher dies as by kill -9 after each of its steps, and is started again.
            map_(house, theirs[1], "LAMP")
            for place in ("mapping-published", "mapping-woken"):
                dies_at(house, place)
            house.answer("reference", "publish")

            order = eventually(order_in(house, order_id, reservation="reserved"))
            assert order["unmapped"] == []
            assert observed(house, order_id).count("reserved") == 1
            for sku in ("RUG", "LAMP"):
                balance = house.answer("stock", "show", sku)["balance"]
                assert balance["occupied"] > 0
                assert balance["available"] + balance["occupied"] == 50
            assert house.answer("reference", "publish")["waiting"] == 0
            verdict = house.at_rest(within_s=30)
            assert verdict["ok"], verdict


async def test_a_publisher_that_runs_on_wakes_what_comes_later_and_ends_when_told(tmp_path: Path):
    async with installation(tmp_path) as house:
        body = a_listed_shop(house)
        with publishing(house), house.running("intake,orders,stock,ledger"):
            for sku in ("RUG", "LAMP"):
                house.orderflow("stock", "receive", sku, "50", "--reason", "delivery")
            feed(house, body, "paid")
            order_id = str(body["order_id"])
            eventually(order_in(house, order_id, reservation_now="waiting"))
            for theirs, ours in zip(codes(body), ("RUG", "LAMP"), strict=True):
                map_(house, theirs, ours)
            eventually(order_in(house, order_id, reservation="reserved"))
            assert observed(house, order_id).count("reserved") == 1
