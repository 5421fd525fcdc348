"""
A platform over real HTTP: it checks signatures, pages by time of modification, throttles and fails.

One `Platform` is one shop at one API family, seeded. What it knows of its family (signing, pages,
errors, the form of an order) is in `families`, written from the platforms' own pages and not from
our clients, so that both would have to be wrong in the same way to agree.

    faults   of a hundred calls so many are answered with 500, with half a JSON, with a body that
             breaks off, or not at all; some more are throttled in the platform's own words
    world    orders are placed and changed over time; each version has bytes of its own
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

import orjson
from aiohttp import web

#: Longer than any client under test waits.
_HANGS_S = 30.0
_BREAKS_OFF_AT = 40


class Denied(Exception):  # noqa: N818  an answer, caught where it is given
    """The signature or the token is wrong; says what."""


@dataclass
class Order:
    """One order: its newest version, in the bytes the platform gives."""

    id: str
    modified_ms: int
    version: int
    body: bytes


@dataclass
class Faults:
    """What goes wrong, as shares of all calls."""

    fail: float = 0.05
    throttle: float = 0.02
    #: Everything fails while this is set.
    down: bool = False
    #: No credentials are taken while this is set.
    locked: bool = False


class Platform:
    """One shop of one family."""

    def __init__(self, family: Any, seed: int) -> None:
        self.family = family
        self.seed = seed
        self.random = Random(f"{family.platform}/{seed}")
        self.faults = Faults()
        self.orders: dict[str, Order] = {}
        #: Topics it pushes -> what it says of each; empty: it is sent. Families say what they need.
        self.subscribed: dict[str, str] = dict.fromkeys(getattr(family, "pushes", ()), "")
        #: So much later it is here than on the wall: a test need not wait for it.
        self.ahead_ms = 0
        #: When each call came, s; and what became of it.
        self.calls: list[float] = []
        self.outcomes: dict[str, int] = {}
        #: Called after each listing: the world goes on while a client reads.
        self.meanwhile: Callable[[], None] = lambda: None
        #: Where parcels are told to (`desks`), and what was told; None: nothing ships here.
        self.desk: Any = None
        self.parcels: dict[str, list[Any]] = {}
        #: Where what may be sold is told to (`shelves`); None: nobody tells it here.
        self.shelf: Any = None
        #: Orders whose buyers have cancelled.
        self.closed: set[str] = set()
        #: Calls that were done and whose answer is lost on its way.
        self.lose_answers = 0
        self.port = 0
        self._listing = False
        self._runner: web.AppRunner | None = None
        print(f"{family.platform}: seed {seed}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    # --- the world --------------------------------------------------------------------------------

    def place(self, number: int, at_ms: int) -> Order:
        order_id = self.family.id_of(number)
        order = Order(order_id, at_ms, 1, self._body(order_id, at_ms, 1))
        self.orders[order_id] = order
        return order

    def change(self, order_id: str) -> Order:
        order = self.orders[order_id]
        order.version += 1
        order.modified_ms = self.now_ms()
        order.body = self._body(order_id, order.modified_ms, order.version)
        return order

    def change_one(self) -> Order:
        return self.change(self.random.choice(sorted(self.orders)))

    def fill(self, count: int, spread_ms: int) -> None:
        """Place orders over a span that ends five minutes ago."""
        for number in range(1, count + 1):
            self.place(number, self.now_ms() - 300_000 - self.random.randrange(spread_ms))

    def latest(self) -> dict[str, bytes]:
        return {order.id: order.body for order in self.orders.values()}

    def between(self, from_ms: int, to_ms: int) -> list[Order]:
        """What was modified in these seconds, both included, the oldest first."""
        self._listing = True
        return sorted(
            (
                o
                for o in self.orders.values()
                if from_ms // 1000 <= o.modified_ms // 1000 <= to_ms // 1000
            ),
            key=lambda order: (order.modified_ms, order.id),
        )

    def _body(self, order_id: str, at_ms: int, version: int) -> bytes:
        order = self.family.order(order_id, at_ms, version)
        if self.desk is not None:
            self.desk.show(order, self.parcels.get(order_id, []), closed=order_id in self.closed)
        return orjson.dumps(order)

    def close(self, order_id: str) -> Order:
        """The buyer cancels."""
        self.closed.add(order_id)
        return self.change(order_id)

    # --- HTTP -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await self._listen()
        return self

    async def _listen(self) -> None:
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(time.monotonic())
        body = await request.read()
        if self.faults.down:
            self._count("down")
            return web.Response(status=503, text="maintenance")
        dice = self.random.random()
        if dice < self.faults.fail:
            return await self._fail(request)
        if dice < self.faults.fail + self.faults.throttle:
            self._count("throttled")
            return self.family.throttled()
        try:
            self._check(request, body)
        except Denied as why:
            self._count("denied")
            return self.family.denied(str(why))
        self._count("fine")
        self._listing = False
        answer = self._told(request, body) or self.family.answer(self, request, body)
        if self._listing:
            self.meanwhile()
        return answer

    def _told(self, request: web.Request, body: bytes) -> web.Response | None:
        """What a call about parcels or stock is answered; None: it is about something else."""
        places = [place for place in (self.desk, self.shelf) if place is not None]
        answers = (place.answer(self, request, body) for place in places)
        answer: web.Response | None = next((each for each in answers if each is not None), None)
        if answer is not None and self.lose_answers and request.method != "GET":
            self.lose_answers -= 1
            return web.Response(status=504, text="the answer was lost")
        return answer

    def _check(self, request: web.Request, body: bytes) -> None:
        if self.faults.locked:
            raise Denied("locked")
        self.family.check(request, body)

    async def _fail(self, request: web.Request) -> web.StreamResponse:
        kind = self.random.choice(["500", "malformed", "broken", "hang"])
        self._count(kind)
        match kind:
            case "500":
                return web.Response(status=500, text="<html>sorry</html>")
            case "malformed":
                return web.Response(text='{"orders": [', content_type="application/json")
            case "broken":
                answer = web.StreamResponse()
                answer.content_length = 5_000
                await answer.prepare(request)
                await answer.write(b"x" * _BREAKS_OFF_AT)
                request.transport.close()
                return answer
            case _:
                await asyncio.sleep(_HANGS_S)
                return web.Response(status=504)


@dataclass
class Pace:
    """Whether calls came no faster than a rate allows, as the platform counts them."""

    per_s: float
    burst: int
    calls: list[float] = field(repr=False)

    def too_many(self, jitter_s: float = 0.15) -> list[tuple[float, int]]:
        """Spans, from one call to a later one, that hold more calls than allowed."""
        found = []
        for first, start in enumerate(self.calls):
            for last in range(first + 1, len(self.calls)):
                span = self.calls[last] - start + jitter_s
                if last - first + 1 > self.burst + self.per_s * span:
                    found.append((span, last - first + 1))
        return found
