"""A subscriber's server on this machine, and what is needed to have something sent to it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
from aiohttp import web

from agents.callbacks import Filter
from agents.deliveries import BreakerRule, Schedule
from schemas.orders import OrderEvent, OrderReserved, OrderStatusChanged, Status
from streams.callbacks import subscribers
from streams.callbacks.posting import KIND, Poster
from streams.callbacks.sink import CallbackSink
from streams.callbacks.subscribers import Made, Wish
from streams.clock import now_ms
from streams.delivering.metrics import Metrics
from streams.delivering.sender import Sender, lease_of
from streams.delivering.store import Store
from streams.engine.rounds import Batch
from tests.integration.databases import Database

#: What has to happen has happened within this, or never will, s.
HAPPENS_WITHIN_S = 90
TOPIC = "order-events"


@dataclass(frozen=True)
class Got:
    """One request."""

    id: str
    order: str
    version: int
    body: bytes
    headers: dict[str, str]
    at_s: float
    #: What it was answered with.
    status: int


Answer = Callable[[str, dict[str, Any], int], int | web.Response | Awaitable[Any]]


@dataclass
class Receiver:
    """Answers as it is told, and remembers what it got."""

    port: int = 0
    #: (id, body, how often that id came before) -> what is answered.
    answer: Answer = lambda *_: 204
    got: list[Got] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    #: Requests that are being answered, and the most there ever were.
    now: int = 0
    most: int = 0
    #: The same, of one order.
    busy: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    overlapped: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    def taken(self) -> list[Got]:
        return [each for each in self.got if 200 <= each.status < 300]

    def ids(self) -> set[str]:
        return {each.id for each in self.taken()}

    def versions(self, order: str) -> list[int]:
        """Of one order, the versions in the order in which they were first taken."""
        return list(dict.fromkeys(each.version for each in self.taken() if each.order == order))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        said = msgspec.json.decode(body)
        order = said["data"].get("order", "")
        id_ = request.headers["webhook-id"]
        self.paths.append(request.path)
        self.now += 1
        self.most = max(self.most, self.now)
        self.busy[order] += 1
        if self.busy[order] > 1:
            self.overlapped.append(order)
        try:
            before = sum(each.id == id_ for each in self.got)
            answer = self.answer(id_, said, before)
            if isinstance(answer, Awaitable):
                answer = await answer
            response = answer if isinstance(answer, web.Response) else web.Response(status=answer)
        finally:
            self.now -= 1
            self.busy[order] -= 1
        self.got.append(
            Got(
                id_, order, said["data"].get("version", 0), body, dict(request.headers),
                time.monotonic(), response.status,
            )
        )  # fmt: skip
        return response


@asynccontextmanager
async def receiver(answer: Answer | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    there = Receiver()
    if answer is not None:
        there.answer = answer
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", there.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        there.port = runner.addresses[0][1]
        yield there
    finally:
        await runner.cleanup()


# --- events ---------------------------------------------------------------------------------------


def an_event(order: str, version: int, **more: Any) -> OrderEvent:
    at_ms = more.pop("at_ms", now_ms() + 1_000)
    base = {"order": order, "version": version, "at_ms": at_ms, "cause": "x/0/1"}
    if version == 1:
        return OrderReserved(**base, attempt=1, status=Status.PAID, deadline_ms=None, **more)
    return OrderStatusChanged(**base, before=Status.PAID, status=Status.SHIPPED, **more)


def a_record(offset: int, event: Any, number: int | None = None, partition: int = 0) -> Any:
    """What the order keeper puts on the topic."""
    tag = event.__struct_config__.tag
    return SimpleNamespace(
        offset=offset, timestamp=now_ms(), key=b"k", value=msgspec.json.encode(event),
        headers=[
            ("ce_type", f"com.orderflow.{tag}.v1".encode()),
            ("ce_source", f"/orderflow/orders/e0/p{partition}".encode()),
            ("ce_sequence", str(offset + 1 if number is None else number).encode()),
        ],
    )  # fmt: skip


def a_batch(records: Sequence[Any], partition: int = 0) -> Batch:
    return Batch(TOPIC, partition, records, records[0].offset, records[-1].offset + 1)


async def told(database: Database, *events: OrderEvent, sink: CallbackSink | None = None) -> None:
    """Let *events* be queued, one after the other, as the role does."""
    own = sink or CallbackSink(database.callbacks)
    try:
        starts = await own.starts([(TOPIC, 0)])
        start = starts.get((TOPIC, 0), 0)
        records = [a_record(start + nth, event) for nth, event in enumerate(events)]
        await own.put(own.prepare([a_batch(records)]))
    finally:
        if sink is None:
            await own.close()


async def added(database: Database, there: Receiver, name: str = "wms", **more: Any) -> Made:
    wish = Wish(name, there.url, more.pop("wanted", Filter()), **more)
    return await subscribers.add(database.operations, wish, "mei", "a test", loopback=True)


# --- sending --------------------------------------------------------------------------------------

FAST = Schedule(first_wait_ms=40)
PATIENT = BreakerRule(after=1_000, for_ms=500)


@asynccontextmanager
async def sending(
    database: Database,
    rule: Schedule = FAST,
    breaker: BreakerRule = PATIENT,
    answer_within_s: float = 20,
) -> AsyncIterator[Metrics]:
    """A sender at work, in this process."""
    within, stop, metrics = timedelta(seconds=answer_within_s), asyncio.Event(), Metrics()
    async with (
        Store(database.callbacks, lease_of(within), breaker) as store,
        Poster(store, loopback=True) as poster,
    ):
        sender = Sender(
            store, {KIND: poster.kind}, rule, metrics, answer_within=within,
            look_every=timedelta(seconds=0.05), keep=timedelta(days=30),
        )  # fmt: skip
        task = asyncio.ensure_future(sender.run(stop))
        try:
            yield metrics
        finally:
            stop.set()
            await task


async def until(ask: Callable[[], Any], why: Callable[[], Any] = lambda: "") -> None:
    """Return once *ask* says yes; a loaded machine has time."""
    deadline = time.monotonic() + HAPPENS_WITHIN_S
    while True:
        said = ask()
        if isinstance(said, Awaitable):
            said = await said
        if said:
            return
        assert time.monotonic() < deadline, why()
        await asyncio.sleep(0.05)


async def states(database: Database) -> dict[str, int]:
    return dict(await database.rows("SELECT state, count(*) FROM deliveries GROUP BY state"))  # type: ignore[arg-type]


async def all_ended(database: Database) -> bool:
    return not (await states(database)).get("waiting")
