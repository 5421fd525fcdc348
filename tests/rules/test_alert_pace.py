"""How often a channel that has to wait is looked at."""

import asyncio
from collections.abc import Sequence

from agents.paging import Kind, Pace
from schemas.alerts import Notice
from streams.alerting.channels import Channel
from streams.alerting.sending import Desk
from streams.alerting.store import Channel as Standing
from streams.clock import now_ms

OPS = Channel(name="ops", kind=Kind.LOG)


class Plan:
    channels = (OPS,)


class Judge:
    """There is news, and nobody writes any more."""

    def __init__(self) -> None:
        self.news = {OPS.name: asyncio.Event()}


class Store:
    """One channel, paced; nothing waits."""

    def __init__(self, next_ms: int) -> None:
        self.next_ms = next_ms
        self.asked = 0
        self.looked_at = asyncio.Event()

    async def channels(self, names: Sequence[str]) -> dict[str, Standing]:
        return {name: Standing(Pace(self.next_ms), known_ms=0, tested_ms=None) for name in names}

    async def waiting(self, channel: str) -> list[Notice]:
        self.asked += 1
        self.looked_at.set()
        return []


class CountedDesk(Desk):
    steps = 0

    async def _step(self, channel: Channel) -> float:
        self.steps += 1
        return await super()._step(channel)


async def test_news_of_a_channel_that_has_to_wait_is_looked_at_once():
    store, judge = Store(now_ms() + 1_000), Judge()
    desk = CountedDesk(Plan(), store, judge, sender=None, metrics=None)  # type: ignore[arg-type]
    await desk.begin()
    over = asyncio.Event()
    judge.news[OPS.name].set()

    telling = asyncio.ensure_future(desk.tell(OPS, over))
    await asyncio.sleep(0.05)
    judge.news[OPS.name].set()
    await asyncio.sleep(0.05)
    while_it_waits = desk.steps, store.asked
    async with asyncio.timeout(10):
        await store.looked_at.wait()
    over.set()
    await telling

    assert while_it_waits == (2, 0)
