"""
Pushes signed webhooks at a steady rate, in a process of its own.

    python -m streams.bench.pusher PORT RATE COUNT CONNECTIONS BEGIN

Everything is made and signed beforehand; the file BEGIN starts the clock. A request is due at its
time whether or not the ones before it were answered, and its latency counts from then: a server
that falls behind cannot hide it. Ends with one JSON object on the last line of stdout.
"""

import asyncio
import sys
import time
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from hmac import digest
from pathlib import Path
from typing import Any

import orjson

from streams.bench.broker import NotAnswered
from streams.bench.reserve import percentile
from streams.feed.payloads import render
from streams.feed.trade import Trade, statements

PLATFORM, SHOP, SECRET = "shopify", "bench", "bench"
#: Answers to the first requests are left out: connections, caches and the producer get ready.
WARM_S = 2.0
_TICK_S = 0.001
_ANSWERED_WITHIN_S = 30.0
_END = b"\r\n\r\n"
_OK = b"HTTP/1.1 200"


def pushes(count: int) -> list[bytes]:
    """Return so many whole HTTP requests, each with an order of its own."""
    trade = Trade(orders=count, platforms=(PLATFORM,), unpaid=True)
    return [_request(render(said.draft, said.step)) for said in statements(trade)]


def _request(body: bytes) -> bytes:
    signature = b64encode(digest(SECRET.encode(), body, "sha256")).decode()
    head = (
        f"POST /v1/webhooks/{PLATFORM}/{SHOP} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nX-Shopify-Topic: orders/create\r\n"
        f"X-Shopify-Shop-Domain: bench.example.com\r\nX-Shopify-Hmac-Sha256: {signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection that waits for one answer at a time; answers have no body."""

    def __init__(self, pusher: "Pusher") -> None:
        self._pusher = pusher
        self._transport: Any = None
        self._heard = b""
        self.due_s = 0.0

    def connection_made(self, transport: Any) -> None:
        """Be ready."""
        self._transport = transport

    def ask(self, request: bytes, due_s: float) -> None:
        """Send one request."""
        self.due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Hear the answer."""
        self._heard += data
        if self._heard.endswith(_END):
            self._pusher.answered(self, ok=self._heard.startswith(_OK))
            self._heard = b""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio calls it so
        """A server that closes has not answered."""
        self._pusher.lost += 1


class Pusher:
    """Sends what is due over whichever connection is free."""

    def __init__(self, requests: Sequence[bytes], rate: int) -> None:
        self._requests = requests
        self._rate = rate
        self._free: deque[Connection] = deque()
        self._latencies_s: list[float] = []
        self._sent = 0
        self._began_s = 0.0
        self.ok = 0
        self.lost = 0

    async def run(self, port: int, connections: int) -> dict[str, Any]:
        """Return what was measured."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
            self._free.append(made)
        self._began_s = time.monotonic()
        due = 0
        while due < len(self._requests) or len(self._latencies_s) < len(self._requests):
            now_s = time.monotonic()
            due = min(len(self._requests), 1 + int((now_s - self._began_s) * self._rate))
            self._send(due)
            last_s = self._began_s + len(self._requests) / self._rate
            if self.lost or now_s > last_s + _ANSWERED_WITHIN_S:
                answered = len(self._latencies_s)
                raise NotAnswered(f"{answered} of {len(self._requests)} pushes were answered")
            await asyncio.sleep(_TICK_S)
        return self._figures(time.monotonic() - self._began_s)

    def answered(self, connection: Connection, *, ok: bool) -> None:
        """Take one answer's time, and go on."""
        self._latencies_s.append(time.monotonic() - connection.due_s)
        self.ok += ok
        self._free.append(connection)

    def _send(self, due: int) -> None:
        while self._sent < due and self._free:
            request = self._requests[self._sent]
            self._free.popleft().ask(request, self._began_s + self._sent / self._rate)
            self._sent += 1

    def _figures(self, seconds: float) -> dict[str, Any]:
        counted = sorted(self._latencies_s[int(WARM_S * self._rate) :]) or self._latencies_s
        return {
            "answered": len(self._latencies_s),
            "ok": self.ok,
            "rate": round(len(self._latencies_s) / seconds),
            "p50_ms": percentile(counted, 0.5) * 1000,
            "p99_ms": percentile(counted, 0.99) * 1000,
            "max_ms": counted[-1] * 1000,
        }


def main(arguments: Sequence[str]) -> None:
    """Push as the *arguments* say; begin when the file named last is there."""
    port, rate, count, connections = (int(each) for each in arguments[:4])
    requests = pushes(count)
    print("made", flush=True)  # noqa: T201  whoever measures waits for it
    begin = Path(arguments[4])
    while not begin.exists():
        time.sleep(0.01)
    figures = asyncio.run(Pusher(requests, rate).run(port, connections))
    print(orjson.dumps(figures).decode(), flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    main(sys.argv[1:])
