"""
From a platform's message to a subscriber, on one started installation.

Orders come in, a worker and a sender are killed, another sender goes on: every event that is told
comes to everybody who wants it, the same id and body each time, and each order's in its order.
"""

import asyncio
import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.callbacks import TYPES, Filter, message_id, wants
from tests.installation import Installation, installation
from tests.integration.receiving import Receiver, receiver, until
from tests.integration.test_callbacks import a_sender, ended
from tests.integration.test_operations import records

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

WANTED = Filter(types=("order.reserved", "order.status"), shops=("taobao",))


async def test_every_event_reaches_everybody_who_wants_it_whoever_is_killed(tmp_path: Path):
    async with installation(tmp_path) as house, receiver() as all_, receiver() as some:
        house.env["ORDERFLOW_CALLBACKS_LOOPBACK"] = "true"
        add = ("subscribers", "add", "--reason", "a test", "--operator", "mei", "--url")
        house.answer(*add, all_.url, "all")
        filters = [word for type_ in WANTED.types for word in ("--event", type_)]
        house.answer(*add, some.url, "some", *filters, "--shop", "taobao")
        senders = [_sender(house), _sender(house)]
        try:
            with (
                house.running("intake,orders,stock,ledger"),
                house.running("callbacks") as callbacks,
            ):
                feed = asyncio.create_task(asyncio.to_thread(_feed, house))
                await until(lambda: len(all_.ids()) > 20)
                senders[0].kill()
                await asyncio.to_thread(senders[0].wait, 30)
                for pid in callbacks.pids():
                    os.kill(pid, signal.SIGKILL)
                senders[0] = _sender(house)
                await feed
                await asyncio.to_thread(house.at_rest, within_s=90)
                expected = _expected(await records(house, "order-events"))
                await until(
                    lambda: all_.ids() >= expected.keys(),
                    lambda: (len(all_.ids()), len(expected), _left(house)),
                )
                wanted = {
                    id_
                    for id_, said in expected.items()
                    if wants(WANTED, said["type"], said["order"])
                }
                await until(lambda: some.ids() >= wanted, lambda: _left(house))
        finally:
            for each in senders:
                await ended(each)

    assert len(expected) > 100
    assert len(wanted) > 5
    assert (all_.ids(), some.ids()) == (set(expected), wanted)
    for there in (all_, some):
        _each_says_the_same_every_time(there)
        _each_order_came_in_its_order(there)


def _sender(house: Installation) -> Any:
    # The lease of whoever is killed lapses after 21 s.
    return a_sender(_Addresses(house), ORDERFLOW_CALLBACKS_ANSWER_WITHIN="PT1S")  # type: ignore[arg-type]


class _Addresses:
    def __init__(self, house: Installation) -> None:
        self.callbacks = house.env["ORDERFLOW_POSTGRES_CALLBACKS"]


def _feed(house: Installation) -> None:
    house.orderflow(
        "feed", "--generate", "60", "--rate", "15", "--seed", "11", "--duplicates", "5%",
        "--cancel", "10%", "--edited", "20%", "--receive", timeout_s=180,
    )  # fmt: skip


def _left(house: Installation) -> str:
    return house.orderflow("subscribers", "deliveries", "all", "--state", "waiting", "--limit", "5")


def _expected(found: list[Any]) -> dict[str, dict[str, Any]]:
    """Everything that is told, by its id."""
    expected = {}
    for record in found:
        said = msgspec.json.decode(record.value)
        if said.get("event") in TYPES:
            named = dict(record.headers)
            id_ = message_id(named["ce_source"].decode(), int(named["ce_sequence"]))
            expected[id_] = {"type": said["event"], "order": said["order"]}
    return expected


def _each_says_the_same_every_time(there: Receiver) -> None:
    bodies = defaultdict(set)
    for got in there.got:
        bodies[got.id].add(got.body)
    assert {len(each) for each in bodies.values()} == {1}


def _each_order_came_in_its_order(there: Receiver) -> None:
    for order in {each.order for each in there.taken()}:
        versions = there.versions(order)
        assert versions == sorted(versions), order
