"""`make bench` without a stack: what is refused before it begins, the table, the picture."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from schemas.errors import Misconfigured, Rejected, Unavailable
from streams.bench.reserve import Run
from streams.settings import Settings
from tests.bench.comparing import Job, Tally, check, compare
from tests.bench.peer import ROOT, NotMeasured, Peer
from tests.bench.peers import PEERS
from tests.bench.writing import draw, put, table


def a_peer(name: str, measure: Any, **more: Any) -> Peer:
    return Peer(name=name, title=name, crash="", records=400, measure=measure, **more)


async def nobody(*_: Any) -> Run:
    raise AssertionError("not to be run")


async def test_where_something_else_listens_instead_of_the_broker_nothing_is_measured():
    foreign = await asyncio.start_server(lambda _, out: out.close(), "127.0.0.1", 0)
    port = foreign.sockets[0].getsockname()[1]
    job = Job(peers=(a_peer("any", nobody),))

    async with foreign:
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port} does not answer"):
            await compare(Settings(kafka=f"127.0.0.1:{port}"), job, Tally(job.peers), print)


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
    assert "| forgotten | left out of this run |" in once
    with pytest.raises(Rejected, match="one pair"):
        put(figures, _written(tmp_path / "other.md", "no marks"))


def test_a_table_of_a_busy_machine_says_so():
    assert "not to be relied on" not in table(some_figures())
    assert "not to be relied on" in table(some_figures() | {"load": 2.5})


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
        "left_out": ["forgotten"],
        "at": "2026-11-29",
        "commit": "abc",
        "load": 0.5,
        "runs": 3,
        "skus": 1_000,
        "partitions": 12,
        "machine": machine,
        "versions": {"quixstreams": "3"},
    }


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
