"""
Every panel's query, run by a real Prometheus on the pages of real processes that handled an order.

prometheus comes by `python3 deploy/stack.py tools`; where it cannot be had the test says so.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_an_order_from_platform_to_ledger import PAID, eventually, order_in
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import installation
from tests.integration.at_the_gate import MALL_KEY
from tests.integration.conftest import _addresses
from tests.integration.databases import ROOT
from tests.integration.test_health_pages import SHOPS, ask, running
from tests.integration.test_one_id_and_no_person import a_good_order
from tests.rules.test_dashboards import Panel, panels

pytestmark = pytest.mark.stack

#: What is there only when something is wrong, or was done by hand: their queries may be empty.
MAY_BE_EMPTY = {
    "Parked by intake", "Statements that came late", "Paused shops", "Partitions halted",
    "Lost or missing letters", "Replays, repeats, foreign writes", "Duplicates at sinks",
    "Deadlines woken", "Snapshots", "Notices not yet told", "Messages to people",
    "Notices in another's message", "Beyond their time", "Oldest unread record", "SKUs short",
    "Longest way of late orders", "Alerts that are not over", "Fullness of disks",
    "Requests to operations", "Time of an availability answer", "Rebalances",
}  # fmt: skip
KEY_OF_THE_MALL = f"""
[[shops]]
platform = "mall"
shop = "main"
secrets = ["{MALL_KEY}"]
"""


def prometheus() -> str:
    found = shutil.which("prometheus", path=ROOT / ".local" / "tools") or shutil.which("prometheus")
    if found is None:
        pytest.skip("prometheus is not here; `python3 deploy/stack.py tools` fetches it on Debian")
    return found


@contextlib.contextmanager
def scraping(folder: Path, ports: Mapping[str, int]) -> Iterator[str]:
    """A Prometheus that scrapes these processes every second; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in ports.items()
    ]
    file = folder / "prometheus.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus(), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def query(url: str, expr: str) -> tuple[str, list[Any]]:
    """What Prometheus answers: its status, and the series."""
    asked = f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode(), []
    return said["status"], said["data"]["result"]


def filled(expr: str) -> str:
    """The query as Grafana sends it when nothing is chosen."""
    return expr.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+")


def unanswered(url: str, found: list[Panel]) -> dict[str, str]:
    """Panel -> why it would show nothing."""
    wrong = {}
    for panel in found:
        answers = [query(url, filled(expr)) for expr in panel.queries]
        if failed := [status for status, _ in answers if status != "success"]:
            wrong[panel.title] = failed[0]
        elif panel.title not in MAY_BE_EMPTY and not all(series for _, series in answers):
            wrong[panel.title] = "empty"
    return wrong


def test_what_may_be_empty_is_a_panel():
    assert {each.title for each in panels()} >= MAY_BE_EMPTY


async def test_every_panel_has_an_answer_of_a_house_at_work(tmp_path: Path):
    prometheus()
    async with installation(tmp_path) as house:
        shops = tmp_path / "shops.toml"
        shops.touch(0o600)
        shops.write_text(SHOPS + KEY_OF_THE_MALL)
        house.env["ORDERFLOW_SHOPS_FILE"] = str(shops)
        house.env["ORDERFLOW_REDIS"] = _addresses()["ORDERFLOW_REDIS"]
        with contextlib.ExitStack() as all_:
            names = ("worker", "gateway", "reconcile", "availability", "operations", "alerts")
            ports = {name: all_.enter_context(running(house, name)) for name in names}
            ports["publish"] = all_.enter_context(running(house, "publish"))
            url = all_.enter_context(scraping(tmp_path, ports))
            _at_work(house, ports)

            wrong = _once_answered(url, ports)
            # And a query that is wrong is told as one.
            broken = [Panel("x", "x", ("sum(orderflow_stage_seconds_count",), {})]
            nothing = [Panel("x", "y", ("orderflow_no_such_thing",), {})]
            told = unanswered(url, broken), unanswered(url, nothing)

    assert wrong == {}
    assert "parse error" in told[0]["x"]
    assert told[1] == {"y": "empty"}


def _at_work(house: Any, ports: Mapping[str, int]) -> None:
    """One order by a file, one by the gateway, and the goods they need."""
    for sku in ("BASKET-L", "HOOK-C"):
        receive = ("stock", "receive", sku, "50", "--reason", "delivery")
        house.orderflow(*receive, "--timeout", str(WITHIN_S), timeout_s=2 * WITHIN_S)
    order_id, payload = PAID
    house.orderflow("feed", str(payload), "--platform", "taobao", "--shop", "qingyou")
    eventually(order_in(house, order_id, reservation="reserved"), WITHIN_S)
    request = urllib.request.Request(
        f"http://127.0.0.1:{ports['gateway']}/v1/orders",
        a_good_order(),
        {"Authorization": f"Bearer {MALL_KEY}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.status < 300


def _once_answered(url: str, ports: Mapping[str, int]) -> dict[str, str]:
    """What is unanswered once nothing is, or when time is up."""
    until = time.monotonic() + 90
    while (wrong := unanswered(url, panels())) and time.monotonic() < until:
        _asked(ports)
        time.sleep(1)
    return wrong


def _asked(ports: Mapping[str, int]) -> None:
    assert ask(ports["availability"], "/v1/availability?sku=BASKET-L")[0] == 200
