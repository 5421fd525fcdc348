"""What the processes of a run have counted."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from streams.chaos.crew import Worker
from streams.readiness import HERE

_ANSWERS_WITHIN = aiohttp.ClientTimeout(total=10)


class Counters(NamedTuple):
    """What keepers have counted, all together."""

    #: Writes into an own changelog by somebody else.
    foreign_writes: int
    rebalances: int


async def counters(keepers: Iterable[Worker]) -> Counters:
    """Ask every keeper; one that cannot be asked has counted nothing."""
    pages = await asyncio.gather(*(_page(worker.port) for worker in keepers))
    return Counters(_sum(pages, "orderflow_foreign_writes"), _sum(pages, "orderflow_rebalances"))


async def _page(port: int) -> str:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with (
            aiohttp.ClientSession(timeout=_ANSWERS_WITHIN) as client,
            client.get(f"http://{HERE}:{port}/metrics") as answer,
        ):
            return await answer.text()
    return ""


def _sum(pages: Iterable[str], name: str) -> int:
    return round(
        sum(
            sample.value
            for page in pages
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == f"{name}_total"
        )
    )
