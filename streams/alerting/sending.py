"""
Tells what waits, channel by channel, each at its own pace.

Promises. The next moment of a channel is written before a message goes out, so that whoever takes
over keeps the distance. At least once: what was taken and not written down is told again by the
next process, with the same ids. A channel that fails holds up no other.
"""

import asyncio
import logging
from typing import NamedTuple

from agents.paging import Outcome, Pace, after, message
from schemas.alerts import Notice, Reading
from schemas.errors import Unavailable
from streams.alerting.channels import Channel, Sender
from streams.alerting.file import Plan
from streams.alerting.judging import Judge
from streams.alerting.metrics import Metrics
from streams.alerting.store import Store
from streams.clock import now_ms

logger = logging.getLogger(__name__)

#: What was written by somebody else, such as `orderflow alerts test`, is found within this.
LOOK_EVERY_S = 1.0


class _Owed(NamedTuple):
    """A message that went out and could not be written down as sent."""

    notices: tuple[Notice, ...]
    outcome: Outcome
    why: str


class Desk:
    """Where messages leave from, for one term."""

    def __init__(
        self, plan: Plan, store: Store, judge: Judge, sender: Sender, metrics: Metrics
    ) -> None:
        self._plan, self._store, self._judge = plan, store, judge
        self._sender, self._metrics = sender, metrics
        self._paces: dict[str, Pace] = {}
        #: What went out and is not written down, oldest first.
        self._owed: dict[str, list[_Owed]] = {each.name: [] for each in plan.channels}

    async def begin(self) -> None:
        """Take over where each channel stands; raises Unavailable, LeaseLost."""
        known = await self._store.channels([each.name for each in self._plan.channels])
        self._paces = {name: channel.pace for name, channel in known.items()}

    async def failing(self) -> list[Reading]:
        """For how long each channel has taken nothing of what it was sent."""
        at_ms = now_ms()
        return [
            Reading(name, (at_ms - (pace.failing_since_ms or at_ms)) / 1000, at_ms)
            for name, pace in self._paces.items()
        ]

    async def tested(self) -> list[Reading]:
        """Since when each channel has taken no self-test."""
        known = await self._store.channels(list(self._paces))
        at_ms = now_ms()
        return [
            Reading(name, (at_ms - (channel.tested_ms or channel.known_ms)) / 1000, at_ms)
            for name, channel in known.items()
        ]

    async def tell(self, channel: Channel, over: asyncio.Event) -> None:
        """Tell what waits on *channel* until the term is *over*. Raises LeaseLost."""
        while not over.is_set():
            wait_s = await self._step(channel)
            await pause(wait_s, over, self._judge.news[channel.name])
        try:
            await self._settle(channel)
        except Unavailable as error:
            logger.warning("what %s was told last may be told again: %s", channel.name, error)

    async def _step(self, channel: Channel) -> float:
        """Send one message, if it is time and anything waits; return how long to wait then."""
        # First, so that news of a channel that has to wait wakes it once and not again and again.
        self._judge.news[channel.name].clear()
        left_s = (self._paces[channel.name].next_ms - now_ms()) / 1000
        if left_s > 0:
            return left_s
        try:
            await self._settle(channel)
            waiting = await self._store.waiting(channel.name)
            if waiting:
                await self._store.claim(channel.name, now_ms() + channel.limits.every_ms)
        except Unavailable:
            return await self._tell_unwritten(channel)
        if not waiting:
            return LOOK_EVERY_S
        self._owed[channel.name].append(await self._send(channel, waiting))
        try:
            await self._settle(channel)
        except Unavailable as error:
            logger.warning("what %s was told is written down later: %s", channel.name, error)
        return 0.0

    async def _tell_unwritten(self, channel: Channel) -> float:
        """PostgreSQL is away: what is critical is told all the same."""
        waiting = self._judge.untold(channel.name)
        if waiting:
            sent = await self._send(channel, waiting)
            if sent.outcome is Outcome.TAKEN:
                self._judge.was_told(channel.name, sent.notices, now_ms())
            # They may have been written as waiting while they were sent.
            self._owed[channel.name].append(sent)
        return LOOK_EVERY_S

    async def _send(self, channel: Channel, waiting: list[Notice]) -> _Owed:
        said = message(waiting, channel.limits)
        verdict = await self._sender.send(channel, said)
        pace = after(
            self._paces[channel.name], channel.limits, verdict.outcome, now_ms(), verdict.wait_ms
        )
        self._paces[channel.name] = pace
        self._metrics.message(channel.name, verdict.outcome.value, len(said.notices))
        if verdict.outcome is not Outcome.TAKEN:
            logger.error(
                "the channel %s did not take %d notices (%s: %s); they wait %.0f s",
                channel.name, len(said.notices), verdict.outcome, verdict.why,
                (pace.next_ms - now_ms()) / 1000,
            )  # fmt: skip
        return _Owed(said.notices, verdict.outcome, verdict.why)

    async def _settle(self, channel: Channel) -> None:
        """Write down what became of the last messages."""
        while self._owed[channel.name]:
            owed, pace = self._owed[channel.name][0], self._paces[channel.name]
            await self._store.tried(channel.name, owed.notices, owed.outcome, pace, owed.why)
            del self._owed[channel.name][0]


async def pause(wait_s: float, over: asyncio.Event, news: asyncio.Event | None = None) -> None:
    """
    Return after *wait_s*, or when the term is *over*, or there is *news*.

    Waits beside the events and cancels only the waiting: in Python 3.11 `asyncio.wait_for` can
    swallow the cancellation of whoever calls it.
    """
    if wait_s <= 0:
        await asyncio.sleep(0)
        return
    ends = {asyncio.ensure_future(each.wait()) for each in (over, news) if each is not None}
    try:
        await asyncio.wait(ends, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in ends:
            each.cancel()
