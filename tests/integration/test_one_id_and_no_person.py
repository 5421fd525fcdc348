"""
One order through the real house: found by one id everywhere, and nothing personal found anywhere.

Canaries (a name, a phone, an address, an e-mail, an identity card, a secret) come by the gateway in
a good order and in messages that are parked; then every output a person sees is searched for them.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiokafka
import asyncpg
import pytest

from streams.operations import keys
from streams.operations.rights import Role
from streams.topics import raw
from streams.tracing import ids_of
from tests.adapters.samples import order as a_sample
from tests.adapters.samples import raw as payload_of
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import Installation, installation
from tests.integration.at_the_gate import MALL_KEY, Gate, a_gate, shopify, shops_file
from tests.integration.collector import Collector, a_collector
from tests.integration.databases import ROOT
from tests.integration.test_health_pages import ask, running
from tests.rules.test_masking import CANARIES, leaks

pytestmark = pytest.mark.stack

ORDER = "M-CANARY-1"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RULE = '[[rules]]\nname = "exceptions-backlog"\nthreshold = 0\nclear = 0\nfor_ms = 0\n'


def a_good_order() -> bytes:
    body = json.loads(payload_of("mall", "order_placed")) | {"platform_order_id": ORDER}
    person = {"name": CANARIES["name"], "phone": CANARIES["phone"]}
    body["buyer"] |= person
    said = f"{CANARIES['address']} {CANARIES['email']} {CANARIES['identity']}"
    body["receiver"] |= person | {"address": said}
    return json.dumps(body, ensure_ascii=False).encode()


def a_bad_order(nth: int, **wrong: Any) -> bytes:
    body: dict[str, Any] = a_sample("shopify")
    body |= {
        "id": 900_000 + nth,
        "email": CANARIES["email"],
        "phone": CANARIES["phone"],
        "note": f"{CANARIES['name']} {CANARIES['identity']}",
        "customer": {"first_name": CANARIES["name"], "default_address": CANARIES["address"]},
        "landing_site": f"/?token={CANARIES['secret']}",
        "inside": json.dumps({"receiver_name": CANARIES["name"], "addr": CANARIES["address"]}),
    }
    return json.dumps(body | wrong, ensure_ascii=False).encode()


#: What is wrong: a field that says nothing of a person, and fields that are one.
BAD = (
    a_bad_order(1, currency="XXX1"),
    a_bad_order(2, shipping_address=CANARIES["address"]),
    a_bad_order(3, customer=CANARIES["name"]),
    a_bad_order(4)[:-1],
)


def post(gate: Gate, path: str, body: bytes, headers: Mapping[str, str]) -> int:
    request = urllib.request.Request(gate.url + path, body, dict(headers))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def eventually(look: Callable[[], Any]) -> Any:
    until = time.monotonic() + WITHIN_S
    while not (seen := look()):
        assert time.monotonic() < until, "nothing came of it in time"
        time.sleep(0.3)
    return seen


def story(house: Installation) -> Any:
    try:
        told = house.answer("explain", "order", ORDER)
    except AssertionError:
        return None
    return told if told["moves"] else None


def lines_about(log: str, id_: str) -> list[dict[str, Any]]:
    """The log's lines with this id, as values."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("correlation") == id_]


async def the_raw_record(house: Installation, id_: str) -> Any:
    topic, partition, offset = id_.split("/")
    place = aiokafka.TopicPartition(house.settings.topic(topic), int(partition))
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=house.settings.kafka)
    await consumer.start()
    try:
        consumer.assign([place])
        consumer.seek(place, int(offset))
        return await consumer.getone(place)
    finally:
        await consumer.stop()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with a_collector() as made:
        yield made


