"""
A trade, sent at its pace. What falls due together leaves together.

Where nothing is paced, everything that is on time is sent as fast as the broker takes it, and what
has to be late waits until its holds have run out.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from streams.feed.payloads import render
from streams.feed.sending import Raw, Sender
from streams.feed.trade import LATE_BY_S, Statement, Trade, statements
from streams.settings import Settings

#: Due times are looked at this often; what is due by then shares its batches.
_TICK_S = 0.04
#: So many messages, and the loop has a turn.
_RUN_MAX = 200


class Fed(NamedTuple):
    """What a feed has sent so far, or in all."""

    orders: int
    messages: int
    acknowledged: int
    seconds: float
    #: How many statements of each step, and how many duplicates, late and early ones.
    counts: dict[str, int]


Progress = Callable[[Fed], None]
#: What makes a sender, for these platforms, with this log.
Way = Callable[[Settings, Sequence[str], Path | None], Sender]


async def feed(
    settings: Settings,
    trade: Trade,
    log: Path | None = None,
    progress: Progress = lambda _: None,
    by: Way = Sender,
) -> Fed:
    """
    Send the whole of *trade* *by* a sender; return what was sent.

    Raises BrokerUnavailable, Misconfigured.
    """
    tally = _Tally()
    async with by(settings, trade.platforms, log) as sender:
        pace = _Pace(paced=bool(trade.rate))
        for nth, said in enumerate(_waves(trade)):
            if nth % _RUN_MAX == 0:
                await asyncio.sleep(0)
            if (wait_s := pace.until(said)) > 0:
                await sender.dispatch()
                progress(tally.fed(sender))
                await asyncio.sleep(max(wait_s, _TICK_S))
            await sender.send(message(said))
            tally.count(said)
        await sender.flush()
        fed = tally.fed(sender)
    progress(fed)
    return fed


def _waves(trade: Trade) -> Iterator[Statement]:
    """Yield what is on time, then what is late, where the trade itself is not paced."""
    if trade.rate:
        yield from statements(trade)
        return
    late: list[Statement] = []
    for said in statements(trade):
        if said.late:
            late.append(said)
        else:
            yield said
    # Due relative to now: the last order on time was placed just before.
    for said in late:
        yield said._replace(due_s=trade.hold_for_s + LATE_BY_S)


class _Pace:
    """How long to wait for a statement."""

    def __init__(self, *, paced: bool) -> None:
        self._paced = paced
        self._began = time.monotonic()
        self._late = False

    def until(self, said: Statement) -> float:
        """Return the seconds until *said* is due."""
        if not self._paced and not said.late:
            return 0.0
        if not self._paced and not self._late:
            self._late, self._began = True, time.monotonic()
        return said.due_s - (time.monotonic() - self._began)


def message(said: Statement) -> Raw:
    """Return *said* as its platform would write it."""
    draft = said.draft
    about = {
        "order": said.key,
        "step": said.step,
        "number": said.number,
        "duplicate": said.duplicate,
        "late": said.late,
        "early": said.early,
    }
    return Raw(draft.platform, draft.shop, b"%d" % draft.id, render(draft, said.step), about)


class _Tally:
    """Counts what was sent."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._orders: set[int] = set()

    def count(self, said: Statement) -> None:
        """Count *said* in."""
        counts = self._counts
        self._orders.add(said.draft.id)
        if said.duplicate:
            counts["duplicates"] += 1
            return
        counts[said.step] += 1
        if said.late:
            counts["late"] += 1
        if said.early:
            counts["out_of_order"] += 1

    def fed(self, sender: Sender) -> Fed:
        """Return where the feed stands."""
        return Fed(
            len(self._orders),
            sender.sent,
            sender.acknowledged,
            time.monotonic() - self._began,
            {str(name): count for name, count in sorted(self._counts.items())},
        )
