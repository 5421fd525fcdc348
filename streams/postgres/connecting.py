"""
Opens connections, ends them, and says in our words what went wrong on them.

Promises that an address, which carries a password, appears in no message, and that a connection
ends when it is told to.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from agents.ports import RefusedByLedger
from schemas.errors import LedgerUnavailable, Misconfigured, OrderflowError
from streams.postgres.queries import sql

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
#: A connection that does not end in peace within this is cut.
CLOSE_SECONDS = 5.0

#: First two signs of SQLSTATE: the value is at fault.
VALUE = frozenset(
    {
        "22",  # data exception
        "23",  # a constraint
        "54",  # a limit of the program, such as the size of an index entry
    }
)
#: The installation is at fault: a person has to do something before a retry can help.
INSTALLATION = frozenset(
    {
        "28",  # authorization
        "3D",  # no such database
        "42",  # no such table, no such right
        "0A",  # not supported
    }
)
#: The server is at fault, or was told to stop: waiting may help.
AWAY = frozenset(
    {
        "08",  # connection
        "25",  # transaction state: it ended under us
        "40",  # rollback: serialization, deadlock
        "53",  # resources: disk, memory, connections
        "55",  # a lock that was not to be had in time
        "57",  # an operator or a timeout intervened
        "58",  # the system under it
    }
)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that ends within a time, also where a query on it was cancelled."""

    __slots__ = ()

    async def close(self, *, timeout: float | None = CLOSE_SECONDS) -> None:  # noqa: ASYNC109  theirs
        """
        End the connection; cut it after *timeout* seconds.

        The client's own timeout does not count while it waits for a cancelled query's end, and that
        wait can be for ever.
        """
        try:
            async with asyncio.timeout(timeout):
                await super().close()
        except TimeoutError:
            logger.warning("a connection to PostgreSQL did not end in peace; it was cut")


async def connect(dsn: str, *, name: str, **settings: str) -> Any:
    """
    Return a new connection that calls itself *name*, with *settings* of its session.

    Raises LedgerUnavailable, Misconfigured.
    """
    try:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            connection_class=Connection,
            server_settings=_of_session(name, settings),
        )
    except Exception as error:  # noqa: BLE001  `told` sorts them; what it does not know goes on as it is
        raise told(error) from None  # the cause may repeat the address


async def pool(
    dsn: str,
    *,
    name: str,
    at_most: int,
    answers_within_s: float,
    tried: bool = False,
    connects_within_s: float = CONNECT_SECONDS,
    **settings: str,
) -> Any:
    """
    Return a pool of connections as `connect` opens them, opened when they are needed.

    With *tried* one is opened at once, so that a wrong address is told before any question. None
    is kept open for its own sake: asyncpg would complain in the log while PostgreSQL is away.
    Raises LedgerUnavailable, Misconfigured.
    """
    try:
        made = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=at_most,
            timeout=connects_within_s,
            command_timeout=answers_within_s,
            connection_class=Connection,
            server_settings=_of_session(name, settings),
        )
        if tried:
            async with made.acquire():
                return made
    except Exception as error:  # noqa: BLE001  as above
        raise told(error) from None
    return made


def _of_session(name: str, settings: dict[str, str]) -> dict[str, str]:
    return {"application_name": name, "timezone": "UTC", "jit": "off", **settings}


@asynccontextmanager
async def connected(dsn: str, *, name: str, **settings: str) -> AsyncIterator[Any]:
    """
    Give a connection as `connect` does, and end it; what goes wrong on it is said in our words.

    Raises LedgerUnavailable, Misconfigured, RefusedByLedger.
    """
    connection = await connect(dsn, name=name, **settings)
    try:
        yield connection
    except Exception as error:
        raise told(error) from error
    finally:
        await connection.close()


async def end_stopped(connection: Any, name: str, after: timedelta) -> None:
    """
    End what a stopped process has left open under *name* and the role of *connection*.

    A process that is stopped in the middle of a transaction keeps its locks. PostgreSQL's own limit
    on idle transactions ends those; but between preparing a statement and executing it the client
    sends no Sync, so the server takes the session for active, counts no time and ignores a cancel.
    Whoever takes over ends it, when it has waited for its client *after* or longer.
    """
    await connection.execute(sql("end_stopped_sessions"), name, after)


def told(error: Exception) -> Exception:
    """Return *error* in our words; a mistake of our own stays as it is."""
    match error:
        case OrderflowError():
            return error
        case asyncpg.PostgresError():
            return _of_server(error)
        case asyncpg.exceptions.ClientConfigurationError():
            return Misconfigured("The PostgreSQL address cannot be read.")
        case asyncpg.exceptions._base.DataError():  # noqa: SLF001  the client's own, not exported
            return RefusedByLedger(str(error))
        case OverflowError() | UnicodeError():
            return RefusedByLedger(str(error))
        case OSError() | TimeoutError() | asyncpg.InterfaceError():
            return LedgerUnavailable(f"PostgreSQL does not answer: {type(error).__name__}")
        case asyncpg.InternalClientError():
            return LedgerUnavailable(f"PostgreSQL broke off: {type(error).__name__}")
        case _:
            return error


def _of_server(error: Any) -> Exception:
    state = error.sqlstate or ""
    # The message alone: the detail repeats whole rows, which may be personal.
    said = f"{error.args[0] if error.args else type(error).__name__} ({state})"
    if state[:2] in VALUE:
        return RefusedByLedger(said)
    if state[:2] in INSTALLATION:
        return Misconfigured(said)
    if state[:2] in AWAY or isinstance(error, asyncpg.PostgresConnectionError):
        return LedgerUnavailable(said)
    return error  # type: ignore[no-any-return]
