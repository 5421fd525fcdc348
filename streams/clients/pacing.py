"""
When a call may be made, and when it is made again. Pure: the time and the dice are handed in.

    Bucket     no more calls than a rate allows, each shop its own
    Breaker    a host that fails again and again is left alone for a while
    waits      how long to wait before the next attempt

    closed --so many failures in a row--> open --after a while--> half open --a yes--> closed
                                           ^                           |
                                           +----------- a no ----------+
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.base import Word
from streams.clients.calls import Rate


class Bucket:
    """A token bucket: full at first, filled at the rate, one token a call."""

    def __init__(self, rate: Rate, now_s: float) -> None:
        self._every_s = 1 / rate.per_s
        #: So far may calls run ahead of the rate.
        self._ahead_s = (rate.burst - 1) * self._every_s
        #: When the next call is due, were the calls made evenly.
        self._due_s = now_s
        #: Until then the platform wants no call at all.
        self._rests_until_s = now_s

    def take(self, now_s: float) -> float:
        """Take a token, and return how long to wait for it; tokens are given in order of asking."""
        due_s = max(self._due_s, now_s)
        self._due_s = due_s + self._every_s
        return max(0.0, due_s - self._ahead_s - now_s)

    def rest(self, now_s: float, for_s: float) -> None:
        """The platform wants to be left alone for so long."""
        self._rests_until_s = max(self._rests_until_s, now_s + for_s)

    def rests_for(self, now_s: float) -> float:
        """Return how long it is still to be left alone."""
        return max(0.0, self._rests_until_s - now_s)


class State(Word):
    """Of a breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerRule:
    """When a breaker opens, and for how long."""

    after: int
    for_s: float


#: For whoever calls under a breaker of another's: a queue has one that all its senders share.
NEVER_OPENS = BreakerRule(after=sys.maxsize, for_s=0.0)


class Breaker:
    """Of one host. An attempt asks `may_try`, and then says `yes` or `no`."""

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self._failures = 0
        self._opened_s: float | None = None
        self._trying = False

    def state(self, now_s: float) -> State:
        """Return where it stands."""
        if self._opened_s is None:
            return State.CLOSED
        return State.OPEN if self.opens_in(now_s) > 0 else State.HALF_OPEN

    def opens_in(self, now_s: float) -> float:
        """Return how long nothing may be tried."""
        if self._opened_s is None:
            return 0.0
        return max(0.0, self._opened_s + self._rule.for_s - now_s)

    def may_try(self, now_s: float) -> bool:
        """Say whether an attempt may be made; half open, only one at a time."""
        state = self.state(now_s)
        if state is State.HALF_OPEN and not self._trying:
            self._trying = True
            return True
        return state is State.CLOSED

    def yes(self) -> None:
        """The host answered as a host should."""
        self._failures, self._opened_s, self._trying = 0, None, False

    def no(self, now_s: float) -> None:
        """It did not."""
        self._failures += 1
        if self._trying or (self._opened_s is None and self._failures >= self._rule.after):
            self._opened_s = now_s
        self._trying = False

    def gone(self) -> None:
        """The attempt was given up; it tells nothing."""
        self._trying = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRule:
    """How often a call is made, and how long to wait between attempts."""

    attempts_max: int
    #: Before the second attempt; twice as long before each further one.
    first_wait_s: float
    #: A platform that wants us to wait longer is asked again another time.
    wait_max_s: float


def waits(rule: RetryRule) -> Iterator[float]:
    """Yield the longest wait before each further attempt: 3, 6, 12, 24 s where the first is 3."""
    for nth in range(rule.attempts_max - 1):
        yield rule.first_wait_s * 2**nth


def wait_of(longest_s: float, dice: float, retry_after_s: float | None) -> float:
    """
    Return how long to wait, with *dice* from 0 to 1: full jitter, and never less than was asked.

    Whoever is told the same Retry-After at the same moment does not come back at the same moment.
    """
    return (retry_after_s or 0.0) + longest_s * dice


def retry_after(said: str | None) -> float | None:
    """Return the seconds of a Retry-After; a date is taken as not said."""
    try:
        seconds = float(said or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86400 else None
