"""
What has to arrive over HTTP: when it is tried, what an answer means, when a host rests.

Knows no destination by kind and no clock: moments and dice are arguments. `streams/delivering/`
keeps the queue and does what is decided here.

    waiting --taken--> delivered
       |  ^----any other answer, and attempts are left: 3 s, 6 s, 12 s, 24 s later
       |  ^----gone, or our credentials are refused: later, and no attempt is used up
       +---declined: it would be declined again--> parked, at once
       +---the last attempt failed--> parked (a person retries: waiting again; or discards)
       +---the destination is removed--> cancelled
"""

from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.base import Word


class State(Word):
    """Of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    PARKED = "parked"
    CANCELLED = "cancelled"


class Standing(Word):
    """Of a destination."""

    ACTIVE = "active"
    #: By a person: what is told meanwhile waits.
    PAUSED = "paused"
    #: It said itself that it is gone (410): what waited waits, nothing new is added.
    GONE = "gone"
    #: By a person, for good.
    REMOVED = "removed"


class Outcome(Word):
    """What an attempt came to."""

    #: 2xx.
    TAKEN = "taken"
    #: 410.
    GONE = "gone"
    #: 429.
    THROTTLED = "throttled"
    #: Any other answer below 500: a redirect is one, nobody follows it.
    REFUSED = "refused"
    #: 500 and above.
    FAILED = "failed"
    #: No answer, or none in time.
    AWAY = "away"
    #: Its address is one that nothing is sent to.
    FORBIDDEN = "forbidden"
    #: It, or the house for it, says no and would say so again.
    DECLINED = "declined"
    #: It refuses our credentials, whatever is sent; a person or another system renews them.
    DENIED = "denied"
    #: The sender ended in the middle: nobody knows.
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """What came of one attempt, as a destination's kind tells it."""

    outcome: Outcome
    #: The HTTP status, where there was an answer.
    status: int | None = None
    #: One sentence, without the address.
    why: str = ""
    #: How long the destination wants to be left alone, s.
    retry_after_s: float | None = None
    #: The beginning of the answer's body, masked.
    said: str = ""


def outcome_of(status: int) -> Outcome:
    """Return what an HTTP status means."""
    if 200 <= status < 300:
        return Outcome.TAKEN
    if status == 410:
        return Outcome.GONE
    if status == 429:
        return Outcome.THROTTLED
    return Outcome.FAILED if status >= 500 else Outcome.REFUSED


# --- the schedule ---------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """How often it is tried, and how long is waited between attempts."""

    attempts_max: int = 5
    #: Before the second attempt; twice as long before each further one.
    first_wait_ms: int = 3_000
    #: Each wait is longer by up to this share, by chance: many do not come back at one moment.
    jitter: float = 0.2
    #: A Retry-After counts up to here.
    retry_after_max_ms: int = 3_600_000


class Decision(NamedTuple):
    """What becomes of a delivery after an attempt."""

    state: State
    #: Until the next attempt, where it waits.
    wait_ms: int = 0
    #: So long the destination gets nothing at all.
    rest_ms: int = 0
    #: The destination says that it is gone.
    closes: bool = False
    #: The attempt does not count: nothing was said of this message.
    is_free: bool = False


def wait_ms(rule: Schedule, attempt: int, dice: float, asked_s: float | None = None) -> int:
    """
    Return how long to wait after *attempt* (from 1) failed, with *dice* from 0 to 1.

    Never less than the schedule, nor than was asked for, up to the limit of what may be asked.
    """
    base = rule.first_wait_ms << (attempt - 1)
    return max(round(base * (1 + rule.jitter * dice)), _asked_ms(rule, asked_s))


