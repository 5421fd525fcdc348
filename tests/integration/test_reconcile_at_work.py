"""
The reconciler beside a system at work: no false alarm; and a drift of the keeper itself, from the
first alarm to the confirmed adjustment, with the commands a person types.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from agents.frames import POSITION_BYTES
from streams.reconciling.keepers import Keepers
from tables import stock
from tests.installation import Installation, installation
from tests.integration.databases import ROOT
from tests.integration.selling import a_redis
from tests.integration.shop import home

pytestmark = pytest.mark.stack

ROLES = "intake,orders,stock,ledger,availability"


async def spoil_the_keeper(house: Installation, by: int) -> str:
    """Give a SKU's row in the stopped keeper *by* units more, and forget the snapshots."""
    for file in (house.folder / "snapshots").rglob("*"):
        if file.is_file():
            file.unlink()
    async with Keepers(house.settings) as keepers:
        await keepers.follow()
        rows = dict(keepers._rows("stock"))
        key = min(k for k, row in rows.items() if isinstance(row, stock.Stock) and row.available)
        sku = key.decode()
        partition = home(house.settings, sku)
        at = keepers._parts["stock", partition].state_record[:POSITION_BYTES]
    altered = replace(rows[key], available=rows[key].available + by)
    producer = AIOKafkaProducer(bootstrap_servers=house.settings.kafka, acks="all")
    await producer.start()
    await producer.send_and_wait(
        house.settings.topic("stock-changelog"),
        at + stock.TABLE.encode_row(altered),
        key,
        partition=partition,
    )
    await producer.stop()
    return sku


def metric(port: int, name: str, wanted: float, within_s: float = 20) -> None:
    """Wait until the reconciler tells *wanted*."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            page = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read().decode()
        except (URLError, OSError):
            page = ""
        for line in page.splitlines():
            if line == f"{name} {wanted:.1f}":
                return
        time.sleep(0.2)
    raise AssertionError(f"{name} was not {wanted}")


def while_it_works(house: Installation) -> None:
    """Look again and again while orders are fed: nothing may be found."""
    feeding = subprocess.Popen(
        [
            sys.executable, "-m", "streams.cli", "feed", "--generate", "300", "--rate", "50",
            "--receive", "--skus", "20", "--cancel", "20%", "--duplicates", "5%",
            "--abandon", "10%", "--edited", "10%",
        ],
        env=house.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    looks = []
    while feeding.poll() is None:
        looks.append(house.answer("reconcile", "--once"))
    assert feeding.returncode == 0
    assert len(looks) >= 3
    assert [look["drifts"] for look in looks] == [[]] * len(looks)
    rest = house.answer("reconcile")
    assert rest["entries"] > 500
    assert (rest["behind"], rest["skipped"]) == ({}, {})


@contextmanager
def watched(house: Installation) -> Iterator[int]:
    """Let the reconciler run beside the house; give the port of its metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    watching = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "reconcile", "--every", "500ms"],
        env=house.env | {"ORDERFLOW_HEALTH_PORT": str(port)},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        watching.terminate()
        assert watching.wait(20) == 0


def set_right(house: Installation, sku: str) -> dict[str, Any]:
    """Confirm the one drift there is, by its id; return it."""
    (drift,) = house.answer("reconcile", code=1)["drifts"]
    assert (drift["sku"], drift["amount"], drift["delta"]) == (sku, 5, -5)
    said = ("--reason", "counted twice", "--operator", "mei")

    house.orderflow("reconcile", "confirm", str(drift["id"]), *said)

    assert house.answer("reconcile")["ok"]
    refused = house.answer("reconcile", "confirm", str(drift["id"]), *said, code=1)
    assert "is ended: confirmed" in refused["why"]
    return dict(drift)


async def test_a_system_at_work_has_no_drift_and_the_keepers_own_is_adjusted_once(
    tmp_path: Path,
) -> None:
    async with a_redis(tmp_path) as redis, installation(tmp_path) as house:
        house.env["ORDERFLOW_REDIS"] = redis.url
        with house.running(ROLES):
            while_it_works(house)
        before = datetime.now(UTC).isoformat()
        sku = await spoil_the_keeper(house, by=5)

        with house.running(ROLES), watched(house) as port:
            metric(port, 'orderflow_drift_open{kind="postgres"}', 1)
            drift = set_right(house, sku)
            metric(port, 'orderflow_drift_open{kind="postgres"}', 0)

        verdict = house.answer("ledger", "verify")
        assert (verdict["bad"], verdict["corrected"]) == (0, 1)
        then = house.answer("explain", "sku", sku, "--at", before)
        now = house.answer("explain", "sku", sku)
        assert then["entries_later"] == 1
        assert then["fault"] == now["fault"] is None
        assert then["balance"]["available"] == now["balance"]["available"]
        assert now["moves"][-1]["verb"] == "adjust_down"
        assert f"of mei: drift {drift['id']}: counted twice" in now["moves"][-1]["because"][1]
        words = house.orderflow("explain", "sku", sku, "--at", before)
        assert "the chain is whole up to there" in words
        assert "raw-orders-" in words
        assert "HoldStock for" in words
        assert "order.reserved" in words
