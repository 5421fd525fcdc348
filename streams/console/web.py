"""
The console as one application: every page there is, with the right it needs.

`TABLE` is the one list of pages. A route without an entry, a page open to everybody that is not
meant to be, or two pages at one address let the process not start. docs/console.md has the table
of pages and roles, printed from here (`orderflow console rights`).

Promise: every answer says what a browser may do with it: nothing of it runs, loads or is framed
that is not ours.
"""

import hashlib
import time
from collections.abc import Iterable
from functools import partial
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import Misconfigured
from streams.console import (
    annotations,
    audit,
    definitions,
    exceptions,
    figures,
    imports,
    mappings,
    orders,
    painting,
    reports,
    settlements,
    shipping,
    signing,
    stock,
    subscribers,
    users,
    watching,
)
from streams.console import order as one_order
from streams.console.page import House, Page, Visit, sorry
from streams.operations.operation import NotFound
from streams.operations.rights import RIGHTS, Role
from streams.web.health import HEALTHZ, METRICS, READYZ, Health

#: Addresses that anybody may ask: nothing of orders, stock or people is there.
OPEN: Final = frozenset({"/sign-in", "/language", "/static/{name}", HEALTHZ, READYZ, METRICS})

#: Nothing but our own files, and no script or style that stands in a page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not `no-referrer`: browsers then send our own forms with the origin `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_STRICT = (b"strict-transport-security", b"max-age=31536000")
_KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_DAY_S = 86_400


class Metrics:
    """What the console tells Prometheus; a page's name is its label, never what was asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "orderflow_console_requests",
            "Requests by page and by the status of their answer.",
            ["page", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "orderflow_console_request_seconds",
            "From a request to the first byte of its answer, by page.",
            ["page"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )
        self.figures_as_of = Gauge(
            "orderflow_console_figures_as_of_timestamp_seconds",
            "The moment as of which the dashboards lack nothing; 0 while it is not known.",
            registry=self.registry,
        )


def _static() -> dict[str, tuple[bytes, str, str]]:
    found = {}
    for file in files("streams.console").joinpath("static").iterdir():
        ending = file.name[file.name.rindex(".") :]
        body = file.read_bytes()
        found[file.name] = (body, _KINDS[ending], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


_FILES = _static()


def address(name: str) -> str:
    """Return where one of our own files is; after a change elsewhere, or browsers keep the old."""
    _, _, tag = _FILES[name]
    return f"/static/{name}?v={tag[1:13]}"


async def static(visit: Visit) -> Response:
    """Give one of our own files."""
    known = _FILES.get(visit.request.path_params["name"])
    if known is None:
        raise NotFound("no_page")
    body, kind, tag = known
    headers = {"etag": tag, "cache-control": f"public, max-age={_DAY_S}"}
    if visit.request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type=kind)


async def alive(visit: Visit) -> Response:
    """Say that the process lives."""
    return await _health(visit).alive(visit.request)


async def ready(visit: Visit) -> Response:
    """Say whether the pages can be shown."""
    return await _health(visit).ready(visit.request)


async def metrics(visit: Visit) -> Response:
    """Give the figures of this process."""
    return await _health(visit).figures(visit.request)


def _health(visit: Visit) -> Health:
    known: Health = visit.request.app.state.health
    return known


_OWN = (
    Page("GET", "/static/{name}", static, needs=None, for_anyone=True),
    Page("GET", HEALTHZ, alive, needs=None, for_anyone=True),
    Page("GET", READYZ, ready, needs=None, for_anyone=True),
    Page("GET", METRICS, metrics, needs=None, for_anyone=True),
)
#: Every page of the console, part by part.
TABLE: tuple[Page, ...] = (
    *signing.PAGES, *orders.PAGES, *one_order.PAGES, *shipping.PAGES, *stock.PAGES,
    *figures.PAGES, *reports.PAGES,
    *exceptions.PAGES, *watching.PAGES, *imports.PAGES, *mappings.PAGES, *settlements.PAGES,
    *subscribers.PAGES, *annotations.PAGES, *definitions.PAGES, *users.PAGES, *audit.PAGES, *_OWN,
)  # fmt: skip


def checked(routes: Iterable[Any]) -> list[Page]:
    """Return *routes*; raises Misconfigured for one that is not meant to be as it is."""
    found: dict[tuple[str, str], Page] = {}
    for route in routes:
        if not isinstance(route, Page):
            raise Misconfigured(f"{getattr(route, 'path', route)} has no entry: nobody may see it.")
        if route.needs is None and route.path not in OPEN:
            raise Misconfigured(f"{route.path} would be open to everybody.")
        if (route.method, route.path) in found:
            raise Misconfigured(f"{route.method} {route.path} stands twice.")
        found[route.method, route.path] = route
    return list(found.values())


def rights(routes: Iterable[Page] = TABLE) -> str:
    """Return who may see what, as a table for a document."""
    roles = list(Role)
    lines = [
        f"| page | right | anybody | {' | '.join(roles)} |",
        f"| --- | --- | --- |{' --- |' * len(roles)}",
    ]
    for page in routes:
        may = ["yes" if page.needs is None or page.needs in RIGHTS[role] else "" for role in roles]
        said = page.needs.value if page.needs else ""
        who = "yes" if page.needs is None else ""
        lines.append(f"| `{page.method} {page.path}` | {said} | {who} | {' | '.join(may)} |")
    return "\n".join(lines) + "\n"


def templates() -> Environment:
    """Return the templates: everything is escaped, and what is not given is a mistake."""
    made = Environment(
        loader=PackageLoader("streams.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= painting.GLOBALS | {"ours": address}
    made.filters |= painting.FILTERS
    return made


def app(house: House, known: Metrics) -> ASGIApp:
    """Return the application; raises Misconfigured where a page is not meant to be as it is."""
    secure = house.settings.console_cookies_secure
    known.figures_as_of.set_function(lambda: (house.figures.as_of_ms or 0) / 1000)
    made = Starlette(
        routes=checked(TABLE),
        exception_handlers={404: _nowhere, 405: _nowhere, Exception: _our_fault},
    )
    made.router.redirect_slashes = False
    made.state.house = house
    made.state.health = Health("console", known.registry, partial(_missing, house))
    # Around all of it, not among its `middleware`: what is our fault is answered outside of those.
    return _Counted(_Guarded(made, (*_HEADERS, _STRICT) if secure else _HEADERS), known)


async def _missing(house: House) -> list[str]:
    # Anybody may ask here: why is in the log.
    return ["The pages cannot be shown; the log says why."] if house.live.why else []


async def _nowhere(request: Request, _: Exception) -> Response:
    return sorry(Visit(request), NotFound("no_page"))


async def _our_fault(request: Request, error: Exception) -> Response:
    """What happened is in the log, with its trace; the visitor is told that it is our fault."""
    return sorry(Visit(request), error)


class _Guarded:
    """Adds to every answer what a browser may do with it."""

    def __init__(self, app: ASGIApp, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._app = app
        self._headers = tuple(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, guarding)


class _Counted:
    """Counts what was answered, by page and status, and how soon."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                name = route.name if isinstance(route, Page) else "other"
                self._metrics.requests.labels(name, str(message["status"])).inc()
                self._metrics.seconds.labels(name).observe(time.monotonic() - began)
            await send(message)

        await self._app(scope, receive, counting)
