"""
A channel that says nothing, although at this hour of the week it always did. Pure.

The rule, as a person would put it: of each hour of the week, take the orders of the last weeks and
of those the middle one (so one campaign or one outage teaches nothing). Add up what those hours
promise since the channel's last order. If so many were to be expected that none at all happens once
in ten thousand times (Poisson: e^-expected), the channel is silent, and somebody has to look.

A channel of less than two weeks is being learned; one that sells little is waited for longer, which
is the point: the same four quiet hours are nothing at night and an alarm at noon.

How to ask. `judged(history, now)` gives every channel its verdict: `history` is one `Hour` for each
channel and hour that had orders in the last `WEEKS + 1` weeks (the query
`orders_by_channel_and_hour` returns just those columns), `now` has its zone. A verdict's `state` is
`silent`, `talking` or `learning`; `expected` is what should have come since `last_at`. Whoever
knows which silences are open gives them to `changes`, and gets what has begun and what has ended.
The poller does both, and writes it to the table `channel_silences` (an open one has no `ended_at`),
to the topic `channel-events` and to the gauge `orderflow_channel_silent`: an alarm needs only one
of the three, and asks nothing anew.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

#: So many weeks are learned from.
WEEKS = 8
#: A channel that is younger is not judged.
WEEKS_MIN = 2
#: How likely it may be that a healthy channel says nothing for so long; less is an alarm.
CHANCE_MIN = 1e-4
_HOUR = timedelta(hours=1)
_WEEK = timedelta(weeks=1)


class Hour(NamedTuple):
    """How many orders one channel had in one hour."""

    platform: str
    shop: str
    #: Its first instant.
    at: datetime
    orders: int
    last_at: datetime


class Verdict(NamedTuple):
    """How a channel is."""

    platform: str
    shop: str
    #: talking, silent or learning.
    state: str
    last_at: datetime
    silent_s: float
    #: Orders that were to be expected since the last one.
    expected: float
    #: How likely a healthy channel says nothing for so long.
    chance: float


class Silence(NamedTuple):
    """A silence that has begun and not ended."""

    id: int
    platform: str
    shop: str
    #: The last order before it.
    last_order_at: datetime


class Ended(NamedTuple):
    """A silence that is over: since when, and by an order or because nobody expects any more."""

    id: int
    at: datetime
    by_order: bool


class Changes(NamedTuple):
    """What a look found to be new."""

    began: list[Verdict]
    ended: list[Ended]


def changes(verdicts: Iterable[Verdict], open_: Iterable[Silence], now: datetime) -> Changes:
    """
    Return what has begun and what has ended, given the silences that are open.

    A silence ends with an order; or when its channel is quiet for so long that nothing is expected
    of it any more. It may begin anew in the same look, if the order was one alone.
    """
    found = {(each.platform, each.shop): each for each in verdicts}
    ended, still = [], set()
    for silence in open_:
        verdict = found.get((silence.platform, silence.shop))
        if verdict is not None and verdict.last_at > silence.last_order_at:
            ended.append(Ended(silence.id, verdict.last_at, by_order=True))
        elif verdict is None or verdict.state != "silent":
            ended.append(Ended(silence.id, now, by_order=False))
        else:
            still.add((silence.platform, silence.shop))
    began = [each for key, each in found.items() if each.state == "silent" and key not in still]
    return Changes(began, ended)


def judged(history: Iterable[Hour], now: datetime) -> list[Verdict]:
    """Return a verdict for every channel in the *history* of the last weeks; silent ones first."""
    channels: dict[tuple[str, str], dict[datetime, Hour]] = {}
    for hour in history:
        channels.setdefault((hour.platform, hour.shop), {})[hour.at] = hour
    verdicts = [_judged(*channel, hours, now) for channel, hours in channels.items()]
    return sorted(verdicts, key=lambda each: (each.state != "silent", each.chance))


def _judged(platform: str, shop: str, hours: Mapping[datetime, Hour], now: datetime) -> Verdict:
    last_at = max(hour.last_at for hour in hours.values())
    silent_s = max(0.0, (now - last_at).total_seconds())
    first = min(hours)
    if last_at - first < WEEKS_MIN * _WEEK:
        return Verdict(platform, shop, "learning", last_at, silent_s, 0.0, 1.0)
    expected = _expected(hours, first, last_at, now)
    chance = math.exp(-expected)
    state = "silent" if chance < CHANCE_MIN else "talking"
    return Verdict(platform, shop, state, last_at, silent_s, expected, chance)


def _expected(
    hours: Mapping[datetime, Hour], first: datetime, last_at: datetime, now: datetime
) -> float:
    """Return how many orders there should have been between *last_at* and *now*."""
    expected = 0.0
    at = last_at.replace(minute=0, second=0, microsecond=0)
    while at < now:
        share = (min(now, at + _HOUR) - max(last_at, at)) / _HOUR
        expected += share * usual(hours, first, last_at, at)
        at += _HOUR
    return expected


def usual(
    hours: Mapping[datetime, Hour], first: datetime, last_at: datetime, at: datetime
) -> float:
    """Return the middle of what this hour of the week had in the weeks before the silence."""
    end = last_at.replace(minute=0, second=0, microsecond=0)
    counts: list[int] = []
    for week in range(1, WEEKS + 2):
        before = at - week * _WEEK
        if first <= before < end and len(counts) < WEEKS:
            found = hours.get(before)
            counts.append(found.orders if found else 0)
    return float(median(counts)) if counts else 0.0
