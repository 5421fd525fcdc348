"""A plan is a function of a name and a seed; a line does what it is told; poison is poison."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import asyncpg
import pytest
import typer
from aiokafka.admin import AIOKafkaAdminClient
from typer.testing import CliRunner

from schemas.errors import Rejected
from streams.adapters import ADAPTERS
from streams.chaos import act, plans
from streams.chaos.faults import FAULTS
from streams.chaos.links import Link, produces
from streams.cli import breaking
from streams.engine.failpoints import NAMES
from streams.feed import poison
from tests.integration.conftest import _addresses
from tests.integration.databases import ROOT

#: Where those that keep the house's word can be told to die.
NAMES_OF_THE_KEEPING = {
    name for name in NAMES if name.startswith(("keeper", "intake", "ledger", "gateway"))
}


@pytest.mark.parametrize("plan", ["slice", "whole", "deep", "soak"])
def test_a_plan_is_a_function_of_its_name_and_seed(plan: str) -> None:
    assert plans.parts(plan, 7, 600) == plans.parts(plan, 7, 600)
    assert plans.parts(plan, 7, 600) != plans.parts(plan, 8, 600)


def test_whole_has_every_fault_once_and_the_slices_meet_all_of_their_kinds() -> None:
    (whole,) = plans.parts("whole", 3)
    assert sorted(step.fault for step in whole.steps) == sorted(FAULTS)
    assert whole.seconds <= 15 * 60
    met = {step.fault for seed in range(200) for step in plans.parts("slice", seed)[0].steps}
    assert met == NAMES_OF_THE_KEEPING | {
        "kill", "kill-keepers", "stop-9", "broker-kill", "broker-away-6", "kafka-reset",
        "sends-cut", "postgres-restart", "postgres-kill", "postgres-reset", "redis-emptied",
    }  # fmt: skip


def test_every_failpoint_of_the_keeping_is_a_fault() -> None:
    assert set(FAULTS) >= NAMES_OF_THE_KEEPING


def test_an_unknown_fault_is_named_and_nothing_is_started() -> None:
    with pytest.raises(plans.UnknownPlan, match="brokr-kill"):
        plans.parts("kill,brokr-kill", 1)


def test_every_kind_of_poison_is_refused_by_the_adapter() -> None:
    supply = list(islice(poison.messages(5), 3 * len(poison.kinds())))
    for message in supply:
        with pytest.raises(Rejected):
            ADAPTERS[message.platform].parse(message.value, message.shop)
    assert {message.about["kind"] for message in supply} == {
        f"poison, {kind}" for kind in poison.kinds()
    }


def test_a_fault_that_did_not_hit_or_poison_that_vanished_is_no_yes() -> None:
    played = {
        "faults": [{"outcome": "struck"}],
        "fed": {"messages": 10, "acknowledged": 10},
        "rest_s": 1.0,
        "poison": 2,
        "calm": False,
        "foreign_writes": 0,
    }
    calm = played | {"calm": True}
    right = {"ok": True, "complete": True, "against": []}
    assert act.judged(played, 2, 7, holds=True) == right
    assert act.judged(calm, 2, 0, holds=True) == right
    for spoilt, parked, repeats, holds in (
        (played, 1, 0, True),
        (played, 2, 0, False),
        (played | {"rest_s": None}, 2, 0, True),
        (played | {"faults": [{"outcome": "missed"}]}, 2, 0, True),
        (played | {"faults": [{"outcome": "wrong"}]}, 2, 0, True),
        (played | {"fed": {"messages": 10, "acknowledged": 9}}, 2, 0, True),
        # Nobody ended, and something was said twice all the same.
        (calm, 2, 1, True),
        (calm | {"foreign_writes": 1}, 2, 0, True),
    ):
        assert not act.judged(spoilt, parked, repeats, holds=holds)["ok"]
    skipped = act.judged(played | {"faults": [{"outcome": "skipped"}]}, 2, 0, holds=True)
    assert skipped["ok"]
    assert not skipped["complete"]


def test_a_deep_run_goes_on_where_it_was_left(tmp_path: Path) -> None:
    results = tmp_path / "deep.jsonl"
    for part, ok in (("deep-1", True), ("deep-2", False)):
        faults = [{"fault": "kill"}]
        act.remember(
            results, {"part": part, "seed": 5, "commit": "abc", "ok": ok, "faults": faults}
        )
    assert act.known(results) == {("deep-1", 5, "abc", ("kill",))}


# --- Lines ---------------------------------------------------------------------------------------


async def _echo() -> tuple[asyncio.Server, list[bytes]]:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            heard.append(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0), heard


async def test_a_line_passes_on_what_it_is_given_and_counts_it() -> None:
    server, heard = await _echo()
    async with server, Link("echo", server.sockets[0].getsockname()) as link:
        reader, writer = await asyncio.open_connection(*link.address)
        writer.write(b"BEGIN; ")
        assert await reader.readexactly(7) == b"BEGIN; "
        async with link.slow(0.01):
            writer.write(b"COMMIT;")
            assert await reader.readexactly(7) == b"COMMIT;"
        assert b"".join(heard) == b"BEGIN; COMMIT;"
        assert (link.bytes, link.cut, link.resets) == (28, 0, 0)
        writer.close()


async def test_a_silent_line_loses_nothing() -> None:
    server, heard = await _echo()
    async with server, Link("echo", server.sockets[0].getsockname()) as link:
        reader, writer = await asyncio.open_connection(*link.address)
        async with link.silent():
            writer.write(b"hello")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.2)
            assert not heard
        assert await reader.readexactly(5) == b"hello"
        writer.close()


@pytest.mark.parametrize(("when", "reaches"), [("before", False), ("after", True)])
async def test_a_commit_is_cut_before_the_server_hears_it_or_after(
    when: str, reaches: bool
) -> None:
    server, heard = await _echo()
    async with Link("echo", server.sockets[0].getsockname()) as link:
        reader, writer = await asyncio.open_connection(*link.address)
        link.cut_next("before" if when == "before" else "after")
        writer.write(b"COMMIT;")
        with pytest.raises(OSError):
            await asyncio.wait_for(reader.readexactly(7), 10)
        await asyncio.wait_for(link.all_cut.wait(), 10)
        server.close()
        await server.wait_closed()
        assert (link.cut, b"".join(heard)) == (1, b"COMMIT;" if reaches else b"")


async def test_a_line_to_the_broker_is_cut_in_what_is_to_be_appended_and_in_nothing_else() -> None:
    server, heard = await _echo()
    address = server.sockets[0].getsockname()
    asks, appends = b"\0\0\0\x02\0\x03", b"\0\0\0\x02\0\0"
    async with server, Link("Kafka", address, counts=produces) as link:
        reader, writer = await asyncio.open_connection(*link.address)
        link.cut_next("before")
        writer.write(asks)
        assert await reader.readexactly(6) == asks
        writer.write(appends)
        with pytest.raises(OSError):
            await asyncio.wait_for(reader.readexactly(6), 10)
        assert (link.cut, heard) == (1, [asks])


async def test_a_reset_ends_every_connection() -> None:
    server, _ = await _echo()
    async with server, Link("echo", server.sockets[0].getsockname()) as link:
        reader, writer = await asyncio.open_connection(*link.address)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert link.reset() > 0
        with pytest.raises(OSError):
            await asyncio.wait_for(reader.readexactly(1), 10)


# --- The command ---------------------------------------------------------------------------------


def test_the_faults_are_listed() -> None:
    app = typer.Typer()
    breaking.add_to(app)

    listed = json.loads(CliRunner().invoke(app, ["--list", "--json"]).stdout)

    assert listed == {name: fault.does for name, fault in FAULTS.items()}


def test_machines_share_a_deep_run_by_its_parts() -> None:
    deep = plans.parts("deep", 7)

    assert plans.chosen(deep, [5, 3]) == [deep[2], deep[4]]
    assert plans.chosen(deep, []) == deep
    with pytest.raises(plans.UnknownPlan, match="no part 9; this plan has 8"):
        plans.chosen(deep, [1, 9])


def test_a_plan_that_does_not_exist_is_refused() -> None:
    app = typer.Typer()
    breaking.add_to(app)

    done = CliRunner().invoke(app, ["--plan", "everything"])

    assert isinstance(done.exception, plans.UnknownPlan)
    assert "--list" in str(done.exception)


@pytest.mark.stack
@pytest.mark.alone
@pytest.mark.parametrize(
    "in_a_fault",
    [
        # While the stage is made: its database is there.
        False,
        # The broker is away, and nobody can remove a topic before it is back; all processes are
        # there, and what is mounted under their logs.
        True,
    ],
)
def test_a_run_that_is_interrupted_gives_no_verdict_and_leaves_nothing_behind(
    in_a_fault: bool,
) -> None:
    mounted = _mounted()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "streams.cli", "chaos", "--plan", "broker-away-70",
            "--seed", "1", "--orders", "200", "--json",
        ],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = []
    if in_a_fault:
        while "begins" not in (line := process.stderr.readline()):
            assert line, said
            said.append(line)
        _until(lambda: not _is_there(KAFKA))
    else:
        _until(lambda: bool(asyncio.run(_left_behind())))
    workers = _children(process.pid)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130, (said, err)
    assert not out
    assert "no verdict" in err
    assert len(workers) > 4 or not in_a_fault
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert _mounted() == mounted
    assert asyncio.run(_left_behind()) == []


KAFKA = "ORDERFLOW_KAFKA"


def _is_there(name: str) -> bool:
    host, _, port = _addresses()[name].partition(":")
    with socket.socket() as link:
        return link.connect_ex((host, int(port))) == 0


def _mounted() -> list[str]:
    """Return the small disks of chaos; one may be there of a run that was killed."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line for line in lines if line.startswith("orderflow-chaos ")]


def _until(done: Callable[[], bool], within_s: float = 60) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


async def _left_behind() -> list[str]:
    """Return the topics and databases of chaos that are on the stack."""
    told = _addresses()
    admin = AIOKafkaAdminClient(bootstrap_servers=told[KAFKA])
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if name.startswith("chaos-")]
    finally:
        await admin.close()
    connection = await asyncpg.connect(told["ORDERFLOW_POSTGRES_OWNER"])
    try:
        rows = await connection.fetch(
            "SELECT datname FROM pg_database WHERE datname LIKE 'orderflow\\_chaos\\_%'"
        )
    finally:
        await connection.close()
    return [*topics, *(row["datname"] for row in rows)]
