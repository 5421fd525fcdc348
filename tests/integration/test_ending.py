"""What is told to end does end: tasks that missed the word, connections whose server is silent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from streams.ending import end
from streams.postgres.connecting import connect
from tests.integration.databases import Database, empty  # noqa: F401  a fixture

pytestmark = pytest.mark.stack


async def test_a_task_that_missed_its_cancellation_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("streams.ending.ASK_AGAIN_AFTER_S", 0.05)
    asked = 0

    async def deaf() -> None:
        nonlocal asked
        while asked < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                asked += 1

    async def failing() -> None:
        raise ValueError("as it ended")

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(failing())]
    await asyncio.sleep(0)

    failures = await end(*tasks)

    assert asked == 2
    assert [str(failure) for failure in failures] == ["as it ended"]


async def test_a_connection_ends_although_nobody_hears_that_its_query_is_cancelled(
    empty: Database,  # noqa: F811
):
    """The client asks for a cancellation on a second connection, and waits for what comes of it."""
    async with one_connection_only(empty.owner) as dsn:
        connection = await connect(dsn, name="orderflow-tests")
        asking = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.2)
        asking.cancel()
        await asyncio.wait([asking])

        await asyncio.wait_for(connection.close(timeout=0.2), 30)

    assert connection.is_closed()


@contextlib.asynccontextmanager
async def one_connection_only(dsn: str) -> AsyncIterator[str]:
    """Carry the first connection to PostgreSQL; leave every later one without an answer."""
    server = urlsplit(dsn)
    carried: list[asyncio.Task[None]] = []
    opened: list[asyncio.StreamWriter] = []

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        if carried:
            return
        there, here = await asyncio.open_connection(server.hostname, server.port)
        opened.append(here)
        for source, sink in ((reader, here), (there, writer)):
            carried.append(asyncio.create_task(carry(source, sink)))

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)

    listening = await asyncio.start_server(taken, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield server._replace(
            netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"
        ).geturl()
    finally:
        listening.close()
        await end(*carried)
        for writer in opened:
            writer.close()
            await writer.wait_closed()
