"""
The words of alerts: a rule, what a signal reads, an alert and how it stands, and what is told.

A *signal* is a figure somebody measures, once for each *subject* (a SKU, a shop, a partition). A
*rule* says which figure is trouble, and for how long. An *alert* is one rule met by one subject,
from its beginning to its end. A *notice* is what is told of it: once that it fires, once that it is
over.
"""

from typing import Annotated

from msgspec import Meta, Struct

from schemas.base import Word

#: No rule waits longer than this before it fires or is over: a week.
WAIT_MS_MAX = 7 * 24 * 3_600_000

Figure = Annotated[float, Meta(ge=0, le=1e15)]
WaitMs = Annotated[int, Meta(ge=0, le=WAIT_MS_MAX)]


class Severity(Word):
    """Who has to act, and when."""

    #: A person, now: somebody is woken.
    CRITICAL = "critical"
    #: A person, today.
    WARNING = "warning"
    #: Nobody has to; somebody wants to know.
    INFO = "info"


#: In order of precedence: the first is told first.
SEVERITIES = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


class State(Word):
    """How an alert stands."""

    #: The figure is beyond the threshold, not yet for as long as the rule says.
    PENDING = "pending"
    #: It was for long enough; people are told.
    FIRING = "firing"
    #: A person has said that they see to it.
    ACKNOWLEDGED = "acknowledged"
    #: The figure has been back for long enough. The end; a new one is another alert.
    RESOLVED = "resolved"


#: An alert that people were told of and that is not over.
LOUD = frozenset({State.FIRING, State.ACKNOWLEDGED})


class Rule(Struct, frozen=True, kw_only=True):
    """When a signal is trouble."""

    name: Annotated[str, Meta(pattern=r"^[a-z]+(-[a-z]+)*(?![\s\S])", max_length=60)]
    #: The figure it looks at, by the name in `agents/alert_rules.py`.
    signal: str
    #: Trouble is a figure above this.
    threshold: Figure
    #: It is over at or below this; between the two an alert stays as it is (hysteresis).
    clear: Figure
    #: How long the figure has to be above before the alert fires, and back before it is over.
    for_ms: WaitMs = 0
    clear_for_ms: WaitMs = 0
    severity: Severity
    #: What it means, in one sentence.
    summary: Annotated[str, Meta(min_length=1, max_length=200)]
    #: Where a person reads what to do.
    runbook: Annotated[str, Meta(min_length=1, max_length=300)]
    #: The channels it goes to; none named: all.
    channels: tuple[str, ...] = ()
    #: False: nobody looks.
    enabled: bool = True


class Reading(Struct, frozen=True):
    """What a signal read of one subject at a moment."""

    subject: str
    value: float
    at_ms: int


class Alert(Struct, frozen=True, kw_only=True):
    """One rule met by one subject."""

    #: The same for ever, and in everything that is told of it.
    id: str
    rule: str
    subject: str
    severity: Severity
    state: State
    #: Since when the figure is above the threshold.
    since_ms: int
    #: The last figure, the worst of all, and when the last was read.
    value: float
    worst: float
    read_ms: int
    #: Since when the figure is back; None: it is not.
    calm_since_ms: int | None = None
    fired_ms: int | None = None
    resolved_ms: int | None = None
    acknowledged_ms: int | None = None
    acknowledged_by: str | None = None
    note: str = ""


class Said(Word):
    """What a notice says."""

    FIRED = "fired"
    RESOLVED = "resolved"
    #: The daily self-test: nothing is wrong.
    TEST = "test"


class Notice(Struct, frozen=True, kw_only=True):
    """Something to be told to people, once on each channel; a repeat has the same id."""

    #: `<alert>/fired`, `<alert>/resolved`: whoever gets it twice can tell.
    id: str
    said: Said
    severity: Severity
    at_ms: int
    #: Who and what, in a few words.
    title: str
    #: One line, and the same at length.
    line: str
    body: str
    #: The channels it goes to; none named: all.
    channels: tuple[str, ...] = ()
