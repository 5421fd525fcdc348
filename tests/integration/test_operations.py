"""
The operations API and pauses of intake on one started installation.

Exceptions are worked off over HTTP with keys of several roles, a shop is paused while its webhooks
go on, and what waited is read in order; a worker is killed while it reads.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiokafka
import pytest

from agents.letters import PREFIX
from streams import raw_records
from streams.operations import keys
from streams.operations.rights import Role
from streams.topics import ORDER_COMMANDS, RAW_HELD, raw
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import HAPPENS_WITHIN_S as WITHIN_S
from tests.installation import Installation, installation, until
from tests.integration.databases import ROOT
from tests.integration.test_exceptions import SHOP, a_trade, bytes_of, with_line

pytestmark = pytest.mark.stack

PERSON = "Li Lei of 17 Wensan Road"


@dataclass(frozen=True)
class Api:
    """The process `orderflow operations`, and one who asks it."""

    house: Installation
    url: str

    def key(self, name: str, role: Role) -> str:
        """Make a key; one goes by the command, as a person does it, the others without it."""
        owner = self.house.env["ORDERFLOW_POSTGRES_OWNER"]
        return asyncio.run(keys.make(owner, name, role, "root", "a test")).key

    def ask(
        self, method: str, path: str, key: str | None, body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:  # noqa: S310
            return str(answer.read().decode())


@contextlib.contextmanager
def operations(house: Installation) -> Iterator[Api]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    log = (house.folder / "operations.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "operations", "--port", str(port)],
        env=house.env | {"ORDERFLOW_PAUSE_MAX": "PT0.001S"},
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    api = Api(house, f"http://127.0.0.1:{port}")
    try:

        def ready() -> bool:
            with contextlib.suppress(OSError):
                return bool(json.loads(api.text("/readyz"))["ready"])
            return False

        eventually(ready, WITHIN_S)
        yield api
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        log.close()


@contextlib.asynccontextmanager
async def a_sender(house: Installation) -> AsyncIterator[Any]:
    producer = raw_records.producer(house.settings)
    await producer.start()
    try:

        async def send(value: bytes, key: str, shop: str = SHOP) -> str:
            there = await producer.send_and_wait(
                house.settings.topic(raw("taobao")),
                value=value,
                key=key.encode(),
                headers=raw_records.headers_of(shop),
            )
            return f"{raw('taobao')}/{there.partition}/{there.offset}"

        yield send
    finally:
        await producer.stop()


async def aside(house: Installation) -> int:
    """How many different messages were set aside."""
    found = [dict(each.headers) for each in await records(house, RAW_HELD.name)]
    return len({said["origin"] for said in found if "origin" in said})


async def read(house: Installation) -> list[tuple[int, int]]:
    """What was read, in the order of the keeper's partitions."""
    return sources(await records(house, ORDER_COMMANDS.name))


async def records(house: Installation, topic: str) -> list[Any]:
    """Everything on a topic, partition by partition in order."""
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=house.settings.kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        tps = [
            aiokafka.TopicPartition(house.settings.topic(topic), n)
            for n in range(house.settings.partitions)
        ]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found: list[Any] = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for some in (await consumer.getmany(timeout_ms=200)).values():
                found += some
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


def sources(found: list[Any]) -> list[tuple[int, int]]:
    """Partition and offset of the raw message that each ObserveOrder states, as they stand."""
    from msgspec import msgpack  # noqa: PLC0415

    said = [msgpack.decode(record.value[PREFIX.size :]) for record in found]
    return [(each[3][1], each[3][2]) for each in said if each[0] == "ObserveOrder"]


async def test_what_went_wrong_is_worked_off_over_http_and_a_shop_is_paused(tmp_path: Path):
    async with installation(tmp_path) as house, a_sender(house) as send:
        with house.running("orders,stock,ledger"), operations(house) as api:
            with house.running("intake"):
                for sku in ("BASKET-L", "HOOK-C"):
                    receive = ("stock", "receive", sku, "1000", "--reason", "delivery")
                    house.orderflow(*receive, "--timeout", str(WITHIN_S), timeout_s=2 * WITHIN_S)
                await asyncio.to_thread(_nobody_without_a_key_gets_an_answer, api)
                await _exceptions_are_worked_off(api, send)
                await _a_paused_shop_waits_and_is_read_in_order(api, send)
            await _whoever_is_killed_while_reading_every_message_is_read_once(api, send)
            verdict = house.at_rest(within_s=WITHIN_S)
            assert verdict["ok"], json.dumps(verdict)
            assert verdict["invariants"]["I4"]["figures"]["set_aside"] > 0
    log = (tmp_path / "operations.log").read_text()
    assert "ofk_" not in log
    assert PERSON not in log


