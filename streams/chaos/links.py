"""
The lines between workers and servers, with somebody who can hold them up.

A link listens on loopback and passes bytes on to a server. It can be slow, silent for a while, or
reset; and it can cut a connection in the middle of what counts (a COMMIT, or records on their way
to the broker), before the server has heard it or after, so that the client cannot know what came
of it. Promise: while it is told nothing, what goes in comes out, in order and whole; every byte is
counted, so that a run can show that the line was used at all.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, Self

from schemas.errors import Misconfigured

_CHUNK_BYTES = 64 * 1024
#: A reset instead of an end: nothing that waits is sent.
_AT_ONCE = struct.pack("ii", 1, 0)
#: How a transaction ends in PostgreSQL's simple queries.
_COMMIT = b"COMMIT"
#: After its length a request to Kafka says what it is: 0 is Produce.
_KIND, _PRODUCE = slice(4, 6), b"\0\0"
_HERE = "127.0.0.1"

Cut = Literal["before", "after"]


def commits(piece: bytes) -> bool:
    """Say whether *piece*, on its way to PostgreSQL, ends a transaction."""
    return _COMMIT in piece


def produces(piece: bytes) -> bool:
    """Say whether *piece*, on its way to the broker, begins with records to be appended."""
    return piece[_KIND] == _PRODUCE


class Link:
    """One line; as a context it listens."""

    def __init__(
        self,
        name: str,
        to: tuple[str, int],
        port: int = 0,
        counts: Callable[[bytes], bool] = commits,
    ) -> None:
        self.name = name
        self._to = to
        #: What is worth cutting, on its way to the server.
        self._counts = counts
        self._port = port
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._delay_s = 0.0
        self._cuts: list[Cut] = []
        #: Every cut that was asked for was made.
        self.all_cut = asyncio.Event()
        #: What went through since it began.
        self.bytes = 0
        #: Connections that were cut in what counts, and that were reset.
        self.cut = 0
        self.resets = 0

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._call, _HERE, self._port)
        except OSError as error:
            raise Misconfigured(
                f"Port {self._port}, where {self.name} is to be slowed down, is taken: {error}. "
                "End what listens there and start again."
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.reset()
        self._passing.set()

    @property
    def address(self) -> tuple[str, int]:
        """Where clients go."""
        return _HERE, self._port

    @asynccontextmanager
    async def slow(self, seconds: float) -> AsyncIterator[None]:
        """Let every piece take so much longer, each way."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """Pass nothing on, and end nothing: who waits, waits."""
        self._passing.clear()
        try:
            yield
        finally:
            self._passing.set()

    def reset(self) -> int:
        """Reset every connection; return how many there were."""
        calls = list(self._calls)
        for writer in calls:
            _reset(writer)
        self.resets += len(calls)
        return len(calls)

    def cut_next(self, when: Cut) -> None:
        """Cut the next connection that sends what counts, before the server hears it or after."""
        self._cuts.append(when)
        self.all_cut.clear()

    def forget_cuts(self) -> None:
        """Cut no more."""
        self._cuts.clear()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection(*self._to)
        except OSError:
            _reset(writer)
            return
        self._calls |= {writer, onward}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, onward, writer))
                both.create_task(self._pass(there, writer, None))
        except* OSError:
            _reset(writer)
            _reset(onward)
        finally:
            self._calls -= {writer, onward}
            writer.close()
            onward.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
        asker: asyncio.StreamWriter | None,
    ) -> None:
        """Pass on what *reader* brings; *asker* is who is cut, on the way to the server."""
        while piece := await reader.read(_CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._passing.wait()
            cut = self._cuts.pop(0) if asker and self._cuts and self._counts(piece) else None
            if cut == "before":
                self._cut(asker, onward)
                return
            onward.write(piece)
            await onward.drain()
            self.bytes += len(piece)
            if cut == "after":
                self._cut(asker, onward)
                return
        onward.write_eof()

    def _cut(self, asker: asyncio.StreamWriter | None, onward: asyncio.StreamWriter) -> None:
        self.cut += 1
        if not self._cuts:
            self.all_cut.set()
        if asker is not None:
            _reset(asker)
        # The server is left in good order: what it has heard, it carries out.
        onward.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    line = writer.get_extra_info("socket")
    if line is not None and line.fileno() >= 0:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
