"""
The operations API as one application: who asks, and every operation there is.

A package that has operations keeps a table of them, `OPERATIONS`, in its `pages.py`; it is named
once, in `MOUNTED`, and has the keys, the rights, the document and the limits of all others.

Promise: without a key that counts nothing is answered but /healthz, /readyz, /metrics and the
document.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
)
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import Misconfigured, Unavailable
from streams.alerting import pages as alerting
from streams.callbacks import pages as callbacks
from streams.exceptions import pages as exceptions
from streams.importing import pages as importing
from streams.operations import keys
from streams.operations.operation import House, Operation, Operator, no
from streams.operations.rights import RIGHTS
from streams.pausing import pages as pausing
from streams.people import openapi
from streams.people.metrics import Metrics
from streams.shipping import pages as shipping
from streams.web.health import Health

logger = logging.getLogger(__name__)

#: Every operation of the API, package by package.
MOUNTED: tuple[Sequence[Operation], ...] = (
    exceptions.OPERATIONS,
    pausing.OPERATIONS,
    importing.OPERATIONS,
    alerting.OPERATIONS,
    callbacks.OPERATIONS,
    shipping.OPERATIONS,
)
#: Requests that are worked on at a time: each may have a connection to PostgreSQL.
AT_ONCE = 16
_BEARER = "bearer"


def operations() -> list[Operation]:
    """Return every operation."""
    return [each for table in MOUNTED for each in table]


def app(house: House, metrics: Metrics, not_ready: Callable[[], str]) -> Starlette:
    """Return the application; *not_ready* says why the process cannot be used, or nothing."""

    async def missing() -> Sequence[str]:
        why = not_ready()
        return [why] if why else []

    async def document(_: Request) -> Response:
        return JSONResponse(openapi.document(operations()))

    made = Starlette(
        routes=[
            *operations(),
            Route("/openapi.json", document),
            *Health("operations", metrics.registry, missing).routes(),
        ],
        middleware=[
            Middleware(_Counted, metrics=metrics),
            Middleware(AuthenticationMiddleware, backend=_Keys(house.dsn), on_error=_not_known),
            Middleware(_InTurn),
        ],
        exception_handlers={404: _nowhere, 405: _nowhere},
    )
    made.router.redirect_slashes = False
    made.state.house = house
    made.state.imports = importing.Imports(house.settings)
    return made


async def _nowhere(_: Request, error: Exception) -> Response:
    """Say in the form of every answer that nothing is to be had there, or not by this method."""
    if not isinstance(error, HTTPException):
        raise error
    answer = no(error.status_code, "There is no such operation; GET /openapi.json has them all.")
    answer.headers.update(error.headers or {})  # 405 says what is allowed
    return answer


class _Keys(AuthenticationBackend):
    """Who asks, by the key in `Authorization: Bearer …`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        said = conn.headers.getlist("authorization")
        if not said:
            return None
        scheme, _, key = said[0].partition(" ")
        if len(said) > 1 or scheme.lower() != _BEARER:
            raise AuthenticationError("401")
        try:
            found = await keys.whose(self._dsn, key.strip())
        except (Unavailable, Misconfigured) as error:
            logger.warning("nobody can be known: %s", error)
            raise AuthenticationError("503") from error
        if found is None:
            raise AuthenticationError("401")
        rights = sorted(right.value for right in RIGHTS[found.role])
        return AuthCredentials(rights), Operator(found.name, found.role)


def _not_known(_: HTTPConnection, error: Exception) -> Response:
    """One answer for everything that proves nothing: it must not say how near it came."""
    if str(error) == "503":
        return no(503, "PostgreSQL does not answer; ask again.")
    return no(401, "not accepted")


class _InTurn:
    """Lets so many requests be worked on at a time; the others wait their turn."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turns:
            await self._app(scope, receive, send)


class _Counted:
    """Counts what was answered, by operation and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                name = route.name if isinstance(route, Operation) else "other"
                self._metrics.requests.labels(name, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counting)
