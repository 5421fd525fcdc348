"""
`bench pages`: how soon the console shows its pages over a season of orders, and by which plans.

A database of its own is filled (`warehouse.py`), the console runs as the process it is, and one
client with the session of a user of the operations role asks for each page again and again, another
order or SKU each time. Times are the client's, from the request to the last byte, over one
connection on this machine: the server's, and a little more.

The statements behind the pages are explained too, as they are carried out: a sequential scan of a
big table is a fault, whatever it cost today; of the monthly trails it is said how many partitions
were looked into.
"""

import asyncio
import http.client
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import json

from schemas.errors import Misconfigured
from streams.bench import warehouse
from streams.bench.broker import NotAnswered
from streams.bench.flow import installed
from streams.bench.processes import Child, machine
from streams.bench.reserve import percentile
from streams.console.accounts import Accounts
from streams.console.orders import BEHIND_SCAN_MAX, COMMON_FROM, PAGE, SCAN_MAX
from streams.console.page import SESSION
from streams.console.serving import lasting
from streams.operations.rights import Role
from streams.postgres.connecting import connect
from streams.postgres.queries import sql
from streams.processes import listener
from streams.readiness import HERE, free_ports, is_ready
from streams.settings import Settings

#: So much of the disk has to be free, and so much more for each order.
FREE_BYTES_MIN, ORDER_BYTES = 5 * 1024**3, 8 * 1024
#: A table of more rows than this is not read from one end to the other for a page.
BIG_ROWS = 20_000
_READY_S = 90.0
_POLL_S = 0.2
_ANSWER_S = 60.0
#: The first answers warm templates and connections, and are not counted.
_WARM = 3
_ROLE = Role.OPERATIONS

Progress = Callable[[str], None]
#: Of the nth ask: the address.
Path_ = Callable[["Stock"], str]


class Stock(NamedTuple):
    """What there is to be asked for, and the dice."""

    orders: int
    skus: int
    dice: Random
    #: A day that is over where the shops are, and on which orders came and went back.
    day: date

    def order(self) -> int:
        """Return the number of some order."""
        return self.dice.randrange(1, self.orders + 1)

    def sku(self) -> str:
        """Return some SKU."""
        return warehouse.sku(self.dice.randrange(self.skus))


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    orders: int = 1_000_000
    asks: int = 40
    partitions: int = 4


PAGES: Final[Mapping[str, Path_]] = {
    "orders, latest first": lambda _: "/orders",
    "orders of a rare status": lambda _: "/orders?status=CANCELLED",
    "orders that can go": lambda _: "/orders?attention=ready",
    "search: order id": lambda of: f"/orders?q={warehouse.order_id(of.order())}",
    "search: order key": lambda of: f"/orders?q={warehouse.order_key(of.order())}",
    "search: parcel": lambda of: f"/orders?q=SF{warehouse.order_id(of.order())}",
    "search: end of a phone": lambda of: f"/orders?q={of.order() % 10_000:04d}",
    "search: SKU": lambda of: f"/orders?q={of.sku()}",
    "search: the best SKU": lambda _: f"/orders?q={warehouse.BEST}",
    "search: the best SKU, of a rare status": lambda _: (
        f"/orders?q={warehouse.BEST}&status=CANCELLED"
    ),
    "behind a figure: a day": lambda of: _behind("placed", of),
    "behind a figure: a day, what came back of it": lambda of: _behind(
        "placed", of, "&came_back=1"
    ),
    "behind a figure: a day, nobody's region": lambda of: _behind("placed", of, "&province=none"),
    "behind a figure: what came back that day": lambda of: _behind("back", of),
    "one order": lambda of: f"/order?key={warehouse.order_key(of.order())}",
    "to ship": lambda _: "/to-ship",
    "to ship, of a SKU": lambda of: f"/to-ship?sku={of.sku()}",
    "to ship, of the best SKU": lambda _: f"/to-ship?sku={warehouse.BEST}",
    "to ship, of a platform": lambda _: "/to-ship?platform=jd",
    "to ship, for paper": lambda _: "/to-ship/print",
    "stock": lambda _: "/stock",
    "one SKU": lambda of: f"/sku?name={of.sku()}",
    "the best SKU": lambda _: f"/sku?name={warehouse.BEST}",
    "exceptions": lambda _: "/exceptions",
    "imports": lambda _: "/imports",
    "mappings": lambda _: "/mappings",
}


def _behind(which: str, of: Stock, more: str = "") -> str:
    """Return the address of the list behind a figure of a day, as the dashboards lead to it."""
    days = f"{which}_since={of.day}&{which}_until={of.day}"
    return f"/orders?{days}&counted=1&currency=CNY{more}"


