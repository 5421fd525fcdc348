"""Deadlines: a row is woken once it is due, by whoever has its partition."""

import time

import pytest
from msgspec.structs import replace

from agents.letters import Form, Route
from streams.engine.keeper import Keeper
from streams.settings import Settings
from tests.integration import shop
from tests.integration.counting import COUNTS, ROUTES, TABLE, Add, Counter, Wake, decide

pytestmark = pytest.mark.stack


def timed(rows, command, at_ms):
    """Every counter is removed by a wake, half a second after its last command."""
    changes, said = decide(rows, command, at_ms)
    return {
        key: None if row is None else Counter(row.total, command.key.encode(), at_ms + 500)
        for key, row in changes.items()
    }, said


TIMED = replace(
    TABLE,
    decide=timed,
    deadline_ms=lambda row: row.due_ms,
    wake=lambda row: Wake(row.filler.decode()),
)


def a_keeper() -> Keeper:
    routes = {**ROUTES, Wake: Route(COUNTS.name, lambda wake: wake.key.encode(), Form.LETTER)}
    return Keeper(TIMED, COUNTS, routes)


async def test_a_row_is_woken_when_its_deadline_has_passed(topics: Settings):
    async with shop.working(topics, [keeper := a_keeper()]):
        await shop.send(topics, [Add(f"k{n}", 1) for n in range(2000)])
        sent = time.monotonic()
        await shop.until(lambda: sum(len(p.rows) for p in keeper.store.parts.values()) == 2000)
        await shop.until(lambda: not any(p.rows for p in keeper.store.parts.values()))
        took = time.monotonic() - sent

    assert took < 3
    assert set((await shop.totals(topics)).values()) == {-1}
    commands = await shop.read(topics, COUNTS.name)
    assert len(commands) == 4000, "each row is woken once"


async def test_t53_a_row_that_became_due_while_nobody_worked_is_woken_after_recovery(
    topics: Settings,
):
    await shop.send(topics, [Add("a", 1), Add("b", 1)])
    async with shop.working(topics, [keeper := a_keeper()]):
        await shop.until(lambda: sum(p.state.position for p in keeper.store.parts.values()) >= 2)

    async with shop.working(topics, [keeper := a_keeper()]):
        await shop.until(lambda: not any(p.rows for p in keeper.store.parts.values()))

    assert await shop.totals(topics) == {"a": -1, "b": -1}