def decided(rule: Schedule, answer: Answer, attempt: int, dice: float) -> Decision:
    """Return what becomes of a delivery whose attempt number *attempt* came to *answer*."""
    if answer.outcome is Outcome.TAKEN:
        return Decision(State.DELIVERED)
    if answer.outcome is Outcome.GONE:
        return Decision(State.WAITING, closes=True, is_free=True)
    if answer.outcome is Outcome.DECLINED:
        return Decision(State.PARKED)
    rest_ms = _asked_ms(rule, answer.retry_after_s)
    if answer.outcome is Outcome.DENIED:
        again_ms = wait_ms(rule, 1, dice, answer.retry_after_s)
        return Decision(State.WAITING, again_ms, rest_ms=rest_ms, is_free=True)
    if attempt >= rule.attempts_max:
        return Decision(State.PARKED, rest_ms=rest_ms)
    return Decision(
        State.WAITING, wait_ms(rule, attempt, dice, answer.retry_after_s), rest_ms=rest_ms
    )


def _asked_ms(rule: Schedule, asked_s: float | None) -> int:
    return min(round((asked_s or 0.0) * 1000), rule.retry_after_max_ms)


# --- the breaker of a host ------------------------------------------------------------------------


class Circuit(Word):
    """Of a host."""

    CLOSED = "closed"
    #: Nothing is sent until its time.
    OPEN = "open"
    #: One delivery is on its way to see.
    TRYING = "trying"


class Sign(Word):
    """What moves a circuit."""

    #: It answered, whatever it said.
    WELL = "well"
    #: No answer, or 5xx.
    ILL = "ill"
    #: The same, so often in a row that it counts.
    ILL_ONCE_TOO_OFTEN = "ill_once_too_often"
    #: Its time is over, and somebody wants to send.
    DUE = "due"


#: What is not here changes nothing.
CIRCUIT: Final = MappingProxyType(
    {
        (Circuit.CLOSED, Sign.ILL_ONCE_TOO_OFTEN): Circuit.OPEN,
        (Circuit.OPEN, Sign.DUE): Circuit.TRYING,
        # Of an attempt that was under way when it opened.
        (Circuit.OPEN, Sign.WELL): Circuit.CLOSED,
        (Circuit.TRYING, Sign.WELL): Circuit.CLOSED,
        (Circuit.TRYING, Sign.ILL): Circuit.OPEN,
        (Circuit.TRYING, Sign.ILL_ONCE_TOO_OFTEN): Circuit.OPEN,
    }
)
#: One that declined says nothing of its host: the house may have said no without asking it.
_WELL = frozenset({Outcome.TAKEN, Outcome.GONE, Outcome.THROTTLED, Outcome.REFUSED, Outcome.DENIED})
_ILL = frozenset({Outcome.FAILED, Outcome.AWAY, Outcome.FORBIDDEN})


class BreakerRule(NamedTuple):
    """When a host is left alone, and for how long."""

    after: int = 10
    for_ms: int = 30_000


class Breaker(NamedTuple):
    """Of one host."""

    circuit: Circuit = Circuit.CLOSED
    #: In a row.
    failures: int = 0
    #: Open: when one may try. Trying: when that attempt counts as lost, and another may.
    until_ms: int = 0


HEALTHY: Final = Breaker()


def admitted(breaker: Breaker, now_ms: int, attempt_ms: int) -> tuple[int | None, Breaker]:
    """
    Return how many may be sent now (None: as many as there are), and the breaker after that.

    An attempt that was let through is lost when nothing is heard of it for *attempt_ms*.
    """
    if breaker.circuit is Circuit.CLOSED:
        return None, breaker
    if now_ms < breaker.until_ms:
        return 0, breaker
    trying = CIRCUIT.get((breaker.circuit, Sign.DUE), breaker.circuit)
    return 1, Breaker(trying, breaker.failures, now_ms + attempt_ms)


def heard(breaker: Breaker, outcome: Outcome, now_ms: int, rule: BreakerRule) -> Breaker:
    """Return the breaker after an attempt came to *outcome*."""
    if outcome in _WELL:
        return HEALTHY if breaker != HEALTHY else breaker
    if outcome not in _ILL:
        return breaker
    failures = breaker.failures + 1
    sign = Sign.ILL_ONCE_TOO_OFTEN if failures >= rule.after else Sign.ILL
    circuit = CIRCUIT.get((breaker.circuit, sign), breaker.circuit)
    opens = circuit is Circuit.OPEN and breaker.circuit is not Circuit.OPEN
    return Breaker(circuit, failures, now_ms + rule.for_ms if opens else breaker.until_ms)
