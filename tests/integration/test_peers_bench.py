"""`make bench` on the real stack, small: three cheap peers, and what is never a figure."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from schemas.errors import Unavailable
from streams.bench.commands import holds
from streams.bench.reserve import CountsDiffer, Run
from streams.settings import Settings
from tests.bench import postgres
from tests.bench.comparing import Job, Tally, compare
from tests.bench.peer import Peer, program
from tests.bench.peers import PEERS, PLAIN
from tests.bench.ways.postgres import RESERVE
from tests.integration.conftest import ROOT, _addresses

pytestmark = pytest.mark.stack

AIOKAFKA = next(peer for peer in PEERS if peer.name == "aiokafka")
CHEAP = ("orderflow", "aiokafka", "postgres-8")
#: A loop that tells the public of one unit more than the order holds.
WRONG = """
import asyncio
from tests.bench.ways import aiokafka_loop as loop

right = loop.decide

def decide(rows, command, at_ms):
    decided = right(rows, command, at_ms)
    if decided.event and command.get("order", "").endswith("99"):
        decided.event["quantity"] += 1
    return decided

loop.decide = decide
asyncio.run(loop.main())
"""


def stack() -> dict[str, str]:
    """What a command needs to find the stack."""
    found = _addresses()
    if "ORDERFLOW_KAFKA" not in found:
        pytest.fail("The stack is not there: `make up`.")
    return found


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench", *args]


def a_peer(name: str, measure: Any, **more: Any) -> Peer:
    return Peer(name=name, title=name, crash="", records=400, measure=measure, **more)


def test_three_peers_do_the_same_job_and_every_order_is_counted():
    done = subprocess.run(
        command("--peers", ",".join(CHEAP), "--runs", "1", "--share", "0.02", "--json"),
        env={**os.environ, **stack()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    assert [each["name"] for each in figures["peers"]] == list(CHEAP)
    assert figures["not_measured"] == figures["refused"] == []
    for each in figures["peers"]:
        assert each["rate"] > 0
        assert each["ratio"] > 0
        assert each["crash"]


async def test_a_peer_that_moves_a_unit_too_many_has_no_figure_and_the_others_have(tmp_path: Path):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    wrong = a_peer("wrong", program("wrong", sys.executable, str(path), topics=PLAIN))
    right = a_peer("right", AIOKAFKA.measure)
    job = Job(peers=(wrong, right), runs=1)
    tally = Tally(job.peers)

    figures = await compare(Settings(kafka=stack()["ORDERFLOW_KAFKA"]), job, tally, lambda _: None)

    assert [each["name"] for each in figures["peers"]] == ["right"]
    assert figures["refused"] == ["wrong"]
    (gone,) = figures["not_measured"]
    assert "units were asked for" in gone["reason"]


async def test_a_hold_that_moved_no_stock_is_found_in_postgres(settings: Settings):
    owner = SecretStr(stack()["ORDERFLOW_POSTGRES_OWNER"])
    around = settings.model_copy(update={"postgres_owner": owner})
    async with postgres.database(around) as dsn:
        await postgres.stocked(dsn, 1)
        connection = await asyncpg.connect(dsn)
        try:
            for each in holds(0, 2, 1):
                words = (each.sku, each.order, each.quantity, each.deadline_ms, each.cause)
                await connection.fetchval(RESERVE, *words)
            await postgres.verify("whole", dsn, 2, 1)
            await connection.execute("UPDATE stock SET locked = locked - 1")
        finally:
            await connection.close()

        with pytest.raises(CountsDiffer, match="do not add up"):
            await postgres.verify("torn", dsn, 2, 1)


async def test_one_bad_run_takes_the_figures_of_the_good_ones_too():
    told: list[str] = []

    async def at_times(*_: Any) -> Run:
        if told:
            raise Unavailable("It fell over.")
        told.append("once")
        return Run(1000.0, 10.0, 10.0, 10.0)

    job = Job(peers=(a_peer("at times", at_times),), runs=2)
    settings = Settings(kafka=stack()["ORDERFLOW_KAFKA"])

    figures = await compare(settings, job, Tally(job.peers), lambda _: None)

    assert told
    assert figures["peers"] == []
    assert figures["not_measured"][0]["reason"] == "It fell over."


async def test_an_interrupted_run_reports_nothing_and_leaves_nothing_behind(tmp_path: Path):
    said, words, code = await asyncio.to_thread(_interrupted, tmp_path / "said")

    assert code == 130
    assert "there is no figure" in words
    assert said == ""
    assert list(_loops()) == []
    admin = AIOKafkaAdminClient(bootstrap_servers=stack()["ORDERFLOW_KAFKA"])
    await admin.start()
    try:
        assert [name for name in await admin.list_topics() if "bench-peers-" in name] == []
    finally:
        await admin.close()


def _interrupted(said: Path) -> tuple[str, str, int]:
    """Start a long run, end it in the middle; return what it said on both streams, and its code."""
    with said.open("w") as out:
        bench = subprocess.Popen(
            command("--peers", "aiokafka", "--share", "5", "--json"),
            env={**os.environ, **stack()},
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert _wait_for(lambda: list(_loops()), 60), "nothing was started"
            bench.send_signal(signal.SIGTERM)
            _, words = bench.communicate(timeout=90)
        finally:
            bench.kill()
            bench.wait()
    return said.read_text(), words, bench.returncode


def _loops() -> Iterator[int]:
    """The processes of the plain loop that this stack's bench has started."""
    kafka = stack()["ORDERFLOW_KAFKA"].encode()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"tests.bench.ways.aiokafka_loop" in words and kafka in words:
            yield int(line.parent.name)


def _wait_for(found: Any, seconds: float) -> Any:
    until = time.monotonic() + seconds
    while not (seen := found()) and time.monotonic() < until:
        time.sleep(0.1)
    return seen
