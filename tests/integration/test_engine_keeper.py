"""A keeper on the real broker: nothing lost, nothing twice, whatever is done to it."""

import pytest

from streams.settings import Settings
from tests.integration import shop
from tests.integration.counting import Add

pytestmark = pytest.mark.stack


async def test_commands_become_rows_and_letters(topics: Settings):
    await shop.send(topics, [Add(f"k{n % 50}", 1) for n in range(1000)])

    async with shop.working(topics, [keeper := shop.a_keeper()]):
        await shop.until(lambda: sum(p.state.position for p in keeper.store.parts.values()) == 1000)

    assert await shop.totals(topics) == {f"k{n}": 20 for n in range(50)}
    assert {k.decode(): row.total for k, row in (await shop.changelog_rows(topics)).items()} == {
        f"k{n}": 20 for n in range(50)
    }
