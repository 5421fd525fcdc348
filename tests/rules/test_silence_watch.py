"""What is known of the channels' weeks outlives a database that is away for a moment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.silence import Changes, Hour, Silence
from schemas.errors import LedgerUnavailable
from streams.polling.metrics import Metrics
from streams.polling.silence import SilenceWatch

#: A Wednesday, noon.
NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)
LAST = NOON - timedelta(hours=2)
HOURS = [
    Hour("taobao", "lamps", at, 20, at + timedelta(minutes=59))
    for at in (LAST - timedelta(hours=n) for n in range(1, 8 * 7 * 24))
]


class Ledger:
    """A store whose orders cannot be read while it is *away*."""

    def __init__(self) -> None:
        self.away = False
        self.open: list[Silence] = []
        self.noted: list[Changes] = []

    async def hours(self, since: datetime, until: datetime) -> list[Hour]:
        if self.away:
            raise LedgerUnavailable
        return [hour for hour in HOURS if since <= hour.at < until]

    async def silences(self) -> list[Silence]:
        return self.open

    async def note(self, new: Changes, now: datetime) -> None:
        self.noted.append(new)
        self.open = [Silence(1, began.platform, began.shop, began.last_at) for began in new.began]

    async def untold(self, limit: int) -> list[dict[str, Any]]:
        return []


async def test_a_look_that_failed_forgets_no_weeks():
    ledger = Ledger()
    watch = SilenceWatch(ledger, None, Metrics())  # type: ignore[arg-type]
    await watch.look(NOON)
    later = NOON + timedelta(hours=7)  # the weeks are due to be read whole again
    ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await watch.look(later)
    ledger.away = False

    [verdict] = await watch.look(later + timedelta(minutes=1))

    assert verdict.state == "silent"
    assert [(len(each.began), each.ended) for each in ledger.noted] == [(1, [])]


async def test_the_weeks_are_read_although_the_first_look_failed():
    ledger = Ledger()
    watch = SilenceWatch(ledger, None, Metrics())  # type: ignore[arg-type]
    ledger.away = True
    with pytest.raises(LedgerUnavailable):
        await watch.look(NOON)
    ledger.away = False

    [verdict] = await watch.look(NOON + timedelta(minutes=1))

    assert verdict.state == "silent"
