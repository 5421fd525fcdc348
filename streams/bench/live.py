"""
`bench live`: how soon an open page is told of what a platform says.

Orders are placed; the real console shows each to a page of its own, an open stream of server-sent
events as a browser holds it. Then the orders are paid, one message after the other at a steady
rate. A time begins when the message is given to the broker's client and ends when its page hears
that something changed: intake, keeper, ledger, PostgreSQL and the console lie between. One clock
stands at both ends, and every page must have been told.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from streams.bench.broker import NotAnswered
from streams.bench.flow import arrived, installed, receive, workers_of
from streams.bench.pages import signed_in, the_console, until_ready
from streams.bench.processes import Child, machine
from streams.bench.reserve import percentile
from streams.console.live import STREAMS_OF_USER_MAX
from streams.console.page import SESSION
from streams.ending import end
from streams.feed.generated import message
from streams.feed.payloads import Step
from streams.feed.sending import Sender
from streams.feed.trade import Statement, Trade, statements
from streams.processes import cpu_s, listener
from streams.readiness import HERE, free_ports
from streams.settings import Settings

#: What all pages are told after they were opened and after the last message: more is lost.
_TOLD_WITHIN_S = 60.0
#: A page that is told of nothing new for so long shows what there is.
_QUIET_S = 2.0
_POLL_S = 0.1
_CHANGED = b"event: changed"
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    #: Open pages, and so many orders, each shown by one.
    pages: int = 500
    #: Messages a second.
    rate: float = 20.0
    partitions: int = 4
    skus: int = 500


class _Page:
    """An order's open page: when it was told last, and when first since its message."""

    def __init__(self) -> None:
        self.told_s = 0.0
        self.sent_s = 0.0
        self.first_s = 0.0

    def hear(self) -> None:
        """Be told that something changed."""
        self.told_s = time.monotonic()
        if self.sent_s and not self.first_s:
            self.first_s = self.told_s


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured, Unavailable."""
    trade = Trade(orders=job.pages, skus=job.skus, scarce=0, shipped=0, hold_for_s=3_600)
    said = list(statements(trade))
    async with installed(settings, "live", job.partitions, "operations", "console") as (its, env):
        users = [f"bench-{n}" for n in range(-(-job.pages // STREAMS_OF_USER_MAX))]
        tokens = await signed_in(its, *users)
        (port,) = free_ports(1)
        with workers_of(env) as workers, the_console(env, port) as console:
            await receive(its, trade, progress)
            await _say(its, trade, [each for each in said if each.step is Step.CREATED])
            await arrived(its, job.pages, progress, workers.check)
            await until_ready(port, console)
            async with _opened(port, tokens, [each.key for each in _paid(said)]) as pages:
                await _quiet(pages, console, progress)
                before, began = cpu_s(console.pid), time.monotonic()
                await _pay(its, trade, _paid(said), pages, job.rate, progress)
                await _all_told(pages, progress)
                cores = _cores(before, cpu_s(console.pid), time.monotonic() - began)
    took = sorted((page.first_s - page.sent_s) * 1000 for page in pages.values())
    return {
        "pages": job.pages,
        "rate": job.rate,
        "p50_ms": round(percentile(took, 0.5)),
        "p99_ms": round(percentile(took, 0.99)),
        "max_ms": round(took[-1]),
        "console_cores": cores,
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


def _paid(said: Sequence[Statement]) -> list[Statement]:
    return [each for each in said if each.step is Step.PAID]


async def _say(its: Settings, trade: Trade, said: Sequence[Statement]) -> None:
    async with Sender(its, trade.platforms, None) as sender:
        for each in said:
            await sender.send(message(each))


async def _pay(
    its: Settings,
    trade: Trade,
    paid: Sequence[Statement],
    pages: dict[str, _Page],
    rate: float,
    progress: Progress,
) -> None:
    """Let the orders be paid at *rate*, each message on its own."""
    async with Sender(its, trade.platforms, None) as sender:
        began = time.monotonic()
        for nth, each in enumerate(paid):
            await asyncio.sleep(max(0.0, began + nth / rate - time.monotonic()))
            pages[each.key].sent_s = time.monotonic()
            await sender.send(message(each))
            await sender.dispatch()
            progress(f"{nth + 1:,} of {len(paid):,} orders are paid")


@asynccontextmanager
async def _opened(
    port: int, tokens: Sequence[str], orders: Sequence[str]
) -> AsyncIterator[dict[str, _Page]]:
    """Hold the stream of each of *orders* open, so many of a user as one may have."""
    pages = {order: _Page() for order in orders}
    url = f"http://{HERE}:{port}/order/changes"
    connector = aiohttp.TCPConnector(limit=0)
    # The session's cookie is sent by hand: an address in digits keeps none.
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None), trust_env=False
    ) as client:
        streams = [
            asyncio.create_task(_follow(client, url, order, tokens[n // STREAMS_OF_USER_MAX], page))
            for n, (order, page) in enumerate(pages.items())
        ]
        try:
            yield pages
        finally:
            broken = await end(*streams)
    if broken:
        raise broken[0]


async def _follow(
    client: aiohttp.ClientSession, url: str, order: str, token: str, page: _Page
) -> None:
    cookie = {"cookie": f"{SESSION}={token}"}
    async with client.get(url, params={"key": order}, headers=cookie) as stream:
        if stream.status != 200:
            raise NotAnswered(f"the stream of {order} was answered with {stream.status}")
        async for line in stream.content:
            if line.startswith(_CHANGED):
                page.hear()
    raise NotAnswered(f"the stream of {order} ended")


async def _quiet(pages: dict[str, _Page], console: Child, progress: Progress) -> None:
    """Wait until every page was told what there is, and no more comes."""
    until = time.monotonic() + _TOLD_WITHIN_S
    while time.monotonic() < until:
        console.check()
        told = [page.told_s for page in pages.values()]
        progress(f"{sum(map(bool, told)):,} of {len(pages):,} pages are open")
        if all(told) and time.monotonic() - max(told) > _QUIET_S:
            return
        await asyncio.sleep(_POLL_S)
    raise NotAnswered(f"not every page was open and at rest within {_TOLD_WITHIN_S:.0f} s")


async def _all_told(pages: dict[str, _Page], progress: Progress) -> None:
    until = time.monotonic() + _TOLD_WITHIN_S
    while missing := sum(not page.first_s for page in pages.values()):
        progress(f"{missing:,} pages have not been told yet")
        if time.monotonic() > until:
            raise NotAnswered(f"{missing:,} of {len(pages):,} pages were told of nothing")
        await asyncio.sleep(_POLL_S)


def _cores(before: float | None, after: float | None, seconds: float) -> float | None:
    return None if before is None or after is None else round((after - before) / seconds, 2)
