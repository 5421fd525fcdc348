"""
The command line on the real stack, as a person types it: from nothing to an explained order.

One installation and one worker for all of it; the tests go through a shop's first day in order.
"""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams.settings import Settings
from streams.topics import TOPICS
from tests.integration.databases import Database, empty  # noqa: F401  a fixture

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
TAOBAO = ROOT / "streams" / "demo" / "payloads" / "taobao"
UNPAID, PAID = "2771830045518206613", "2771944107739206615"
SHOWN_WITHIN_S = 15.0


class Shell(NamedTuple):
    """Runs `orderflow` for one installation."""

    env: dict[str, str]

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == code, f"{arguments}: {done.stderr}{done.stdout}"
        return done

    def facts(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Return the JSON object on the last line of stdout."""
        said: dict[str, Any] = json.loads(
            self(*arguments, "--json", code=code).stdout.splitlines()[-1]
        )
        return said

    def eventually(self, *arguments: str) -> dict[str, Any]:
        """Ask until the answer is yes: the ledger follows within moments."""
        deadline = time.monotonic() + SHOWN_WITHIN_S
        while time.monotonic() < deadline:
            done = subprocess.run(
                [sys.executable, "-m", "streams.cli", *arguments, "--json"],
                env=self.env,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
                cwd=ROOT,
            )
            if done.returncode == 0:
                said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
                return said
            time.sleep(0.3)
        pytest.fail(f"{arguments}: {done.stderr}")


@pytest.fixture
async def shell(settings: Settings, empty: Database) -> AsyncIterator[Shell]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
    yield Shell({
        **clean,
        "ORDERFLOW_KAFKA": settings.kafka,
        "ORDERFLOW_TOPIC_PREFIX": settings.topic_prefix,
        "ORDERFLOW_PARTITIONS": "2",
        "ORDERFLOW_POSTGRES_OWNER": empty.owner,
        "ORDERFLOW_POSTGRES_LEDGER": empty.ledger,
        "ORDERFLOW_POSTGRES_READER": empty.reader,
    })  # fmt: skip
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        there = await admin.list_topics()
        ours = [settings.topic(topic.name) for topic in TOPICS]
        await admin.delete_topics([name for name in ours if name in there])
    finally:
        await admin.close()


def _worker(shell: Shell, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "worker"],
            env=shell.env,
            stderr=opened,
            cwd=ROOT,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0


def test_a_shops_first_day(shell: Shell, tmp_path: Path) -> None:
    # Nothing is there yet, and the command says what to do.
    assert "orderflow topics apply" in shell("topics", "verify", code=78).stderr
    assert "orderflow topics apply" in shell("reference", "show", code=78).stderr

    # Setting up may be done twice.
    assert len(shell.facts("topics", "apply")["changes"]) == len(TOPICS)
    assert shell.facts("topics", "apply")["changes"] == []
    assert shell.facts("migrate")["applied"]
    assert shell.facts("migrate")["applied"] == []
    assert shell.facts("reference", "apply", "deploy/reference.toml")["published"]
    assert shell.facts("reference", "apply", "deploy/reference.toml")["published"] == []
    assert "shop/taobao/qingyou" in shell.facts("reference", "show")["entries"]

    for worker in _worker(shell, tmp_path / "worker.log"):
        _receives_goods(shell, tmp_path)
        _takes_orders(shell)
        _parks_what_it_cannot_read(shell, tmp_path)
        _keeps_a_log_of_what_is_fed(shell, tmp_path)
        _moves_in_every_way(shell)
        _is_found_in_order(shell, tmp_path)
        assert worker.poll() is None


def _receives_goods(shell: Shell, folder: Path) -> None:
    first = shell.facts(
        "stock", "receive", "BASKET-L", "40", "--reason", "delivery", "--timeout", "60"
    )
    assert (first["ok"], first["available"]) == (True, 40)

    # The same id again moves nothing and gets the same answer.
    again = shell.facts(
        "stock", "receive", "BASKET-L", "40", "--reason", "delivery",
        "--operator", _operator(shell), "--id", first["command"],
    )  # fmt: skip
    assert again["available"] == 40

    refused = shell.facts("stock", "freeze", "BASKET-L", "41", "--reason", "wet", code=1)
    assert refused["refusal"] == "not_enough"
    delivery = folder / "delivery.csv"
    delivery.write_text("sku,quantity\nHOOK-C,10\nBOWL-12,5\n")
    assert shell.facts("stock", "receive", "--file", str(delivery))["received"] == 2
    shown = shell.eventually("stock", "show", "BASKET-L")
    assert shown["balance"]["available"] == 40
    assert shell.facts("stock", "show", "NEVER-SEEN", code=1)["ok"] is False


def _operator(shell: Shell) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import getpass; print(getpass.getuser())"],
        env=shell.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _takes_orders(shell: Shell) -> None:
    files = [str(TAOBAO / name) for name in ("trade_unpaid.json", "trade_paid_two_lines.json")]
    assert shell.facts("feed", *files, "--shop", "qingyou")["messages"] == 2

    order = shell.eventually("order", "show", f"taobao:qingyou:{PAID}")["order"]
    assert order["platform_status"] == "PAID"
    told = _until_told(shell)
    assert [raw["place"].split("/")[0] for raw in told["raw"]] == ["raw-orders-taobao"]
    assert {move["verb"] for move in told["moves"]} == {"hold", "occupy"}
    assert any("every line has its stock" in said["why"] for said in told["decisions"])
    assert "巷口" not in json.dumps(told["raw"], ensure_ascii=False)
    words = shell("explain", "order", PAID).stdout
    assert "What was decided, and why" in words
    assert "BASKET-L no" in words
    assert shell.facts("order", "show", "404", code=1)["ok"] is False


def _until_told(shell: Shell) -> dict[str, Any]:
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while time.monotonic() < deadline:
        told = shell.eventually("explain", "order", PAID)
        if len(told["moves"]) == 4:
            break
        time.sleep(0.3)
    return told


def _parks_what_it_cannot_read(shell: Shell, folder: Path) -> None:
    broken = folder / "broken.json"
    broken.write_text('{"trade": {"tid": ')
    shell("feed", str(broken), "--platform", "taobao", "--shop", "qingyou")
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while time.monotonic() < deadline:
        found = shell.facts("exceptions", "list")
        if found["open"]:
            break
        time.sleep(0.3)
    (parked,) = found["exceptions"]
    assert (parked["cause"], parked["platform"], parked["shop"]) == (
        "unreadable", "taobao", "qingyou",
    )  # fmt: skip
    assert parked["reason"]


def _keeps_a_log_of_what_is_fed(shell: Shell, folder: Path) -> None:
    log = folder / "feed.jsonl"
    fed = shell.facts(
        "feed", "--generate", "40", "--platforms", "taobao", "--duplicates", "20%",
        "--skus", "10", "--scarce", "0", "--receive", "--log", str(log),
    )  # fmt: skip
    lines = [json.loads(line) for line in log.read_text().splitlines()]

    assert fed["orders"] == 40
    assert len(lines) == fed["messages"] == fed["acknowledged"]
    places = {(line["topic"], line["partition"], line["offset"]) for line in lines}
    assert len(places) == len(lines)
    assert {line["step"] for line in lines} >= {"created", "paid"}


def _moves_in_every_way(shell: Shell) -> None:
    """A stocktake below what is held, a quota that ends by itself, parcels, returns, a case."""
    why = ("--reason", "first day")
    short = shell.facts("stock", "count", "BASKET-L", "0", *why)
    assert (short["ok"], short["available"]) == (True, 0)
    listed = shell.eventually("stock", "shortfalls")
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while not listed["shortfalls"] and time.monotonic() < deadline:
        listed = shell.eventually("stock", "shortfalls")
    (row,) = listed["shortfalls"]
    held = row["locked"] + row["occupied"]
    assert (row["sku"], row["shortfall"], row["on_hand"]) == ("BASKET-L", held, 0)
    assert shell.facts("stock", "receive", "BASKET-L", "40", *why)["available"] > 0

    allot = ("stock", "allot", "HOOK-C", "2", *why, "--quota")
    early = shell.facts(*allot, "11-11", "--until", "2020-01-01T00:00:00Z", code=1)
    assert early["refusal"] == "wrong_window"
    assert "zone" in shell(*allot, "11-11", "--until", "2020-01-01", code=2).stderr
    assert shell.facts(*allot, "douyin", "--until", "2999-01-01T00:00:00+08:00")["ok"]
    assert shell.facts("stock", "give-back", "HOOK-C", "1", "--quota", "douyin", *why)["ok"]
    ends = datetime.now(UTC) + timedelta(seconds=8)
    assert shell.facts(*allot, "11-11", "--until", ends.isoformat())["ok"]

    order = f"taobao:qingyou:{PAID}"
    give = ("stock", "return", order, "BASKET-L", "1", *why, "--disposition")
    assert shell.facts(*give, "sellable", code=1)["refusal"] == "not_shipped"
    assert "disposition" in shell(*give, "eaten", code=2).stderr
    assert (
        shell.facts("stock", "settle", order, "paid_but_short", "--choice", "refund", *why, code=1)[
            "refusal"
        ]
        == "case_closed"
    )
    twin = shell.facts("stock", "receive", "basket-\u200bl", "1", *why, code=1)
    assert twin["refusal"] == "misspelt_sku"

    # The window ends by itself, by the sweeper and the log's clock.
    deadline = time.monotonic() + 8 + SHOWN_WITHIN_S
    while time.monotonic() < deadline:
        shown = shell.eventually("stock", "show", "HOOK-C")
        quotas = {quota["quota"]: quota for quota in shown["quotas"]}
        if "11-11" in quotas and quotas["11-11"]["ended_at"]:
            break
        time.sleep(0.3)
    assert (quotas["11-11"]["remains"], quotas["douyin"]["remains"]) == (0, 1)
    assert shown["balance"]["reserved"] == 1


def _is_found_in_order(shell: Shell, folder: Path) -> None:
    """Edits and parcels from the feed, returns of what left; then the check finds nothing."""
    fed = shell.facts(
        "feed", "--generate", "60", "--platforms", "taobao", "--duplicates", "20%",
        "--reorder", "20%", "--cancel", "10%", "--edited", "40%", "--parcels", "60%", "--skus",
        "12", "--scarce", "6", "--receive", "--seed", "9", "--log", str(folder / "second.jsonl"),
    )  # fmt: skip
    steps = [json.loads(line) for line in (folder / "second.jsonl").read_text().splitlines()]
    shipped = [line["order"] for line in steps if line["step"] == "shipped"]
    assert fed["orders"] == 60
    assert {line["step"] for line in steps} >= {"parcel", "shipped"}
    returned = 0
    for order in dict.fromkeys(shipped):
        told = shell.eventually("order", "show", order)
        deadline = time.monotonic() + SHOWN_WITHIN_S
        while told["order"]["status"] != "SHIPPED" and time.monotonic() < deadline:
            told = shell.eventually("order", "show", order)
        sku = told["lines"][0]["sku"]
        give = ("stock", "return", order, sku, "1", "--reason", "too big", "--disposition")
        kind = ("sellable", "frozen", "lost")[returned % 3]
        if told["order"]["reservation"] == "shipped":
            assert shell.facts(*give, kind)["ok"]
            returned += 1
        if returned == 3:
            break
    assert returned == 3
    assert "came back" in shell("explain", "order", order).stdout

    found: dict[str, Any] = {}
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while time.monotonic() < deadline:  # the ledger follows within moments
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", "check", "--json"],
            env=shell.env, capture_output=True, text=True, timeout=90, check=False, cwd=ROOT,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        if found["ok"]:
            break
        time.sleep(1)
    wrong = {id_: one.get("examples") for id_, one in found["invariants"].items() if not one["ok"]}
    assert found["ok"], wrong
    assert found["invariants"]["I6"]["figures"]["returns"] == 3