_ANY: Final = (None, "", None, None, None, None, None)
_BEHIND: Final = (None, "", BEHIND_SCAN_MAX, PAGE + 1)


def _statements(of: Stock) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the statements behind the pages, as the pages ask them."""
    key, limits = warehouse.order_key(of.order()), (SCAN_MAX, PAGE + 1)
    yield "orders_walked", (*_ANY, *limits)
    yield "orders_walked", (None, "", None, "CANCELLED", None, None, None, *limits)
    yield "orders_walk_end", (None, "", None, SCAN_MAX)
    for word in (warehouse.order_id(of.order()), key, of.sku()):
        yield "orders_found", (*_ANY, *limits, word, [f"parcel:{word}"], [])
    yield "orders_found", (*_ANY, *limits, "4711", ["parcel:4711", "tel:4711"], [])
    yield "is_common_sku", (warehouse.BEST, COMMON_FROM)
    yield "orders_of_common_sku", (*_ANY, *limits, warehouse.BEST, [])
    placed, back = (of.day, of.day, None, None, None), (None, None, None, of.day, of.day)
    for came_back, province in ((False, None), (True, None), (False, "")):
        region = (None, province, "CNY", None, None, None)
        yield "orders_figured", (*_BEHIND, *placed, came_back, True, *region)
    yield "orders_figured_end", (*_BEHIND[:3], of.day, of.day)
    yield "orders_figured_back", (*_BEHIND, *back, False, True, None, None, "CNY", None, None, None)
    yield "orders_figured_back_end", (*_BEHIND[:3], of.day, of.day)
    yield "orders_called", (key,)
    for name in (
        "lines_of_order", "events_of_order", "holds_of_order", "moves_of_order",
        "returns_of_order", "ignored_releases_of_order", "details_of_order",
    ):  # fmt: skip
        yield name, (key,)
    yield "to_ship", (None, "", None, None, None, None, None, 51)
    for sku in (of.sku(), warehouse.BEST):
        yield "to_ship", (None, "", None, None, None, sku, None, 51)
    yield "stock_listed", ("", "", None, False, 51)
    yield "stock_of_sku", (of.sku(),)
    yield "open_holds_of_sku", (of.sku(), 50)
    yield "last_moves_of_sku", (of.sku(), 50)
    yield "moves_before", (of.sku(), None, 51)
    nothing = (None,) * 5
    yield "exceptions_counted", nothing
    yield "exceptions_found", (*nothing, False, None, None, 51)
    yield "imports_listed", (50,)
    yield "unmapped_listed", (None, None, 1_000, 50)


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured, Unavailable."""
    _check_room(job)
    async with installed(settings, "pages", job.partitions, "operations", "console") as (its, env):
        owner = _secret(its.postgres_owner)
        began = time.monotonic()
        skus = await warehouse.fill(owner, job.orders, its.company_zone, progress)
        filled_s = time.monotonic() - began
        day = datetime.now(ZoneInfo(its.company_zone)).date() - timedelta(days=1)
        of = Stock(job.orders, skus, Random(1), day)  # noqa: S311  the same pages each time
        (token,) = await signed_in(its, "bench")
        port = free_ports(1)[0]
        with the_console(env, port) as console:
            progress("the console starts")
            await until_ready(port, console)
            pages = await asyncio.to_thread(_asked, port, token, job.asks, of, progress)
        progress("its statements are explained")
        plans = await _explained(_secret(its.postgres_reader), of)
        size = await _size(owner)
    return {
        "orders": job.orders,
        "lines": 3 * job.orders,
        "bytes": size,
        "asks": job.asks,
        "filled_s": round(filled_s),
        "pages": pages,
        "plans": plans,
        "scans": sorted({scan for plan in plans for scan in plan["scans"]}),
        "machine": machine(listener(settings.kafka.split(",")[0])),
    }


def _check_room(job: Job) -> None:
    needed = FREE_BYTES_MIN + job.orders * ORDER_BYTES
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed:
        raise Misconfigured(
            f"{free / 1024**3:.1f} GiB of the disk are free, and {job.orders:,} orders take up to "
            f"{needed / 1024**3:.1f}: make room, or ask for fewer with --orders."
        )


def _secret(said: Any) -> str:
    return str(said.get_secret_value())


# --- asking ---------------------------------------------------------------------------------------


async def signed_in(its: Settings, *names: str) -> list[str]:
    """Make users of the role with these *names*; return of each the token of a session."""
    async with Accounts(_secret(its.postgres_console), lasting(its)) as accounts:
        await accounts.first()  # the console would make one, and print a password
        return [await _signed_in(accounts, name) for name in names]


