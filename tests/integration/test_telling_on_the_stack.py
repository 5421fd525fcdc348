"""
From the packing table to the platform, on one started installation.

A parcel leaves by command; that its platform hears of it is nobody's work. Senders are killed when
the platform has taken it and nobody has written that down, the platform is down for a while, a
carrier is one that nobody can name there: each parcel is there once, in the order in which they
left, and the platform's echo tells nobody anything.
"""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from streams.polling.accounts import known
from tests.installation import Installation, installation, until
from tests.integration.test_callbacks import a_sender, ended
from tests.integration.test_shipping import PATIENTLY, REFERENCE, SHOP, Story
from tests.platforms.desks import DESKS
from tests.platforms.families import FAMILIES
from tests.platforms.simulator import Platform

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

THERE = f"douyin:{SHOP}"


class Slow(Platform):
    """Takes a parcel, and on demand says so to nobody."""

    def __init__(self, family: Any, seed: int) -> None:
        super().__init__(family, seed)
        self.holds = False
        #: A parcel was taken, and its answer is kept back.
        self.held = asyncio.Event()
        self.ends = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        before = len(told_of(self))
        answer = await super()._handle(request)
        if self.holds and len(told_of(self)) > before:
            self.held.set()
            await self.ends.wait()
        return answer


def told_of(there: Platform) -> list[str]:
    return [each.number for some in there.parcels.values() for each in some]


class Queue:
    """What the queue has of platforms, and a sender of it."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.callbacks = house.env["ORDERFLOW_POSTGRES_CALLBACKS"]

    def sender(self) -> Any:
        return a_sender(
            self,  # type: ignore[arg-type]
            ORDERFLOW_SHOPS_FILE=self.house.env["ORDERFLOW_SHOPS_FILE"],
            # The lease of whoever is killed lapses after 25 s.
            ORDERFLOW_CALLBACKS_BREAKER_AFTER="3", ORDERFLOW_CALLBACKS_BREAKER_FOR="PT0.5S",
        )  # fmt: skip

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.house.env["ORDERFLOW_POSTGRES_OWNER"])
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def states(self) -> list[str]:
        rows = await self.rows("SELECT state FROM deliveries WHERE kind = 'platform' ORDER BY id")
        return [state for (state,) in rows]

    async def until_states(self, *states: str) -> None:
        async def so() -> bool:
            return await self.states() == list(states)

        await until(so)

    async def until_any(self, query: str) -> None:
        async def so() -> bool:
            return bool(await self.rows(query))

        await until(so)


async def test_a_parcel_that_left_is_told_to_its_platform_once_whoever_is_killed(
    tmp_path: Path,
) -> None:
    reference = tmp_path / "reference.toml"
    reference.write_text(REFERENCE)
    async with (
        installation(tmp_path) as house,
        Slow(FAMILIES["douyin"], 20261111) as there,
        AsyncExitStack() as ends,
    ):
        there.faults.fail = there.faults.throttle = 0
        there.desk = DESKS["douyin"]
        # What changes there is dated a minute ago, so that a listing may show it at once.
        there.ahead_ms = -60_000
        story, queue = Story(house, there), Queue(house)
        ends.push_async_callback(story.caller.close)
        ends.callback(there.ends.set)
        await story.types("reference", "apply", str(reference))
        with house.running("intake,orders,stock,ledger"), house.running("callbacks"):
            for sku in ("LAMP", "MOUSE-PAD"):
                await story.types("stock", "receive", sku, "9", "--reason", "delivery", *PATIENTLY)
            await story.polls()
            await story.until_shown(status="PAID", reservation="reserved")
            await _killed_and_down(story, queue, there)
            sender = queue.sender()
            try:
                await _told_and_heard_of(story, queue)
                await _refused_and_corrected(story, queue, there, sender)
            finally:
                await ended(sender)
        verdict = await asyncio.to_thread(house.at_rest, within_s=60)
        assert verdict["ok"], verdict
    assert told_of(there) == ["SF10010001", "SF10010002", "DPK10010003"]


async def _killed_and_down(story: Story, queue: Queue, there: Slow) -> None:
    """The first parcel is taken, its sender killed; then the platform is down."""
    there.holds = True
    sender = queue.sender()
    try:
        await queue.until_any("SELECT 1 FROM delivery_destinations WHERE kind = 'platform'")
        await story.ships("SF10010001", "--line", "MOUSE-PAD=1")
        async with asyncio.timeout(120):
            await there.held.wait()
    finally:
        sender.kill()
        await asyncio.to_thread(sender.wait, 30)
    there.holds = False
    assert told_of(there) == ["SF10010001"]
    # Nobody has written down that it was taken.
    assert await queue.states() == ["waiting"]

    there.faults.down = True
    await story.ships("SF10010002")
    await queue.until_states("waiting", "waiting")
    sender = queue.sender()
    try:
        await queue.until_any("SELECT 1 FROM delivery_hosts WHERE circuit <> 'closed'")
    finally:
        await ended(sender)
    there.faults.down = False


async def _told_and_heard_of(story: Story, queue: Queue) -> None:
    await queue.until_states("delivered", "delivered")
    assert told_of(story.there) == ["SF10010001", "SF10010002"]
    # The platform says so itself now. Nothing is told of that.
    await story.polls()
    await story.until_shown(status="SHIPPED", reservation="shipped")
    await story.until_balance("MOUSE-PAD", 7, 0)


async def _refused_and_corrected(story: Story, queue: Queue, there: Slow, sender: Any) -> None:
    """Of a second order: nobody has confirmed what this platform calls its carrier."""
    story.order_id = there.place(2, there.now_ms() - 300_000).id
    story.key = f"{THERE}:{story.order_id}"
    await story.polls()
    await story.until_shown(status="PAID", reservation="reserved")
    why = ("--reason", "packed", "--operator", "wei", *PATIENTLY)
    await story.answers("order", "ship", story.key, "DBL", "DPK10010003", *why)
    # The echo of the parcels before has made no push: this is the third.
    await queue.until_states("delivered", "delivered", "parked")

    listed = await story.answers("exceptions", "list", "--stage", "push")
    [parked] = listed["exceptions"]
    assert (parked["cause"], parked["platform"], parked["attempts"]) == (
        "not_delivered", "douyin", 1,
    )  # fmt: skip
    shown = await story.types("exceptions", "show", parked["id"])
    assert "[shops.api.carriers]" in "".join(shown.split())
    verdict = await asyncio.to_thread(story.house.at_rest, within_s=60)
    assert verdict["ok"], verdict

    _correct(Path(story.house.env["ORDERFLOW_SHOPS_FILE"]))
    sender.send_signal(signal.SIGHUP)

    async def is_told() -> bool:
        if await queue.states() == ["delivered"] * 3:
            return True
        # The signal may be heard after the retry: then it is parked once more.
        if (await queue.states())[-1] == "parked":
            await story.answers("exceptions", "retry", parked["id"], "--reason", "corrected")
        return False

    await until(is_told)


def _correct(file: Path) -> None:
    file.write_text(file.read_text() + '[shops.api.carriers]\nDBL = "yuantong"\n')
    assert known(file)["douyin", SHOP].access.carriers == {"DBL": "yuantong"}
