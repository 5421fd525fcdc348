"""
What every process that goes on says about itself over HTTP, the same three pages for each.

* `/healthz`: 200 as long as this event loop turns. Never a dependency's health, or an outage would
  restart the fleet.
* `/readyz`: 200 when the process can do its work, else 503; as JSON, what is missing, a sentence
  each.
* `/metrics`: its registry, for Prometheus.

A process with an HTTP API of its own mounts `routes`; any other is `served` beside its work, at
ORDERFLOW_HEALTH_HOST and _PORT, and keeps its own signals.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override

from schemas.errors import OrderflowError
from streams.settings import Settings
from streams.web.serving import Server, listen, server

HEALTHZ, READYZ, METRICS = "/healthz", "/readyz", "/metrics"

#: Who asks does so in one piece, and is answered at once.
_SLOW_AFTER_S, _DRAIN_S = 10.0, 1.0
#: Ending takes at most so long.
_STOP_WITHIN_S = 2.0

#: Returns a sentence for everything that is missing; empty when the process can do its work.
Missing = Callable[[], Awaitable[Sequence[str]]]
#: Brings gauges up to date before they are shown; what it cannot read stays as it was.
Freshen = Callable[[], Awaitable[None]]


class Health:
    """What one process says about itself."""

    def __init__(
        self,
        process: str,
        registry: CollectorRegistry,
        missing: Missing,
        freshen: Freshen | None = None,
    ) -> None:
        self._registry, self._missing, self._freshen = registry, missing, freshen
        Gauge(
            "orderflow_build_info",
            "1; which kind of process this is.",
            ["process"],
            registry=registry,
        ).labels(process).set(1)

    def routes(self) -> list[Route]:
        """Return the three pages."""
        return [
            Route(HEALTHZ, self.alive),
            Route(READYZ, self.ready),
            Route(METRICS, self.figures),
        ]

    async def alive(self, _: Request) -> Response:
        """Answer /healthz."""
        return JSONResponse({"alive": True})

    async def ready(self, _: Request) -> Response:
        """Answer /readyz."""
        missing = list(await self._missing())
        return JSONResponse(
            {"ready": not missing, "missing": missing}, status_code=503 if missing else 200
        )

    async def figures(self, _: Request) -> Response:
        """Answer /metrics."""
        if self._freshen is not None:
            with contextlib.suppress(OrderflowError):  # the counters are told all the same
                await self._freshen()
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


@contextlib.asynccontextmanager
async def served(settings: Settings, health: Health) -> AsyncIterator[None]:
    """
    Answer the three pages meanwhile, unless ORDERFLOW_HEALTH_PORT is 0.

    Raises Misconfigured where nothing can listen there.
    """
    if not settings.health_port:
        yield
        return
    with listen(
        settings.health_host, settings.health_port, "ORDERFLOW_HEALTH_HOST and _PORT"
    ) as listening:
        made = server(
            Starlette(routes=health.routes()),
            slow_after_s=_SLOW_AFTER_S,
            drain_s=_DRAIN_S,
            kind=_Beside,
        )
        serving = asyncio.get_running_loop().create_task(made.serve(sockets=[listening]))
        try:
            yield
        finally:
            made.should_exit = made.force_exit = True
            await asyncio.wait([serving], timeout=_STOP_WITHIN_S)


class _Beside(Server):
    """A server that leaves the signals to the process."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
