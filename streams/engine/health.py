"""
What a worker says about itself over HTTP: alive, ready, and its metrics.

Alive: this event loop answers. Ready: every role has its partitions, has read their changelogs
and none of them is halted. Never a dependency's health, or an outage would restart the fleet.
"""

import asyncio
import logging
from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.engine.metrics import Metrics
from streams.engine.rounds import Role
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: A request and its headers are read within this.
_READ_S = 5.0
_HEAD = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


def not_ready(roles: Sequence[Role]) -> list[str]:
    """Return a sentence for everything that is not as it should be; empty when ready."""
    said = [
        f"{role.name}: partitions are being assigned or recovered"
        for role in roles
        if not role.ready
    ]
    said += [
        f"{role.name}: {tp.topic}/{tp.partition} is halted: {why}"
        for role in roles
        for tp, why in role.halted.items()
    ]
    said += [
        f"{role.name}: a round has been running for {s:.0f} s"
        for role in roles
        if (s := role.rounds.running_for()) > role.settings.request_timeout.total_seconds()
    ]
    return said


class Health:
    """A small HTTP server: /live, /ready, /metrics. Port 0 is off."""

    def __init__(self, settings: Settings, metrics: Metrics, roles: Sequence[Role]) -> None:
        self._host, self._port = settings.health_host, settings.health_port
        self._metrics = metrics
        self._roles = roles
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, unless the port is 0."""
        if self._port:
            self._server = await asyncio.start_server(self._answer, self._host, self._port)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _READ_S)
            path = head.split(b" ", 2)[1].split(b"?")[0]
            status, kind, body = self._page(path)
            writer.write(_HEAD % (status, kind, len(body)) + body)
            await writer.drain()
        except (
            TimeoutError,
            OSError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            IndexError,
        ):
            logger.debug("a health request was not understood")
        finally:
            writer.close()

    def _page(self, path: bytes) -> tuple[bytes, bytes, bytes]:
        text = b"text/plain; charset=utf-8"
        match path:
            case b"/live":
                return b"200 OK", text, b"alive\n"
            case b"/ready":
                said = not_ready(self._roles)
                status = b"503 Service Unavailable" if said else b"200 OK"
                return status, text, ("\n".join(said) or "ready").encode() + b"\n"
            case b"/metrics":
                return (
                    b"200 OK",
                    CONTENT_TYPE_LATEST.encode(),
                    generate_latest(self._metrics.registry),
                )
            case _:
                return b"404 Not Found", text, b"/live, /ready or /metrics\n"
