"""Stateless agents and sinks on the real broker."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest
from msgspec import msgpack

from agents.letters import PREFIX_BYTES, seal
from schemas.errors import LedgerUnavailable
from streams.engine.agent import Agent, Output
from streams.engine.rounds import Batch
from streams.engine.serving import EXIT_CRASHED, run
from streams.engine.sink import Place, Sink
from streams.settings import Settings
from tests.integration import shop
from tests.integration.counting import COUNTS, TOPICS, TOTALS, Add, Total

pytestmark = pytest.mark.stack


async def double(batches: Sequence[Batch]) -> list[Output]:
    """Say every command's number, twice as large."""
    decode = msgpack.Decoder(Add).decode
    said = []
    for batch in batches:
        assert batch.topic == "counts"
        for record in batch.records:
            add = decode(record.value[PREFIX_BYTES:])
            said.append(
                Output(
                    TOTALS.name, add.key.encode(), seal(Total(add.key, add.n * 2)), [("x", b"y")]
                )
            )
    return said


def an_agent(work=double) -> Agent:
    return Agent("doubler", [COUNTS], work, [TOTALS.name])


async def heard(settings: Settings) -> list[Total]:
    decode = msgpack.Decoder(Total).decode
    return [decode(r.value[PREFIX_BYTES:]) for r in await shop.read(settings, TOTALS.name)]


async def test_an_agent_reads_everything_and_goes_on_where_its_group_was(topics: Settings):
    await shop.send(topics, [Add(f"k{n}", n) for n in range(500)])
    async with shop.working(topics, [an_agent()]):
        await shop.until(lambda: _many(topics, 500))
    await shop.send(topics, [Add(f"m{n}", n) for n in range(500)])

    async with shop.working(topics, [an_agent()]):
        await shop.until(lambda: _many(topics, 1000))

    said = await heard(topics)
    assert len(said) == 1000
    assert {t.key: t.total for t in said} == {f"{c}{n}": 2 * n for c in "km" for n in range(500)}


async def _many(settings: Settings, n: int) -> bool:
    return len(await heard(settings)) >= n


async def test_an_agent_that_fails_ends_the_process_and_repeats_what_was_not_committed(
    topics: Settings,
):
    await shop.send(topics, [Add("a", 1)])

    async def fail(batches: Sequence[Batch]) -> list[Output]:
        raise ValueError("no")

    agent = an_agent(fail)
    assert await asyncio.wait_for(
        run(topics, [agent], topics=TOPICS, stop=asyncio.Event()), 20
    ) == (EXIT_CRASHED)
    await agent.app.stop()

    async with shop.working(topics, [an_agent()]):
        await shop.until(lambda: _many(topics, 1))


class Shelf:
    """A place that keeps records and positions, as a database would."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, int, int]] = []
        self.next: dict[Place, int] = {}
        self.away = 0

    async def starts(self, partitions: Sequence[Place]) -> Mapping[Place, int]:
        return {place: self.next[place] for place in partitions if place in self.next}

    def prepare(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        return batches

    async def put(self, batches: Sequence[Batch]) -> None:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("the shelf is away")
        for batch in batches:
            place = batch.topic, batch.partition
            assert self.next.get(place, 0) == batch.start, "another owner"
            self.kept += [(*place, record.offset) for record in batch.records]
            self.next[place] = batch.next


def a_sink(shelf: Shelf) -> Sink:
    return Sink("shelf", [COUNTS, TOTALS], shelf)


async def test_a_sink_writes_every_record_once_over_restarts(topics: Settings):
    shelf = Shelf()
    for life in (1, 2, 3):
        await shop.send(topics, [Add(f"k{n}", n) for n in range(300)])
        await shop.send(topics, [Total(f"k{n}", n) for n in range(100)], TOTALS)
        async with shop.working(topics, [a_sink(shelf)]):
            await shop.until(lambda life=life: len(shelf.kept) >= 400 * life)

    assert len(shelf.kept) == len(set(shelf.kept)) == 1200


async def test_a_sink_goes_on_where_its_place_is_not_where_its_group_is(topics: Settings):
    await shop.send(topics, [Add(f"k{n}", n) for n in range(300)])
    async with shop.working(topics, [a_sink(shelf := Shelf())]):
        await shop.until(lambda: len(shelf.kept) == 300)
        await asyncio.sleep(0.8)

    restored = Shelf()
    async with shop.working(topics, [a_sink(restored)]):
        await shop.until(lambda: len(restored.kept) == 300)


async def test_a_sink_waits_in_place_while_its_place_is_away(
    topics: Settings, caplog: pytest.LogCaptureFixture
):
    shelf = Shelf()
    shelf.away = 3
    await shop.send(topics, [Add(f"k{n}", n) for n in range(100)])

    async with shop.working(topics, [a_sink(shelf)]):
        await shop.until(lambda: len(shelf.kept) == 100)

    assert len(set(shelf.kept)) == 100
    assert sum("the shelf is away" in r.message for r in caplog.records) == 3


async def test_a_sink_that_meets_another_owner_ends_the_process(
    topics: Settings, caplog: pytest.LogCaptureFixture
):
    shelf = Shelf()
    sink = a_sink(shelf)
    stop = asyncio.Event()
    running = asyncio.ensure_future(run(topics, [sink], topics=TOPICS, stop=stop))
    await shop.until(lambda: sink.ready)
    shelf.next = {(COUNTS.name, p): 5 for p in range(4)}
    await shop.send(topics, [Add("a", 1)])

    code = await asyncio.wait_for(running, 10)
    await sink.app.stop()

    assert code == EXIT_CRASHED
    assert any(r.levelno == logging.CRITICAL for r in caplog.records)


async def test_several_roles_share_one_process(topics: Settings):
    await shop.send(topics, [Add(f"k{n % 10}", 1) for n in range(100)])

    async with shop.working(topics, [shop.a_keeper(), a_sink(shelf := Shelf())]):
        await shop.until(lambda: len(shelf.kept) == 200)

    assert await shop.totals(topics) == {f"k{n}": 10 for n in range(10)}
