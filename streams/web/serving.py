"""
Serves an ASGI application until SIGTERM, and says with its exit code how it ended.

uvicorn raises a signal again once it has shut down, so that a process that was asked to end looks
killed (143). Here it has ended well: 0.

Promise: a client that is slow with its headers is cut off, and connections are bounded, so that
they cannot be held for nothing; a port that cannot be listened on is one sentence.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

from schemas.errors import Misconfigured

#: Connections at a time; one more is closed at once.
CONNECTIONS_MAX = 2_000
#: Connections waiting to be taken.
BACKLOG = 1_024
#: First line and headers of one request that are not whole yet.
HEAD_BYTES_MAX = 64 * 1024
#: A connection that says nothing for so long is closed; longer than a client's pool keeps one.
IDLE_S = 75
#: uvicorn ticks ten times a second; slow clients are looked for every so many ticks.
_TICKS = 3
_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Impatient(H11Protocol):
    """uvicorn's protocol, with limits on connections and on how long headers may take."""

    #: Since when a request's headers are awaited, in the loop's time; None: they are not.
    _awaited_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to count."""
        super().connection_made(transport)
        self._awaited_since = self.loop.time()
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take *data*; keep counting while it does not make a request."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._awaited_since = None
        elif self._awaited_since is None and self.conn.trailing_data[0]:
            self._awaited_since = self.loop.time()

    def cut_if_slow(self, slow_after_s: float) -> None:
        """Close a connection whose request does not come."""
        since = self._awaited_since
        if since is None or self.loop.time() - since < slow_after_s:
            return
        if self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
            self.transport.write(_SLOW)
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, for which a signal to end is no failure."""

    def __init__(self, config: uvicorn.Config, slow_after_s: float) -> None:
        super().__init__(config)
        self._slow_after_s = slow_after_s

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGTERM and SIGINT, and do nothing after it."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.end)
        try:
            yield
        finally:
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(each)

    def end(self) -> None:
        """Take nothing new, and stop when what is under way is answered."""
        self.should_exit = True

    @override
    async def on_tick(self, counter: int) -> bool:
        """Look for slow clients, beside what uvicorn does."""
        if counter % _TICKS == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Impatient):
                    connection.cut_if_slow(self._slow_after_s)
        return await super().on_tick(counter)


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket; raises Misconfigured naming the *setting*."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named TCP, because asyncio sends small packets at once (TCP_NODELAY) only on a socket that is.
    # `socket.create_server` leaves it open, and every answer then waits 40 ms for a late ACK.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(BACKLOG)
        return opened
    except OSError as error:
        opened.close()
        raise Misconfigured(
            f"{host} port {port} cannot be listened on ({error.strerror}); set {setting} right."
        ) from error


def server(
    app: Any,
    *,
    slow_after_s: float,
    drain_s: float,
    head_bytes_max: int = HEAD_BYTES_MAX,
    kind: type[Server] = Server,
) -> Server:
    """
    Return a server for *app*; `await serve(sockets=...)` returns when it was asked to end.

    A request whose headers take longer than *slow_after_s* is cut off; what is under way at the
    end has *drain_s* to be answered.
    """
    # It says a line for every request that is no HTTP, and whoever sends such sends many.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=head_bytes_max,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    return kind(config, slow_after_s)
