"""
The queue in PostgreSQL: who may send what now, and what became of it.

Promises. Of any number of senders at most one has a delivery at a time: it is leased to one claim,
and what the holder of a lapsed lease says of it changes nothing. Of a lane the first goes before
the others. No destination has more under way than it takes at once, no host that is left alone gets
more than one attempt to see whether it is well again. What an attempt came to, the breaker, the log
and the exception where it was the last are one transaction. All moments are PostgreSQL's: replicas
need no common clock.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from agents.deliveries import (
    HEALTHY,
    Answer,
    Breaker,
    BreakerRule,
    Circuit,
    Decision,
    State,
    admitted,
    heard,
)
from streams.clock import new_id
from streams.postgres.connecting import pool, told
from streams.postgres.queries import sql

#: One statement; a database that takes longer counts as away.
ANSWERS_WITHIN_S = 10.0
#: Destinations that are looked at in one pass.
DESTINATIONS_MAX = 500
#: Numbers that a newer one may replace are many, and kept for no longer than this.
LEVELS_KEPT = timedelta(days=1)
#: Rows that are forgotten at a time.
FORGOTTEN_MAX = 5_000
_CONNECTIONS_MAX = 6
#: A transaction that says nothing for so long is ended by the server, with its locks.
_IDLE_MS = 10_000


class Delivery(NamedTuple):
    """One message to one destination, leased to whoever has this."""

    id: int
    kind: str
    destination: str
    #: What is kept in order: the order's key.
    lane: str
    #: The id that the receiver knows it by; the same at every attempt.
    message: str
    #: What it is about: the type of its event.
    about: str
    body: bytes
    #: Which attempt this is, from 1.
    attempt: int
    #: Whose lease it is.
    lease: str


class Waiting(NamedTuple):
    """How many wait, and how long the first has."""

    number: int
    oldest_s: float


class Store:
    """The tables of deliveries: `async with Store(dsn, …) as store`."""

    def __init__(self, dsn: str, lease: timedelta, breaker: BreakerRule) -> None:
        self._dsn, self._lease, self._rule = dsn, lease, breaker
        self._pool: Any = None

    async def __aenter__(self) -> Self:
        self._pool = await pool(
            self._dsn, name="orderflow-callbacks", at_most=_CONNECTIONS_MAX,
            answers_within_s=ANSWERS_WITHIN_S,
            idle_in_transaction_session_timeout=str(_IDLE_MS),
            # A crash of the server may forget the last attempts: they are made again, under the
            # same ids, as after any crash.
            synchronous_commit="off",
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.terminate()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """Give a connection; what goes wrong on it is said in our words."""
        try:
            async with self._pool.acquire(timeout=ANSWERS_WITHIN_S) as connection:
                yield connection
        except Exception as error:  # noqa: BLE001  `told` sorts them
            raise told(error) from None

    # --- claiming ---------------------------------------------------------------------------------

    async def due(self, kinds: Sequence[str]) -> list[tuple[str, str]]:
        """Return (kind, id) of the destinations that may get something now."""
        async with self.connected() as connection:
            rows = await connection.fetch(sql("destinations_due"), list(kinds), DESTINATIONS_MAX)
        return [(row["kind"], row["id"]) for row in rows]

    async def claim(self, kind: str, destination: str, most: int) -> list[Delivery]:
        """Lease at most so many deliveries to one destination; none while another claims there."""
        lease = new_id()
        async with self.connected() as connection, connection.transaction():
            there = await connection.fetchrow(sql("lock_destination"), kind, destination)
            if there is None:
                return []
            most, trying = await self._admitted(connection, there["host"], most)
            if not most:
                return []
            rows = await connection.fetch(
                sql("claim_deliveries"), kind, destination, most, there["at_once"], lease,
                self._lease,
            )  # fmt: skip
            # Where nothing was to be had after all, nobody tries: the next one may.
            if rows and trying is not None:
                await _keep(connection, there["host"], trying)
        return [
            Delivery(
                id=row["id"],
                kind=kind,
                destination=destination,
                lane=row["lane"],
                message=row["message"],
                about=row["about"],
                body=row["body"],
                attempt=row["attempts"],
                lease=lease,
            )
            for row in sorted(rows, key=lambda row: row["id"])
        ]

    async def _admitted(self, connection: Any, host: str, most: int) -> tuple[int, Breaker | None]:
        """Return how many may go, and how the host stands once one is tried to see."""
        row = await connection.fetchrow(sql("lock_host"), host)
        if row is None:
            return most, None
        limit, after = admitted(_breaker(row), _ms(row["now"]), _whole_ms(self._lease))
        return (most, None) if limit is None else (min(most, limit), after)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give back what was claimed and never begun."""
        async with self.connected() as connection:
            for each in deliveries:
                await connection.execute(sql("release_deliveries"), [each.id], each.lease)
                await connection.execute(sql("untry_host"), each.kind, each.destination)

    # --- what became of it ------------------------------------------------------------------------

    async def tried(
        self,
        delivery: Delivery,
        answer: Answer,
        decision: Decision,
        latency_ms: int,
        *,
        stage: str,
        closed: str = "",
    ) -> State | None:
        """
        Write down what an attempt came to; None: the lease had lapsed, and it is only logged.

        Returns what became of the delivery: CANCELLED also where a newer one has replaced it.

        *stage* is how it is parked, *closed* the statement that notes a destination which is gone.
        """
        # In one order everywhere, or two would wait for each other: destination, host, delivery.
        async with self.connected() as connection, connection.transaction():
            await self._rest(connection, delivery, answer, decision, closed)
            await self._heard(connection, delivery, answer)
            state = await self._ended(connection, delivery, decision)
            await connection.execute(
                sql("note_attempt"), delivery.id, delivery.attempt, answer.outcome, answer.status,
                answer.why, latency_ms, answer.said,
            )  # fmt: skip
            if state is State.PARKED:
                await connection.execute(
                    sql("park_delivery"), delivery.id, stage, _reason(delivery, answer)
                )
        return state

    async def _heard(self, connection: Any, delivery: Delivery, answer: Answer) -> None:
        there = delivery.kind, delivery.destination
        row = await connection.fetchrow(sql("lock_host_of"), *there)
        if row is None and heard(HEALTHY, answer.outcome, 0, self._rule) == HEALTHY:
            return
        host = await connection.fetchval(sql("host_of"), *there)
        if row is None:
            await connection.execute(sql("make_host"), host)
            row = await connection.fetchrow(sql("lock_host"), host)
            if row is None:
                return  # in that very moment another found it well
        before = _breaker(row)
        after = heard(before, answer.outcome, _ms(row["now"]), self._rule)
        if after == HEALTHY:
            await connection.execute(sql("forget_host"), host)
        elif after != before:
            await _keep(connection, host, after)

    async def _ended(self, connection: Any, delivery: Delivery, decision: Decision) -> State | None:
        # One that says it is gone has not used an attempt: it may come back. Nor has a lock that
        # our key does not fit.
        attempts = delivery.attempt - decision.is_free
        wait = timedelta(milliseconds=decision.wait_ms)
        became = await connection.fetchval(
            sql("delivery_ended"), delivery.id, delivery.lease, delivery.attempt, decision.state,
            attempts, wait,
        )  # fmt: skip
        if became == State.WAITING and decision.wait_ms:
            await connection.execute(
                sql("lane_waits"), delivery.kind, delivery.destination, delivery.lane, delivery.id,
                wait,
            )  # fmt: skip
        return None if became is None else State(became)

    async def _rest(
        self, connection: Any, delivery: Delivery, answer: Answer, decision: Decision, noted: str
    ) -> None:
        if decision.rest_ms:
            await connection.execute(
                sql("rest_destination"), delivery.kind, delivery.destination,
                timedelta(milliseconds=decision.rest_ms),
            )  # fmt: skip
        if decision.closes:
            done = await connection.execute(
                sql("close_destination"), delivery.kind, delivery.destination, answer.why
            )
            if noted and done.endswith(" 1"):
                await connection.execute(sql(noted), delivery.destination, answer.why)

    # --- what is shown ----------------------------------------------------------------------------

    async def waiting(self) -> dict[str, Waiting]:
        """Return what waits, by kind."""
        async with self.connected() as connection:
            rows = await connection.fetch(sql("deliveries_waiting"))
        return {row["kind"]: Waiting(row["waiting"], row["oldest_s"]) for row in rows}

    async def hosts_not_well(self) -> list[str]:
        """Return the hosts that are left alone."""
        async with self.connected() as connection:
            return [row["host"] for row in await connection.fetch(sql("hosts_not_well"))]

    async def forget(self, kept: timedelta) -> int:
        """Forget some of what ended so long ago; return how much."""
        async with self.connected() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            done = [
                await connection.execute(sql("forget_deliveries"), now - kept, FORGOTTEN_MAX),
                await connection.execute(
                    sql("forget_levels"), min(kept, LEVELS_KEPT), FORGOTTEN_MAX
                ),
            ]
        return max(int(each.rsplit(" ", 1)[1]) for each in done)


def _reason(delivery: Delivery, answer: Answer) -> str:
    return (
        f"{delivery.kind} {delivery.destination} does not take {delivery.about}"
        f" (attempt {delivery.attempt}): {answer.why}"
    )


def _breaker(row: Any) -> Breaker:
    return Breaker(Circuit(row["circuit"]), row["failures"], _ms(row["until"]))


async def _keep(connection: Any, host: str, breaker: Breaker) -> None:
    until = datetime.fromtimestamp(breaker.until_ms / 1000, UTC)
    await connection.execute(sql("keep_host"), host, breaker.circuit, breaker.failures, until)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _whole_ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
