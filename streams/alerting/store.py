"""
What the alerts' process remembers, in PostgreSQL: alerts, notices, channels, and who works.

Promises. Nothing is written by a replica that does not hold the lease: every transaction that
writes begins by holding it longer, and fails with LeaseLost where somebody else has it. An alert
and what has to be told of it are written together. Whoever acknowledged an alert is never
overwritten.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Self

from agents.alerting import acknowledged, self_test
from agents.paging import Outcome, Pace
from schemas.alerts import Alert, Notice, Said, Severity, State
from streams.postgres.connecting import connected, end_stopped, pool, told
from streams.postgres.queries import sql

Row = dict[str, Any]

#: Whoever does not hold the lease longer for this time has lost it.
LEASE_FOR = timedelta(seconds=6)
#: One statement; a database that takes longer counts as away.
ANSWERS_WITHIN_S = 5.0
#: Waiting notices that are looked at for one message; more than any message has lines.
WAITING_MAX = 500
#: A page of alerts is never longer.
LISTED_MAX = 500
#: What was over and told so long ago is forgotten.
KEPT_FOR = timedelta(days=400)
_CONNECTIONS_MAX = 4
#: A process that is stopped in a transaction would keep the lease's row locked, and nobody could
#: take over. So a transaction that says nothing for so long is ended: sooner than the lease is.
STOPPED_AFTER = timedelta(seconds=3)
_NAME = "orderflow-alerts"
#: A connection for one question, or for one answer of a person.
asked = partial(connected, name="orderflow-alerts-asked")


class LeaseLost(Exception):  # noqa: N818  no fault: another replica works
    """Another replica has the lease."""


class Channel(NamedTuple):
    """How a channel stands."""

    pace: Pace
    #: Since when it is known, and when it last took a self-test.
    known_ms: int
    tested_ms: int | None


class Store:
    """The tables of alerts, as the replica *holder*: `async with Store(dsn, holder) as store`."""

    def __init__(self, dsn: str, holder: str) -> None:
        self._dsn, self._holder = dsn, holder
        self._pool: Any = None

    async def __aenter__(self) -> Self:
        self._pool = await pool(
            self._dsn, name=_NAME, at_most=_CONNECTIONS_MAX, answers_within_s=ANSWERS_WITHIN_S,
            idle_in_transaction_session_timeout=f"{STOPPED_AFTER.seconds}s",
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.terminate()

    # --- the lease --------------------------------------------------------------------------------

    async def hold(self) -> bool:
        """Take the lease, or hold it longer; say whether it is ours."""
        async with self._connected() as connection:
            await end_stopped(connection, _NAME, STOPPED_AFTER)
            return await self._held(connection)

    async def leave(self) -> None:
        """Let another replica take over at once."""
        async with self._connected() as connection:
            await connection.execute(sql("leave_alert_lease"), self._holder)

    async def _held(self, connection: Any) -> bool:
        term = await connection.fetchval(sql("hold_alert_lease"), self._holder, LEASE_FOR)
        return term is not None

    # --- alerts -----------------------------------------------------------------------------------

    async def recent(self, since_ms: int) -> list[Alert]:
        """Return the alerts that are not over, and those that were over since *since_ms*."""
        async with self._connected() as connection:
            return [
                _alert(row) for row in await connection.fetch(sql("recent_alerts"), _at(since_ms))
            ]

    async def acknowledged(self) -> dict[str, tuple[str, int, str]]:
        """Return who sees to which alert, since when, with which note."""
        async with self._connected() as connection:
            rows = await connection.fetch(sql("acknowledged_alerts"))
        return {
            row["id"]: (row["acknowledged_by"], _ms(row["acknowledged_at"]), row["note"])
            for row in rows
        }

    async def keep(
        self, alerts: Sequence[Alert], lapsed: Sequence[str], due: Iterable["Due"]
    ) -> None:
        """Write *alerts* and what is *due* to be told; forget those *lapsed*. Raises LeaseLost."""
        async with self._writing() as connection:
            if alerts:
                await connection.execute(sql("keep_alerts"), *_columns(map(_row, alerts)))
            if lapsed:
                await connection.execute(sql("forget_pending_alerts"), list(lapsed))
            await _keep_due(connection, list(due))

    async def forget(self, now_ms: int) -> None:
        """Forget what is long over. Raises LeaseLost."""
        before = _at(now_ms) - KEPT_FOR
        async with self._writing() as connection:
            await connection.execute(sql("forget_alerts"), before)
            await connection.execute(sql("forget_notices"), before)

    # --- messages ---------------------------------------------------------------------------------

    async def channels(self, names: Sequence[str]) -> dict[str, Channel]:
        """Return how each of *names* stands; a new one is made known. Raises LeaseLost."""
        async with self._writing() as connection:
            rows = await connection.fetch(sql("known_channels"), list(names))
        return {
            row["channel"]: Channel(
                Pace(
                    _ms(row["next_at"]),
                    row["failures"],
                    _ms_or_none(row["failing_since"]),
                ),
                _ms(row["known_since"]),
                _ms_or_none(row["tested_at"]),
            )
            for row in rows
        }

    async def waiting(self, channel: str) -> list[Notice]:
        """Return what waits on *channel*, first what has to be told first."""
        async with self._connected() as connection:
            rows = await connection.fetch(sql("waiting_notices"), channel, WAITING_MAX)
        return [
            Notice(
                id=row["id"], said=Said(row["said"]), severity=Severity(row["severity"]),
                at_ms=_ms(row["at"]), title=row["title"], line=row["line"], body=row["body"],
            )
            for row in rows
        ]  # fmt: skip

    async def count_waiting(self) -> dict[str, tuple[int, int]]:
        """Return how many notices wait on each channel, and since when the oldest."""
        async with self._connected() as connection:
            rows = await connection.fetch(sql("count_waiting_notices"))
        return {row["channel"]: (row["waiting"], _ms(row["oldest"])) for row in rows}

    async def claim(self, channel: str, next_ms: int) -> None:
        """Say, before a message goes out, when the next may. Raises LeaseLost."""
        async with self._writing() as connection:
            await connection.execute(sql("claim_message"), channel, _at(next_ms))

    async def tried(
        self, channel: str, told_of: Sequence[Notice], outcome: Outcome, pace: Pace, why: str
    ) -> None:
        """Write down what became of a message; what was taken waits no more. Raises LeaseLost."""
        taken = outcome is Outcome.TAKEN
        tested = taken and any(each.said is Said.TEST for each in told_of)
        failing = None if pace.failing_since_ms is None else _at(pace.failing_since_ms)
        async with self._writing() as connection:
            await connection.execute(
                sql("sent_notices" if taken else "unsent_notices"),
                channel,
                [each.id for each in told_of],
            )
            await connection.execute(
                sql("pace_channel"), channel, _at(pace.next_ms), pace.failures, failing, why, tested
            )

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Any]:
        async with self._connected() as connection, connection.transaction():
            if not await self._held(connection):
                raise LeaseLost
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        try:
            async with self._pool.acquire(timeout=ANSWERS_WITHIN_S) as connection:
                yield connection
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  `told` sorts them
            raise told(error) from None


class Due(NamedTuple):
    """A notice, the channels it goes to, and when which of them took it before this was written."""

    notice: Notice
    channels: Sequence[str]
    taken_ms: dict[str, int]


async def _keep_due(connection: Any, due: Sequence[Due]) -> None:
    if not due:
        return
    notices = [
        (n.id, n.said, n.severity, _at(n.at_ms), n.title, n.line, n.body)
        for n in (each.notice for each in due)
    ]
    await connection.execute(sql("keep_notices"), *_columns(notices))
    deliveries = [
        (each.notice.id, channel, _at(each.taken_ms[channel]) if channel in each.taken_ms else None)
        for each in due
        for channel in each.channels
    ]
    if deliveries:
        await connection.execute(sql("keep_deliveries"), *_columns(deliveries))


# --- what people ask ------------------------------------------------------------------------------


async def listed(connection: Any, states: Iterable[State], limit: int) -> list[Row]:
    """Return alerts in one of *states*, those that are not over first, then the latest."""
    rows = await connection.fetch(
        sql("alerts_listed"), [str(each) for each in states], min(limit, LISTED_MAX)
    )
    return [dict(row) for row in rows]


class Acknowledged(NamedTuple):
    """What became of an acknowledgement: the alert as it stands, and why not if it was refused."""

    alert: Row | None
    refused: str = ""


async def acknowledge(connection: Any, id_: str, by: str, note: str, at_ms: int) -> Acknowledged:
    """Let *by* see to an alert, called by its id or the six letters of its messages."""
    async with connection.transaction():
        found = await connection.fetch(sql("alert_called"), id_)
        if not found:
            return Acknowledged(None, f"There is no alert {id_}; look at `orderflow alerts list`.")
        if len(found) > 1:
            return Acknowledged(None, f"Several alerts end in {id_}; give the whole id.")
        alert = acknowledged(_alert(found[0]), by, at_ms, note)
        if alert is None:
            return Acknowledged(dict(found[0]), _why_not(_alert(found[0])))
        row = await connection.fetchrow(
            sql("acknowledge_alert"), alert.id, by, _at(at_ms), alert.note
        )
    return Acknowledged(dict(row))


def _why_not(alert: Alert) -> str:
    match alert.state:
        case State.ACKNOWLEDGED:
            return f"{alert.acknowledged_by} sees to it already."
        case State.PENDING:
            return "It does not fire yet; nobody was told of it."
        case _:
            return "It is over."


async def order_tests(connection: Any, id_: str, at_ms: int) -> dict[str, str]:
    """Let every known channel be told a self-test; return the notices' ids by channel."""
    names = [row["channel"] for row in await connection.fetch(sql("channel_names"))]
    tests = {name: self_test(f"{name}-{id_}/test", name, at_ms) for name in names}
    async with connection.transaction():
        await _keep_due(connection, [Due(test, [name], {}) for name, test in tests.items()])
    return {name: test.id for name, test in tests.items()}


