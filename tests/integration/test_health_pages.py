"""
Every process that goes on answers /healthz, /readyz and /metrics: the processes are asked.

Also: a process that cannot do its work says as JSON what is missing, and still lives.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, installation
from tests.integration.conftest import _addresses
from tests.integration.databases import ROOT
from tests.rules.test_metrics_pages import PAGES, wrongs

pytestmark = pytest.mark.stack

#: A process on a busy machine answers within this.
WITHIN_S = 90.0
#: Process -> its command, and the setting of the port it answers on.
PROCESSES: dict[str, tuple[tuple[str, ...], str]] = {
    "worker": (("worker", "--bare", "--roles", "intake,orders,stock,ledger"), "HEALTH"),
    "gateway": (("gateway",), "GATEWAY"),
    "poll": (("poll",), "HEALTH"),
    "reconcile": (("reconcile", "--every", "5s"), "HEALTH"),
    "availability": (("availability",), "AVAILABILITY"),
    "operations": (("operations",), "OPERATIONS"),
    "alerts": (("alerts", "run"), "HEALTH"),
    "publish": (("reference", "publish", "--every", "1"), "HEALTH"),
    "callbacks": (("callbacks", "run"), "HEALTH"),
    "console": (("console",), "CONSOLE"),
}
SHOPS = """
[[shops]]
platform = "shopify"
shop = "jsmith"
secrets = ["shopify-new"]
[shops.api]
base_url = "http://127.0.0.1:1"
access_token = "none"
"""


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@contextlib.contextmanager
def running(house: Installation, name: str, **more: str) -> Iterator[int]:
    """One process, and the port it answers on; it ends well."""
    command, setting = PROCESSES[name]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = house.folder / f"{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *command],
            env=house.env | {f"ORDERFLOW_{setting}_PORT": str(port)} | more,
            cwd=ROOT,
            stdout=said,
            stderr=said,
        )
    try:
        until(lambda: ask(port, "/healthz")[0], process, log)
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def until(so: Any, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not so():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("pages")
    with asyncio.Runner() as loop:
        whole = installation(folder)
        made = loop.run(whole.__aenter__())
        try:
            shops = folder / "shops.toml"
            shops.touch(0o600)
            shops.write_text(SHOPS)
            made.env["ORDERFLOW_SHOPS_FILE"] = str(shops)
            made.env["ORDERFLOW_REDIS"] = _addresses()["ORDERFLOW_REDIS"]
            made.env["ORDERFLOW_POLLING_ATTEMPTS_MAX"] = "1"
            yield made
        finally:
            loop.run(whole.__aexit__(None, None, None))


def test_each_kind_of_process_is_asked():
    assert set(PROCESSES) == set(PAGES)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_says_that_it_lives_whether_it_can_work_and_what_it_counts(
    house: Installation, name: str
):
    with running(house, name) as port:
        assert ask(port, "/healthz") == (200, '{"alive":true}')
        status, said = ask(port, "/readyz")
        deadline = time.monotonic() + WITHIN_S
        # The poller's shop is not there: it says so for ever.
        while status != 200 and name != "poll" and time.monotonic() < deadline:
            time.sleep(0.2)
            status, said = ask(port, "/readyz")
        ready = json.loads(said)
        figures = ask(port, "/metrics")

    assert set(ready) == {"ready", "missing"}
    if name == "poll":
        assert (status, ready["ready"]) == (503, False)
        assert any("shopify/jsmith" in each for each in ready["missing"])
    else:
        assert (status, ready) == (200, {"ready": True, "missing": []})
    assert figures[0] == 200
    assert f'orderflow_build_info{{process="{name}"}} 1.0' in figures[1]
    assert wrongs(figures[1]) == []


def test_a_process_whose_part_is_away_lives_and_says_what_is_missing(house: Installation):
    nowhere = "postgresql://nobody@127.0.0.1:1/none"

    with running(house, "alerts", ORDERFLOW_POSTGRES_LEDGER=nowhere) as port:
        deadline = time.monotonic() + WITHIN_S
        while "whose turn" not in (said := ask(port, "/readyz"))[1]:
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        assert ask(port, "/healthz")[0] == 200

    assert said[0] == 503
    assert not json.loads(said[1])["ready"]
