"""`make bench` on the real stack, small: three cheap peers, and what is never a figure."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from schemas.errors import Misconfigured, Rejected, Unavailable
from streams.bench.reserve import Run
from streams.settings import Settings
from tests.bench.comparing import Job, Tally, check, compare
from tests.bench.peer import NotMeasured, Peer, program
from tests.bench.peers import PEERS, PLAIN
from tests.bench.writing import draw, put
from tests.integration.conftest import ROOT, _addresses

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


async def nobody(*_: Any) -> Run:
    raise AssertionError("not to be run")


@pytest.mark.stack
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


@pytest.mark.stack
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


@pytest.mark.stack
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


@pytest.mark.stack
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


def test_a_foreign_process_on_a_peers_port_is_named_before_anything_runs():
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        job = Job(peers=(a_peer("needy", nobody, ports=(port,)),))

        with pytest.raises(Unavailable, match=f"port {port}, where process {os.getpid()}"):
            check(job)


def test_a_machine_with_too_little_memory_is_told_so_before_anything_runs():
    with pytest.raises(Misconfigured, match="MiB of memory are available"):
        check(Job(peers=(a_peer("fat", nobody, memory_mib=1_000_000_000),)))


def test_a_peer_that_cannot_be_had_is_named_with_the_reason_and_is_no_failure():
    peer = a_peer("absent", nobody)
    tally = Tally([peer])

    tally.out(peer, NotMeasured("Maven is not installed"))

    assert tally.reasons == {"absent": "Maven is not installed"}
    assert tally.refused == set()


def test_the_table_goes_between_its_marks_and_nowhere_else(tmp_path: Path):
    document, figures = tmp_path / "page.md", some_figures()
    document.write_text("before\n<!-- make bench -->\nold\n<!-- end -->\nafter\n")

    put(figures, document)
    once = document.read_text()
    put(figures, document)

    assert document.read_text() == once
    assert once.startswith("before\n<!-- make bench -->\n2026-11-29")
    assert once.endswith("<!-- end -->\nafter\n")
    assert "| slow | 100 (90–110) | **450** times as fast |" in once
    assert "| absent | not measured: no Maven |" in once
    with pytest.raises(Rejected, match="one pair"):
        put(figures, _written(tmp_path / "other.md", "no marks"))


def test_the_picture_has_a_bar_for_each_figure_and_a_longer_one_for_a_greater(tmp_path: Path):
    draw(some_figures(), tmp_path / "picture.svg")

    drawn = ET.parse(tmp_path / "picture.svg").getroot()  # noqa: S314  our own
    space = "{http://www.w3.org/2000/svg}"
    _, fast, slow = (float(each.get("width", "")) for each in drawn.iter(f"{space}rect"))
    assert fast > slow > 0


def test_the_document_names_every_peer_and_has_a_place_for_the_table():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    shown = text.partition("<!-- make bench -->\n")[2].partition("<!-- end -->")[0]

    assert [peer.title for peer in PEERS if f"\n| {peer.title} |" not in shown] == []
    assert "bench-peers.svg" in text


def some_figures() -> dict[str, Any]:
    both = {"client_cpu_us": 10.0, "server_cpu_us": 1.0, "kept": "", "crash": ""}
    fast = {"name": "orderflow", "title": "orderflow", "rate": 45_000, "rates": [45_000], **both}
    slow = {"name": "slow", "title": "slow", "rate": 100, "rates": [90, 100, 110], **both}
    machine = {"cores": 2, "cpu": "some CPU", "memory": "24 GiB", "python": "3", "kafka": "4"}
    return {
        "peers": [
            {**fast, "ratio": 1.0, "cpu_ratio": 1.0},
            {**slow, "ratio": 450.0, "cpu_ratio": None},
        ],
        "not_measured": [{"title": "absent", "reason": "no Maven"}],
        "at": "2026-11-29",
        "commit": "abc",
        "load": 0.5,
        "runs": 3,
        "skus": 1_000,
        "partitions": 12,
        "machine": machine,
    }


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


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