async def tests_taken(connection: Any, ids: Mapping[str, str]) -> dict[str, bool]:
    """Return which channels have taken theirs of *ids*."""
    rows = await connection.fetch(sql("deliveries_of"), list(ids.values()))
    taken = {row["notice"] for row in rows if row["sent_at"] is not None}
    return {name: id_ in taken for name, id_ in ids.items()}


# --- rows -----------------------------------------------------------------------------------------


def _row(alert: Alert) -> tuple[Any, ...]:
    return (
        alert.id, alert.rule, alert.subject, alert.severity, alert.state, _at(alert.since_ms),
        alert.value, alert.worst, _at(alert.read_ms), _at_or_none(alert.calm_since_ms),
        _at_or_none(alert.fired_ms), _at_or_none(alert.resolved_ms),
        _at_or_none(alert.acknowledged_ms), alert.acknowledged_by, alert.note,
    )  # fmt: skip


def _alert(row: Any) -> Alert:
    return Alert(
        id=row["id"], rule=row["rule"], subject=row["subject"], severity=Severity(row["severity"]),
        state=State(row["state"]), since_ms=_ms(row["since"]), value=row["value"],
        worst=row["worst"], read_ms=_ms(row["read_at"]),
        calm_since_ms=_ms_or_none(row["calm_since"]), fired_ms=_ms_or_none(row["fired_at"]),
        resolved_ms=_ms_or_none(row["resolved_at"]),
        acknowledged_ms=_ms_or_none(row["acknowledged_at"]),
        acknowledged_by=row["acknowledged_by"], note=row["note"],
    )  # fmt: skip


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _at_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else _at(ms)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _ms_or_none(at: datetime | None) -> int | None:
    return None if at is None else _ms(at)