def _nobody_without_a_key_gets_an_answer(api: Api) -> None:
    made = api.house.answer(
        "operators", "add", "leila", "--role", "viewer", "--reason", "x", "--operator", "root"
    )
    key = made["key"]
    assert api.ask("GET", "/v1/exceptions", key)[0] == 200
    wrong = [
        None, "", "ofk_000000000000_" + "0" * 64, key[:-1], key + "0", key.upper(), "x" * 5_000,
        key[:-1] + ("0" if key[-1] != "0" else "1"),
    ]  # fmt: skip
    for each in wrong:
        assert api.ask("GET", "/v1/exceptions", each)[0] == 401, each
    told = {json.dumps(api.ask("GET", "/v1/exceptions", each)[1]) for each in wrong[1:]}
    assert told == {'{"error": "not accepted"}'}

    # A viewer looks, and changes nothing.
    for path in ("/v1/exceptions/retry", "/v1/exceptions/discard"):
        status, said = api.ask("POST", path, key, {"ids": ["x/0/0"], "reason": "x"})
        assert (status, "exceptions" in said["error"]) == (403, True)
    pausing = {"platform": "taobao", "shop": SHOP, "reason": "x"}
    assert api.ask("POST", "/v1/intake/pause", key, pausing)[0] == 403

    # A key that is revoked counts no more, from the next request on.
    gone = api.key("gone", Role.ADMIN)
    assert api.ask("GET", "/v1/exceptions", gone)[0] == 200
    api.house.orderflow(
        "operators", "revoke", gone.split("_")[1], "--reason", "has left", "--operator", "root"
    )
    assert api.ask("GET", "/v1/exceptions", gone)[0] == 401

    document = json.loads(api.text("/openapi.json"))
    assert "/v1/exceptions/{topic}/{partition}/{offset}/edit" in document["paths"]
    for path in document["paths"].values():
        for method, operation in path.items():
            assert method == "get" or "requestBody" in operation


async def _exceptions_are_worked_off(api: Api, send: Any) -> None:
    vera, sam = [
        await asyncio.to_thread(api.key, name, role)
        for name, role in (("vera", Role.VIEWER), ("sam", Role.SERVICE))
    ]
    people = People(api, vera, sam)
    wrong = with_line("6001", num=0) | {"receiver_address": PERSON}
    place = await send(bytes_of(wrong), "6001")
    lost = await send(bytes_of(a_trade("6002"))[:-1], "6002")
    await asyncio.to_thread(eventually, lambda: {place, lost} <= set(people.listed()), WITHIN_S)

    await asyncio.to_thread(_the_queue_is_looked_through, people, place, lost)
    await asyncio.to_thread(_only_who_may_sees_the_person, people, place, bytes_of(wrong).decode())
    right = bytes_of(with_line("6001", num=3)).decode()
    await asyncio.to_thread(_an_edit_counts_or_changes_nothing, people, place, right)
    await _retries_at_once_send_it_once(people, place)
    status, history = people.one(f"{place}?whole=true")
    assert [(each["did"], each["by"], each["why"]) for each in history["changes"]] == [
        ("edited", "sam", "it was three"), ("retried", "sam", "it was three"),
    ]  # fmt: skip
    assert history["changes"][0]["before"] == bytes_of(wrong).decode()
    assert history["changes"][0]["after"] == right
    body = {"message": right, "edits": 1, "reason": "again"}
    status, said = people.post(f"{place}/edit", body)
    assert (status, "settled before" in said["error"]) == (409, True)
    await asyncio.to_thread(_many_leave_at_once_after_they_were_counted, people, lost)


