"""The demo, small: what a newcomer types first has to end well, and be looked at in the console."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.demo import has_terminal
from streams.demo.opening import until_told
from streams.readiness import free_port
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S
from tests.integration.conftest import _addresses
from tests.integration.databases import ROOT
from tests.integration.the_console import PASSWORD, Browser

#: Everything of the demo's beginning and verdict takes no longer, on a machine that others use, s.
SHOWN_WITHIN_S = 400


@pytest.mark.stack
def test_the_demo_shows_the_whole_house_and_leaves_it_open_until_somebody_has_seen_it(
    tmp_path: Path,
):
    told = tmp_path / "told"
    with told.open("wb") as err, subprocess.Popen(
        [
            sys.executable, "-m", "streams.cli", "demo", "--orders", "300", "--rate", "100",
            "--no-keep", "--json", "--wait",
        ],
        env={**os.environ, **_addresses()}, cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=err, start_new_session=True,
    ) as demo:  # fmt: skip
        try:
            url, password = _invited(demo, told)
            _the_orders_can_be_looked_at(url, password)
            # As Ctrl-C does; workers and console have groups of their own, and end all the same.
            demo.send_signal(signal.SIGINT)
            out, _ = demo.communicate(timeout=HAPPENS_WITHIN_S)
        finally:
            if demo.poll() is None:
                demo.terminate()  # not -9: it ends what it has started

    assert demo.returncode == 0, told.read_text()
    with pytest.raises(OSError, match="refused"):
        Browser(url).ask("/healthz")
    _everything_was_shown(json.loads(out.decode().strip().splitlines()[-1]))


def _invited(demo: "subprocess.Popen[bytes]", told: Path) -> tuple[str, str]:
    """Wait until the console is open; its address, and the one-time password."""

    def look() -> "re.Match[str] | None":
        said = told.read_text()
        assert demo.poll() is None, said
        return re.search(r"(http://127\.0\.0\.1:\d+).*?password\s+(\S+)", said, re.DOTALL)

    met = eventually(look, SHOWN_WITHIN_S)
    return met[1], met[2]


def _the_orders_can_be_looked_at(url: str, password: str) -> None:
    browser = Browser(url)
    assert browser.log_in("admin", password).path == "/password"
    orders = browser.choose(password, PASSWORD)
    assert orders.path == "/orders"
    assert orders.text.count("/order?key=") >= 20
    # The workers are there too: a form is answered.
    page = browser.ask("/sku?name=ASKED-FOR")
    form = {"csrf": page.csrf, "once": page.field("/sku/receive", "once"), "sku": "ASKED-FOR"}
    done = browser.ask("/sku/receive", form | {"number": "3", "reason": "看看"})
    assert (done.status, 'class="done"' in done.text) == (200, True)


def _everything_was_shown(said: dict) -> None:
    assert said["orders"] >= 300
    assert (said["ok"], said["check"]["ok"], said["at_rest"]) == (True, True, True)
    # One worker was killed on the way, and another process took its place.
    assert said["killed"]["back"] not in (None, said["killed"]["killed"])
    assert said["fed"]["acknowledged"] == said["fed"]["messages"]
    # Duplicates, refusals and what was not paid are among what is shown.
    assert said["fed"]["messages"] > said["fed"]["orders"]
    statuses = {row["status"] for row in said["by_channel_and_status"]}
    assert statuses >= {"PENDING_PAYMENT", "PAID", "SHIPPED", "CANCELLED"}
    channels = {row["platform"] for row in said["by_channel_and_status"]}
    assert channels >= {"taobao", "douyin", "shopify"}


def test_without_a_terminal_nothing_stands_open(monkeypatch: pytest.MonkeyPatch):
    """Or whatever runs the demo by itself would wait for ever."""
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert not has_terminal()
    monkeypatch.setattr(sys, "stdin", None)
    assert not has_terminal()


async def test_at_a_terminal_enter_ends_it():
    typed, read = os.openpty()
    with open(read, closefd=True) as terminal:  # noqa: ASYNC230, PTH123  a terminal, by its number
        assert terminal.isatty()
        waiting = asyncio.create_task(until_told(terminal))
        await asyncio.sleep(0)
        assert not waiting.done()
        os.write(typed, b"\n")
        await asyncio.wait_for(waiting, HAPPENS_WITHIN_S)
    os.close(typed)


def test_the_console_of_the_demo_has_its_port_or_another():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port
