"""
Lets readings be judged, and writes down what came of it.

Promises. What is decided is written before anybody is told, alert and notices in one transaction.
While PostgreSQL is away nothing of it is lost: it is kept here and written later, and its notices
may be told meanwhile (`untold`), because that PostgreSQL is away is itself something to be told.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agents.alert_rules import SIGNALS
from agents.alerting import completed, heard, told
from schemas.alerts import LOUD, Alert, Notice, Reading, Rule, Severity, State
from schemas.errors import Unavailable
from streams.alerting.file import Plan
from streams.alerting.store import Due, Store
from streams.clock import new_id, now_ms
from streams.masking import masked

logger = logging.getLogger(__name__)

#: Alerts that are over are known for so long, so that old readings are not heard anew.
OVER_KNOWN_MS = 10 * 60_000
#: An alert whose figure alone has changed is written at least this often.
WRITTEN_EVERY_MS = 10_000
#: Alerts of one rule at a time; beyond them trouble is everywhere.
ALERTS_MAX = 1_000


class Judge:
    """All alerts of one term, in memory and in the store."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan, self._store = plan, store
        self._rules: dict[str, list[Rule]] = {}
        for rule in plan.rules:
            self._rules.setdefault(rule.signal, []).append(rule)
        #: The last alert of each rule and subject.
        self.known: dict[tuple[str, str], Alert] = {}
        self._written: dict[str, tuple[Alert, int]] = {}
        #: What could not be written yet.
        self._unkept: dict[str, Alert] = {}
        self._lapsed: list[str] = []
        self._due: list[Due] = []
        self._one_at_a_time = asyncio.Lock()
        #: Something new waits on a channel.
        self.news = {channel.name: asyncio.Event() for channel in plan.channels}

    @property
    def signals(self) -> list[str]:
        """The signals that any rule looks at."""
        return [name for name in SIGNALS if name in self._rules]

    async def begin(self) -> None:
        """Take over what was known before; raises Unavailable, LeaseLost."""
        names = {rule.name for rule in self._plan.rules}
        gone = []
        for alert in await self._store.recent(now_ms() - OVER_KNOWN_MS):
            self._written[alert.id] = alert, now_ms()
            known = self.known.get((alert.rule, alert.subject))
            if alert.state is not State.RESOLVED and alert.rule not in names:
                gone.append(alert)
            elif known is None or known.state is State.RESOLVED:
                self.known[alert.rule, alert.subject] = alert
        async with self._one_at_a_time:
            for alert in gone:
                self._turned_off(alert)
            await self._keep()

    def _turned_off(self, alert: Alert) -> None:
        """A rule that is not there any more has nothing to say: its alerts are over."""
        rule = Rule(
            name=alert.rule, signal="", threshold=0, clear=0, severity=alert.severity,
            summary="This rule was turned off.", runbook="docs/alerts.md",
        )  # fmt: skip
        self._took(rule, "", alert, replace(alert, state=State.RESOLVED, resolved_ms=now_ms()))

    async def take(self, signal: str, readings: Sequence[Reading], as_of_ms: int) -> None:
        """Judge *readings* of *signal*, all there are as of *as_of_ms*. Raises LeaseLost."""
        async with self._one_at_a_time:
            await self._hear_of_people()
            unit = SIGNALS[signal].unit
            for rule in self._rules.get(signal, ()):
                for reading in completed(rule, self.known, readings, as_of_ms):
                    self._hear(rule, unit, reading)
            try:
                await self._keep()
            except Unavailable as error:
                logger.warning("alerts are kept in memory for now: %s", error)

    def _hear(self, rule: Rule, unit: str, reading: Reading) -> None:
        place = rule.name, reading.subject
        before = self.known.get(place)
        after = heard(rule, before, reading, new_id())
        if after is None or after is before:
            return
        if before is None and len(self.known) >= ALERTS_MAX * len(self._plan.rules):
            self._forget_over()
        self.known[place] = after
        self._took(rule, unit, before, after)

    def _took(self, rule: Rule, unit: str, before: Alert | None, after: Alert) -> None:
        for notice in told(rule, unit, before, after):
            self._due.append(Due(_masked(notice), self._plan.names(notice.channels), {}))
        if after.fired_ms is None and after.state is State.RESOLVED:
            if after.id in self._written:
                self._lapsed.append(after.id)
            self._unkept.pop(after.id, None)
        elif self._is_worth_writing(after):
            self._unkept[after.id] = after

    def _is_worth_writing(self, alert: Alert) -> bool:
        written, at_ms = self._written.get(alert.id, (None, 0))
        if written is None or now_ms() - at_ms > WRITTEN_EVERY_MS:
            return True
        quiet = {"value": 0.0, "worst": 0.0, "read_ms": 0}
        return replace(written, **quiet) != replace(alert, **quiet)

    async def _hear_of_people(self) -> None:
        """Learn who has acknowledged what, where anything could be."""
        loud = {alert.id: place for place, alert in self.known.items() if alert.state in LOUD}
        if not loud:
            return
        try:
            acknowledged = await self._store.acknowledged()
        except Unavailable:
            return
        for id_, (by, at_ms, note) in acknowledged.items():
            if place := loud.get(id_):
                self.known[place] = replace(
                    self.known[place], state=State.ACKNOWLEDGED, acknowledged_by=by,
                    acknowledged_ms=at_ms, note=note,
                )  # fmt: skip

    async def _keep(self) -> None:
        alerts, lapsed, due = list(self._unkept.values()), self._lapsed[:], self._due[:]
        if not (alerts or lapsed or due):
            return
        await self._store.keep(alerts, lapsed, due)
        self._unkept.clear()
        del self._lapsed[: len(lapsed)], self._due[: len(due)]
        for alert in alerts:
            self._written[alert.id] = alert, now_ms()
        for id_ in lapsed:
            self._written.pop(id_, None)
        for each in due:
            self._ring(each.channels)
        self._forget_over()

    def _forget_over(self) -> None:
        before = now_ms() - OVER_KNOWN_MS
        over = [
            place
            for place, alert in self.known.items()
            if alert.state is State.RESOLVED and (alert.resolved_ms or 0) < before
        ]
        for place in over:
            self._written.pop(self.known.pop(place).id, None)

    def _ring(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self.news[channel].set()

    # --- while PostgreSQL is away -----------------------------------------------------------------

    def untold(self, channel: str) -> list[Notice]:
        """Return the critical notices for *channel* that could not be written, nor told there."""
        return [
            each.notice
            for each in self._due
            if channel in each.channels
            and channel not in each.taken_ms
            and each.notice.severity is Severity.CRITICAL
        ]

    def was_told(self, channel: str, notices: Sequence[Notice], at_ms: int) -> None:
        """Remember that *channel* took *notices* before they were written."""
        ids = {each.id for each in notices}
        for each in self._due:
            if each.notice.id in ids:
                each.taken_ms[channel] = at_ms


def _masked(notice: Notice) -> Notice:
    """No phone, mail address or password leaves in a message, whatever a SKU is called."""
    return replace(
        notice, title=masked(notice.title), line=masked(notice.line), body=masked(notice.body)
    )