@dataclass(frozen=True)
class People:
    """One who looks, and one who works the queue off."""

    api: Api
    viewer: str
    service: str

    def listed(self, query: str = "") -> list[str]:
        status, said = self.api.ask("GET", f"/v1/exceptions?{query}", self.viewer)
        assert status == 200, said
        return [row["id"] for row in said["exceptions"]]

    def one(self, place: str) -> tuple[int, dict[str, Any]]:
        return self.api.ask("GET", f"/v1/exceptions/{place}", self.service)

    def post(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        return self.api.ask("POST", f"/v1/exceptions/{path}", self.service, body)


def _the_queue_is_looked_through(people: People, place: str, lost: str) -> None:
    assert people.listed("cause=malformed&platform=taobao") == [place]
    _, page = people.api.ask("GET", "/v1/exceptions?limit=1", people.viewer)
    (last,) = page["exceptions"]
    after = f"limit=1&after={last['last_seen_at'].replace('+', '%2B')}&after_id={last['id']}"
    assert {last["id"], *people.listed(after)} == {place, lost}

    for query in (
        "colour=red", "cause=bad_luck", "platform=fax", "stage=attic", "limit=0", "limit=x",
        "after=2026-01-01", "cause=bug&cause=bug", "shop=%00",
    ):  # fmt: skip
        status, said = people.api.ask("GET", f"/v1/exceptions?{query}", people.viewer)
        assert (status, bool(said["error"])) == (400, True), query
    assert people.one("raw-orders-taobao/0/999999")[0] == 404


def _only_who_may_sees_the_person(people: People, place: str, whole: str) -> None:
    masked = people.api.ask("GET", f"/v1/exceptions/{place}", people.viewer)[1]
    assert PERSON not in json.dumps(masked)
    assert masked["value"]["tid_str"] == "6001"
    path = f"/v1/exceptions/{place}?whole=true"
    assert people.api.ask("GET", path, people.viewer)[0] == 403
    assert people.one(f"{place}?whole=true")[1]["value"] == whole


def _an_edit_counts_or_changes_nothing(people: People, place: str, right: str) -> None:
    for body, code in (
        ({"message": right[:-1], "edits": 0, "reason": "x"}, 400),
        ({"message": right, "edits": 0}, 400),
        ({"message": right, "edits": 0, "reason": "  "}, 400),
        ({"message": right, "edits": 1, "reason": "x"}, 409),
        (b"no JSON", 400),
        (b'{"message": "\\ud800", "edits": 0, "reason": "x"}', 400),
    ):
        status, said = people.post(f"{place}/edit", body)
        assert (status, bool(said["error"])) == (code, True), body
    assert people.one(place)[1]["edits"] == 0

    edit = {"message": right, "edits": 0, "reason": "it was three"}
    assert people.post(f"{place}/edit", edit)[1]["outcome"] == "edited"
    # Of two who edit what both have looked at, the second is told.
    status, said = people.post(f"{place}/edit", edit)
    assert (status, "edited meanwhile" in said["error"]) == (409, True)


async def _retries_at_once_send_it_once(people: People, place: str) -> None:
    retry = {"ids": [place, place, "raw-orders-taobao/0/999999"], "reason": "it was three"}
    done = await asyncio.gather(*[asyncio.to_thread(people.post, "retry", retry) for _ in range(2)])
    outcomes = [tuple(sorted(said["counts"].items())) for _, said in done]
    assert sorted(outcomes) == [
        (("refused", 1), ("retried", 1)), (("refused", 1), ("settled before", 1)),
    ]  # fmt: skip
    shown = ("order", "show", f"taobao:{SHOP}:6001", "--json")
    await asyncio.to_thread(
        eventually, lambda: '"reserved"' in _said(people.api.house, *shown), WITHIN_S
    )


def _said(house: Installation, *args: str) -> str:
    with contextlib.suppress(AssertionError):
        return house.orderflow(*args)
    return ""


def _many_leave_at_once_after_they_were_counted(people: People, lost: str) -> None:
    for body in ({"reason": "x"}, {"kind": {}, "reason": "x"}, {"kind": {"hue": 1}, "reason": "x"}):
        assert people.post("discard", body)[0] == 400, body
    body = {
        "kind": {"cause": "unreadable", "platform": "taobao"},
        "reason": "half a message",
        "dry_run": True,
    }
    assert people.post("discard", body)[1]["ids"] == [lost]
    assert people.listed("cause=unreadable") == [lost]
    said = people.post("discard", body | {"dry_run": False})[1]
    assert said["counts"] == {"discarded": 1}
    assert people.listed() == []


async def _a_paused_shop_waits_and_is_read_in_order(api: Api, send: Any) -> None:
    house = api.house
    await asyncio.to_thread(_a_shop_is_paused, api)
    # Orders and later statements of them, all set aside; nothing is asked of the keeper.
    before = len(await read(house))
    tids = [str(5_000 + nth) for nth in range(30)]

    async def say(paid: str) -> list[str]:
        return [await send(bytes_of(a_trade(tid, payment_said=paid)), tid) for tid in tids]

    places = [place for paid in ("0", "1", "2") for place in await say(paid)]

    async def all_aside() -> bool:
        return await aside(house) == len(places)

    await until(all_aside)
    assert len(await read(house)) == before
    # Whoever prunes reference data does not end a pause.
    await asyncio.to_thread(
        house.orderflow, "reference", "apply", "deploy/reference.toml", "--prune"
    )
    assert len(house.answer("intake", "paused")["pauses"]) == 1

    # Resumed while new messages come; they stay behind what waits.
    resume = ("--reason", "prices are right", "--operator", "mei", "--wait", str(WITHIN_S))
    resumed, more = await asyncio.gather(
        asyncio.to_thread(house.answer, "intake", "resume", "taobao", SHOP, *resume), say("3")
    )
    assert resumed["over"]
    assert house.answer("intake", "paused")["pauses"] == []
    (past,) = house.answer("intake", "history", "taobao", SHOP)["pauses"]
    assert (past["resumed_by"], past["resumed_why"]) == ("mei", "prices are right")

    async def all_read() -> bool:
        return len(await read(house)) >= before + len(places) + len(more)

    await until(all_read)
    once = await read(house)
    assert len(once) == len(set(once)) == before + len(places) + len(more)
    # The keeper's inbox has partitions of its own: an order's messages are compared in it.
    of_order: dict[bytes, list[tuple[int, int]]] = {}
    for record in await records(house, ORDER_COMMANDS.name):
        of_order.setdefault(record.key, []).extend(sources([record]))
    assert all(seen == sorted(seen) for seen in of_order.values())


def _a_shop_is_paused(api: Api) -> None:
    ops, pausing = api.key("olga", Role.OPERATIONS), {"platform": "taobao", "shop": SHOP}
    for body, code in (
        (pausing | {"platform": "fax", "reason": "x"}, 400),
        ({"platform": "tmall", "shop": "nobody", "reason": "x"}, 400),
        (pausing, 400),
    ):
        assert api.ask("POST", "/v1/intake/pause", ops, body)[0] == code, body
    pausing["reason"] = "wrong prices"
    assert api.ask("POST", "/v1/intake/resume", ops, pausing)[0] == 409
    assert api.house.answer("intake", "paused")["pauses"] == []

    assert api.ask("POST", "/v1/intake/pause", ops, pausing)[0] == 200
    status, said = api.ask("POST", "/v1/intake/pause", ops, pausing)
    assert (status, "olga" in said["error"]) == (409, True)
    (row,) = api.house.answer("intake", "paused")["pauses"]
    assert (row["paused_by"], row["paused_why"], row["state"]) == ("olga", "wrong prices", "paused")
    overdue = "orderflow_intake_pauses_overdue 1.0"
    eventually(lambda: overdue in api.text("/metrics"), WITHIN_S)


async def _whoever_is_killed_while_reading_every_message_is_read_once(api: Api, send: Any) -> None:
    """Two workers; both die when what they read is with the broker and no mark says so."""
    house = api.house
    key = await asyncio.to_thread(api.key, "oleg", Role.OPERATIONS)
    shop = {"platform": "taobao", "shop": SHOP, "reason": "once more"}
    assert api.ask("POST", "/v1/intake/pause", key, shop)[0] == 200
    before, aside_before = set(await read(house)), await aside(house)
    tids = [str(4_000 + nth) for nth in range(40)]
    places = [
        await send(bytes_of(a_trade(tid, turn=turn)), tid) for turn in range(4) for tid in tids
    ]

    with house.running("intake", slots=2, ORDERFLOW_FAILPOINT="held-before-mark:2") as workers:

        async def all_aside() -> bool:
            return await aside(house) == aside_before + len(places)

        await until(all_aside)
        assert set(await read(house)) == before
        alive = set(workers.pids())
        assert api.ask("POST", "/v1/intake/resume", key, shop)[0] == 200

        async def one_has_died() -> bool:
            return bool(alive - set(workers.pids()))

        await until(one_has_died)
    assert set(await read(house)) > before
    with house.running("intake", slots=2):

        async def all_is_over() -> bool:
            _, said = await asyncio.to_thread(api.ask, "GET", "/v1/intake/pauses", key)
            return said["pauses"] == []

        await until(all_is_over)
        places.append(await send(bytes_of(a_trade("4999")), "4999"))

        async def all_read() -> bool:
            return len(set(await read(house)) - before) == len(places)

        await until(all_read)
    found = house.answer("explain", "order", f"taobao:{SHOP}:4001")["decisions"]
    causes = [each["cause"] for each in found if each["event"] == "order.observed"]
    assert len(causes) == len(set(causes))