async def test_one_id_leads_through_the_house_and_no_person_is_seen_on_the_way(
    tmp_path: Path, collector: Collector
):
    seen: dict[str, str] = {}
    async with installation(tmp_path) as house:
        told = {
            "ORDERFLOW_LOG_LEVEL": "debug",
            "ORDERFLOW_TRACES": collector.url,
            "ORDERFLOW_TRACES_SHARE": "1",
        }
        with house.running("intake,orders,stock,ledger", **told):
            receive = ("stock", "receive", "BASKET-L", "10", "--reason", "delivery")
            house.orderflow(*receive, "--timeout", str(WITHIN_S), timeout_s=2 * WITHIN_S)
            shops = shops_file(tmp_path)
            with a_gate(house.settings, shops, tmp_path / "gateway.log", **told) as gate:
                _sent(gate)

            whole = eventually(lambda: story(house))
            parked = eventually(
                lambda: (
                    len(found := house.answer("exceptions", "list")["exceptions"]) == len(BAD)
                    and found
                )
            )

        # One id: on the raw topic, in the decision, in the ledger's rows, in the log of each stage.
        (id_,) = whole["correlation"]
        record = await the_raw_record(house, id_)
        assert ORDER.encode() in record.value
        assert id_.startswith(raw("mall") + "/")
        assert whole["decisions"][0]["cause"] == id_
        rows = await _causes_in_the_ledger(house)
        assert id_ in rows["order_events"]
        assert id_ in rows["stock_ledger"]
        gateway_log = (tmp_path / "gateway.log").read_text()
        worker_log = (tmp_path / "intake-orders-stock-ledger.log").read_text()
        assert lines_about(gateway_log, id_)
        said = {line["event"].split(":")[0] for line in lines_about(worker_log, id_)}
        assert said >= {"intake", "orders", "stock", "ledger"}
        # An exception is called by it, too.
        ids = [each["id"] for each in parked]
        assert all(lines_about(worker_log, each) for each in ids)

        # And so are the spans: one trace, whose id is known from it, and the origin's is linked.
        _traced(collector, id_, ids)
        seen["traces"] = collector.text()

        # And nothing personal in anything that a person sees without the right to it.
        seen |= {"gateway's log": gateway_log, "worker's log": worker_log}
        seen["explained"] = json.dumps(whole, ensure_ascii=False)
        seen |= _at_a_terminal(house, ids)
        owner = house.env["ORDERFLOW_POSTGRES_OWNER"]
        viewer = (await keys.make(owner, "eve", Role.VIEWER, "root", "a test")).key
        seen |= _over_http(house, viewer, ids)
        seen |= _alerted(house)

    assert len(seen) > 15
    assert {name: found for name, text in seen.items() if (found := leaks(text))} == {}


def _sent(gate: Gate) -> None:
    """A good order, bad ones, and one from somebody who may not."""
    key = {"Authorization": f"Bearer {MALL_KEY}"}
    assert post(gate, "/v1/orders", a_good_order(), key) in (200, 201, 202)
    for body in BAD:
        headers = {**shopify(body), "traceparent": TRACEPARENT}
        assert post(gate, "/v1/webhooks/shopify/jsmith", body, headers) == 200
    secret = CANARIES["secret"]
    refused = {"Authorization": f"Bearer {secret}"}
    assert post(gate, f"/v1/orders?token={secret}", a_good_order(), refused) == 401


def _traced(collector: Collector, id_: str, parked: list[str]) -> None:
    ids = ids_of(id_)
    spans = eventually(
        lambda: (
            {"gateway", "intake", "keeper", "ledger"}
            <= {each.stage for each in collector.of(ids.trace)}
            and collector.of(ids.trace)
        )
    )
    parents = {each.stage: each.parent for each in spans}
    assert parents == {
        "gateway": 0,
        "intake": ids.span("gateway"),
        "keeper": ids.span("intake"),
        "ledger": ids.span("intake"),
    }
    assert {each.correlation for each in spans} == {id_}
    for each in parked:
        linked = {link for span in collector.of(ids_of(each).trace) for link in span.links}
        assert linked == {TRACEPARENT[3:35]}


def _at_a_terminal(house: Installation, ids: list[str]) -> dict[str, str]:
    asked = [("explain", "order", ORDER), ("order", "show", ORDER), ("exceptions", "list")]
    asked += [("exceptions", "show", each) for each in ids]
    return {
        " ".join(words): house.orderflow(*words)
        + json.dumps(house.answer(*words), ensure_ascii=False)
        for words in asked
    }


async def _causes_in_the_ledger(house: Installation) -> dict[str, set[str]]:
    connection = await asyncpg.connect(house.env["ORDERFLOW_POSTGRES_READER"])
    try:
        events = await connection.fetch("SELECT body FROM order_events")
        moves = await connection.fetch("SELECT cause FROM stock_ledger")
    finally:
        await connection.close()
    return {
        "order_events": {json.loads(row["body"])["cause"] for row in events},
        "stock_ledger": {row["cause"] for row in moves},
    }


def _over_http(house: Installation, viewer: str, ids: list[str]) -> dict[str, str]:
    seen = {}
    with running(house, "operations") as port:
        for path in ("/v1/exceptions", *(f"/v1/exceptions/{id_}" for id_ in ids)):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {viewer}"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                seen[path] = answer.read().decode()
        seen["operations' metrics"] = ask(port, "/metrics")[1]
    seen["operations' log"] = (house.folder / "operations.log").read_text()
    assert any("***" in text for text in seen.values())
    return seen


def _alerted(house: Installation) -> dict[str, str]:
    file = house.folder / "alerts.toml"
    file.touch(0o600)
    file.write_text(RULE)
    with running(house, "alerts", ORDERFLOW_ALERTS_FILE=str(file)) as port:
        listed = eventually(lambda: _alerts(house, file))
        figures = ask(port, "/metrics")[1]
    log = (house.folder / "alerts.log").read_text()
    return {"alerts": listed, "alerts' log": log, "alerts' metrics": figures}


def _alerts(house: Installation, file: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "alerts", "list", "--json"],
        env=house.env | {"ORDERFLOW_ALERTS_FILE": str(file)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout if "exceptions-backlog" in done.stdout else ""
