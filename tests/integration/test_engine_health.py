"""What a worker says about itself."""

import asyncio
import socket

import pytest
from aiohttp import ClientSession

from streams.settings import Settings
from tests.integration import shop
from tests.integration.counting import Add

pytestmark = pytest.mark.stack


def a_free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def get(port: int, page: str) -> tuple[int, str]:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{page}") as answer:
        return answer.status, await answer.text()


async def says(port: int, page: str, what: str) -> None:
    """Wait until a page says it."""
    said = ""
    for _ in range(600):
        said = (await get(port, page))[1]
        if what in said:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(said)


async def test_a_worker_says_that_it_is_alive_ready_and_what_it_did(topics: Settings):
    port = a_free_port()
    with_health = topics.model_copy(update={"health_port": port})
    await shop.send(topics, [Add("a", 1) for _ in range(100)])

    async with shop.working(with_health, [keeper := shop.a_keeper()]):
        await shop.until(lambda: any(p.rows for p in keeper.store.parts.values()))
        lag = 'orderflow_consumer_lag_messages{partition="0",topic="' + topics.topic("counts")
        await says(port, "/metrics", 'outcome="decided",stage="stock"} 100.0')
        await says(port, "/metrics", f'{lag}"}} 0.0')
        await says(port, "/readyz", "true")
        assert await get(port, "/healthz") == (200, '{"alive":true}')
        assert await get(port, "/readyz") == (200, '{"ready":true,"missing":[]}')
        status, metrics = await get(port, "/metrics")
        keeper.halt(next(iter(keeper.open)), "a test says so")
        halted = await get(port, "/readyz")
        assert (await get(port, "/nothing"))[0] == 404

    assert status == 200
    assert 'orderflow_events_processed_total{outcome="decided",stage="stock"} 100.0' in metrics
    assert 'orderflow_recovery_seconds{keeper="stock"}' in metrics
    assert halted[0] == 503
    assert "is halted: a test says so" in halted[1]
