"""
Asks for availability at a steady rate, in a process of its own.

    python -m streams.bench.asker PORT RATE SKUS SECONDS CONNECTIONS KNOWN CHANNEL FILE

Times begin when a question was due, not when a connection was free for it: a server that falls
behind is not helped by an asker that waits for it. Every answer is read and counted; one that is
not whole ends the process.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from msgspec import json

from schemas.errors import Unavailable

_TICK_S = 0.001
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
#: Questions of the first moments, while connections open and caches warm, are not counted.
WARM_S = 1.0


class NotWhole(Unavailable):
    """An answer was not what had to come."""


class Asker:
    """Connections that wait for questions that fall due."""

    def __init__(self, port: int, skus: int, known: int, channel: str) -> None:
        self._port, self._skus, self._known, self._channel = port, skus, known, channel
        self._random = Random(1)  # noqa: S311  the same questions each time
        self._due: asyncio.Queue[float | None] = asyncio.Queue()
        #: When it was due, how long its answer took, s.
        self.took: list[tuple[float, float]] = []

    async def ask(self, rate: float, seconds: float, connections: int) -> None:
        """Ask at *rate* for *seconds*."""
        tasks = [asyncio.create_task(self._connection()) for _ in range(connections)]
        began, sent, count = time.perf_counter(), 0, int(rate * seconds)
        while sent < count:
            until = min(count, int((time.perf_counter() - began) * rate) + 1)
            for nth in range(sent, until):
                self._due.put_nowait(began + nth / rate)
            sent = until
            await asyncio.sleep(_TICK_S)
        for _ in tasks:
            self._due.put_nowait(None)
        await asyncio.gather(*tasks)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while (due := await self._due.get()) is not None:
            writer.write(self._question())
            head = await reader.readuntil(_HEAD_END)
            at = head.lower().index(_LENGTH) + len(_LENGTH)
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            self.took.append((due, time.perf_counter() - due))
            if b" 200 " not in head[:20] or body.count(b'"source":"cache"') != self._skus:
                raise NotWhole(f"An answer was not whole: {body[:200]!r}")
        writer.close()

    def _question(self) -> bytes:
        skus = self._random.sample(range(self._known), self._skus)
        query = "&".join(f"sku=BENCH-{sku:07d}" for sku in skus)
        return (
            f"GET /v1/availability?{query}&channel={self._channel} HTTP/1.1\r\nHost: bench\r\n\r\n"
        ).encode()


def main(arguments: Sequence[str]) -> None:
    """Ask as the *arguments* say; leave every counted time, ms, in the file."""
    port, rate, skus, seconds, connections, known = (int(each) for each in arguments[:6])
    channel, file = arguments[6:]
    asker = Asker(port, skus, known, channel)
    asyncio.run(asker.ask(rate, seconds + WARM_S, connections))
    first = min(due for due, _ in asker.took) + WARM_S
    times = [took * 1000 for due, took in asker.took if due >= first]
    Path(file).write_bytes(json.encode(times))


if __name__ == "__main__":
    main(sys.argv[1:])
