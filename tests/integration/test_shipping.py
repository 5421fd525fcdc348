"""
A parcel on its way through the whole house: packed, told to its platform, and heard of again.

The order comes from a platform by polling, the warehouse ships it by command and over HTTP, what
is decided is attempted over HTTP, and the platform's echo is polled and moves nothing.
"""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec import json as msgspec_json

from agents.shipments import Attempt, Push, Told, pushes_of
from schemas.orders import AnyOrderEvent
from streams.clients.caller import Caller, CallRule
from streams.clients.pacing import BreakerRule, RetryRule
from streams.clients.shipping import Shipper
from streams.clock import new_id
from streams.operations.rights import Role
from streams.polling.accounts import known
from streams.shipping.accounts import accounts_of
from streams.topics import ORDER_EVENTS
from tests.installation import HAPPENS_WITHIN_S, Installation, installation, until
from tests.integration.shop import read
from tests.integration.test_operations import operations
from tests.platforms.desks import DESKS
from tests.platforms.families import FAMILIES, credentials
from tests.platforms.simulator import Platform

pytestmark = pytest.mark.stack

SHOP = "shanjiao"
REFERENCE = f"""
[[shops]]
platform = "douyin"
shop = "{SHOP}"

[[skus]]
platform = "douyin"
shop = "{SHOP}"
theirs = "1788200447103361027"
ours = "LAMP"

[[skus]]
platform = "douyin"
shop = "{SHOP}"
theirs = "3401880047719220"
ours = "MOUSE-PAD"
"""
#: A worker that has only begun answers later than a person would wait.
PATIENTLY = ("--timeout", "90")
RULE = CallRule(
    RetryRule(attempts_max=1, first_wait_s=1.0, wait_max_s=1.0), BreakerRule(after=9, for_s=1), 30.0
)
_decode = msgspec_json.Decoder(AnyOrderEvent).decode


class Story:
    """The house, the platform, and the one order."""

    def __init__(self, house: Installation, there: Platform) -> None:
        self.house = house
        self.there = there
        self.order_id = there.place(1, there.now_ms() - 300_000).id
        self.key = f"douyin:{SHOP}:{self.order_id}"
        api = {**credentials(there), "calls_per_s": 500, "calls_at_once": 50}
        file = house.folder / "shops.toml"
        file.touch(0o600)
        file.write_text(
            f'[[shops]]\nplatform = "douyin"\nshop = "{SHOP}"\n[shops.api]\n'
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in api.items())
        )
        house.env["ORDERFLOW_SHOPS_FILE"] = str(file)
        self.caller = Caller(RULE, dice=Random(1))
        self.shipper = Shipper(accounts_of(known(file)), self.caller)

    async def types(self, *args: str, code: int = 0) -> str:
        return await asyncio.to_thread(lambda: self.house.orderflow(*args, code=code))

    async def answers(self, *args: str, code: int = 0) -> Any:
        return await asyncio.to_thread(lambda: self.house.answer(*args, code=code))

    async def polls(self) -> None:
        said = await self.answers("poll", "--once")
        assert said["ok"], said

    async def pushes(self) -> list[Push]:
        """What the events so far have the platform be told; each event once."""
        found: dict[str, Push] = {}
        for record in await read(self.house.settings, ORDER_EVENTS.name):
            if dict(record.headers)["ce_type"].startswith(b"com.orderflow.order."):
                for push in pushes_of(_decode(record.value)):
                    found[push.id] = push
        return list(found.values())

    async def until_shown(self, **wanted: object) -> None:
        async def shown() -> bool:
            try:
                order = (await self.answers("order", "show", self.key))["order"]
            except AssertionError:
                return False
            return all(order.get(name) == value for name, value in wanted.items())

        await until(shown)

    async def balance(self, sku: str) -> tuple[int, int]:
        balance = (await self.answers("stock", "show", sku))["balance"]
        return balance["on_hand"], balance["occupied"]

    async def until_balance(self, sku: str, on_hand: int, occupied: int) -> None:
        async def so() -> bool:
            return await self.balance(sku) == (on_hand, occupied)

        await until(so)

    async def ships(self, number: str, *more: str, code: int = 0) -> Any:
        """What the warehouse is answered at its terminal."""
        why = ("--reason", "packed", "--operator", "wei", *PATIENTLY)
        return await self.answers("order", "ship", self.key, "SF", number, *why, *more, code=code)


async def test_a_parcel_is_told_to_its_platform_once_and_the_echo_moves_nothing(
    tmp_path: Path,
) -> None:
    reference = tmp_path / "reference.toml"
    reference.write_text(REFERENCE)
    async with (
        installation(tmp_path) as house,
        Platform(FAMILIES["douyin"], 20261111) as there,
    ):
        there.faults.fail = there.faults.throttle = 0
        there.desk = DESKS["douyin"]
        # What changes there is dated a minute ago, so that a listing may show it at once.
        there.ahead_ms = -60_000
        story = Story(house, there)
        await story.types("reference", "apply", str(reference))
        try:
            with house.running("intake,orders,stock,ledger"):
                await _ships(story)
        finally:
            await story.caller.close()