async def _signed_in(accounts: Accounts, name: str) -> str:
    password = await accounts.add(name, _ROLE, "bench") or ""
    person = await accounts.attempt(name, HERE)
    found = await accounts.log_in(person, password)
    if found is None:
        raise NotAnswered("the user that was made just now cannot log in")
    token, session = found
    if not await accounts.change_password(session, password, password[::-1], HERE):
        raise NotAnswered("the user that was made just now cannot choose a password")
    return token


def the_console(env: Mapping[str, str], port: int) -> Child:
    """Return the console's process on *port*, not yet started."""
    argv = (sys.executable, "-m", "streams.cli", "console", "--port", str(port))
    return Child("the console", argv, {**env, "ORDERFLOW_CONSOLE_COOKIES_SECURE": "false"})


async def until_ready(port: int, console: Child) -> None:
    """Wait until its pages can be shown; raises NotAnswered, ProcessEnded."""
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        console.check()
        if await is_ready(port):
            return
        await asyncio.sleep(_POLL_S)
    raise NotAnswered(f"the console was not ready within {_READY_S:.0f} s")


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)


def _get(connection: http.client.HTTPConnection, path: str, token: str) -> tuple[int, bytes]:
    connection.request("GET", path, headers={"cookie": f"{SESSION}={token}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def _asked(port: int, token: str, asks: int, of: Stock, progress: Progress) -> list[dict[str, Any]]:
    """Ask for every page; return how long its answers took."""
    connection, found = _connection(port), []
    for name, path in PAGES.items():
        progress(f"asking for {name}")
        took, size = [], 0
        for nth in range(asks + _WARM):
            there, began = path(of), time.perf_counter()
            status, body = _get(connection, there, token)
            if nth >= _WARM:
                took.append((time.perf_counter() - began) * 1000)
            if status != http.HTTPStatus.OK:
                raise NotAnswered(f"{there} was answered with {status}")
            size = max(size, len(body))
        took.sort()
        found.append(
            {
                "page": name,
                "p50_ms": round(percentile(took, 0.5), 1),
                "p95_ms": round(percentile(took, 0.95), 1),
                "max_ms": round(took[-1], 1),
                "bytes": size,
            }
        )
    connection.close()
    return found


# --- explaining -----------------------------------------------------------------------------------

_RELATIONS = """
SELECT class.relname::text AS name, class.reltuples::float8 AS rows, whole.relname::text AS parent
FROM pg_class AS class
    LEFT JOIN pg_inherits ON inhrelid = class.oid
    LEFT JOIN pg_class AS whole ON inhparent = whole.oid
WHERE class.relkind = 'r' AND class.relnamespace = 'public'::regnamespace
"""


async def _explained(dsn: str, of: Stock) -> list[dict[str, Any]]:
    connection = await connect(dsn, name="orderflow-bench")
    try:
        rows = await connection.fetch(_RELATIONS)
        parents = {row["name"]: row["parent"] for row in rows if row["parent"]}
        big = {row["name"] for row in rows if row["rows"] > BIG_ROWS}
        return [
            {"statement": name, **read(await _plan(connection, name, values), big, parents)}
            for name, values in _statements(of)
        ]
    finally:
        await connection.close()


async def _plan(connection: Any, name: str, values: tuple[Any, ...]) -> Any:
    said = await connection.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {sql(name)}", *values
    )
    return json.decode(said)[0]


def read(plan: Any, big: set[str], parents: Mapping[str, str]) -> dict[str, Any]:
    """
    Return what of a plan, as EXPLAIN (ANALYZE, FORMAT JSON) gives it, is to be known.

    *big* are tables that are not to be read whole, *parents* are partitions and whose they are.
    """
    nodes = [node for node in _nodes(plan["Plan"]) if node.get("Actual Loops")]
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    seen = {node["Relation Name"] for node in nodes if "Relation Name" in node}
    trails = {parents[name] for name in seen if name in parents}
    return {
        "ms": round(plan.get("Execution Time", 0.0), 1),
        "scans": sorted(scanned & big),
        "partitions": {
            trail: [
                sum(1 for name in seen if parents.get(name) == trail),
                sum(1 for parent in parents.values() if parent == trail),
            ]
            for trail in sorted(trails)
        },
    }


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


async def _size(owner: str) -> int:
    connection = await connect(owner, name="orderflow-bench")
    try:
        found: int = await connection.fetchval("SELECT pg_database_size(current_database())")
        return found
    finally:
        await connection.close()