async def _ships(story: Story) -> None:
    for sku in ("LAMP", "MOUSE-PAD"):
        await story.types("stock", "receive", sku, "5", "--reason", "delivery", *PATIENTLY)
    # An order nobody has heard of ships nothing.
    assert (await story.ships("SF10010001", code=1))["refusal"] == "unknown_order"
    # It is polled, and held; nothing of it is ours to tell.
    await story.polls()
    await story.until_shown(status="PAID", reservation="reserved")
    assert await story.pushes() == []

    first = await _first_parcel(story)
    await _the_rest_over_http(story)
    await _told_once(story, first)


async def _first_parcel(story: Story) -> Push:
    """One of two mouse pads leaves, and its platform takes it at the second attempt."""
    there = story.there
    first = await story.ships("SF10010001", "--line", "MOUSE-PAD=1")
    again = await story.ships("SF10010001", "--line", "MOUSE-PAD=1", "--id", first["command"])
    assert (first["left"], again["left"]) == (2, 2)
    await story.until_balance("MOUSE-PAD", 4, 1)

    (push,) = await story.pushes()
    there.faults.throttle = 1.0
    assert (await story.shipper.attempt(push)).told is Told.LATER
    there.faults.throttle = 0
    assert await story.shipper.attempt(push) == Attempt(Told.TAKEN)
    assert [each.number for each in there.parcels[story.order_id]] == ["SF10010001"]

    # The platform says so itself now: the echo is taken as its word, and nothing is told again.
    await story.polls()
    await story.until_shown(status="PARTIALLY_SHIPPED", reservation="reserved")
    assert await story.pushes() == [push]
    assert await story.balance("MOUSE-PAD") == (4, 1)
    return push


async def _the_rest_over_http(story: Story) -> None:
    """By the warehouse's own system, with its own key; others may not say it."""
    with operations(story.house) as api:
        warehouse = await asyncio.to_thread(api.key, "packing table 3", Role.WAREHOUSE)
        service = await asyncio.to_thread(api.key, "mei", Role.SERVICE)

        async def posts(who: str, **more: str) -> tuple[int, dict[str, Any]]:
            """Ask until there is an answer: with an id of one's own that is safe."""
            parcel = {
                "order": story.key, "carrier": "YTO", "tracking_number": "YT20020002",
                "reason": "packed", "id": new_id(),
            }  # fmt: skip
            async with asyncio.timeout(HAPPENS_WITHIN_S):
                while True:
                    said = await asyncio.to_thread(
                        api.ask, "POST", "/v1/parcels", who, parcel | more
                    )
                    if said[0] != 503:
                        return said

        assert (await posts(service))[0] == 403
        assert (await posts(warehouse, order=f"{story.key}9"))[0] == 404
        assert (await posts(warehouse, tracking_number="?"))[0] == 400
        status, said = await posts(warehouse)
        assert (status, said["left"]) == (200, 0)
        assert await posts(warehouse, id=said["command"]) == (200, said)
        status, no = await posts(warehouse, tracking_number="YT20020003")
        assert (status, "already_shipped" in no["error"]) == (409, True)


async def _told_once(story: Story, first: Push) -> None:
    """The second parcel is told, its echo moves nothing, and everything adds up."""
    one, two = await story.pushes()
    assert (one, two.parcel, two.last) == (first, 2, True)
    assert await story.shipper.attempt(two) == Attempt(Told.TAKEN)
    # Told again, as a queue would whose sender died: taken, and not done twice.
    assert (await story.shipper.attempt(two)).told is Told.TAKEN
    assert len(story.there.parcels[story.order_id]) == 2

    await story.polls()
    await story.until_shown(status="SHIPPED", reservation="shipped")
    assert await story.pushes() == [one, two]
    await story.until_balance("MOUSE-PAD", 3, 0)
    await story.until_balance("LAMP", 4, 0)

    shown = await story.answers("order", "show", story.key)
    assert [
        (each["parcel"], each["carrier"], each["tracking_number"], each["left"], each["operator"])
        for each in shown["parcels"]
    ] == [(1, "SF", "SF10010001", 2, "wei"), (2, "YTO", "YT20020002", 0, "packing table 3")]
    assert "YT20020002" in await story.types("order", "show", story.key)
    told = await story.types("explain", "order", story.key)
    assert "parcel 1 left with SF SF10010001" in told
    assert "packing table 3" in told
    verdict = await asyncio.to_thread(story.house.at_rest, within_s=60)
    assert verdict["ok"], verdict
