"""
PostgreSQL as the ledger's writer meets it: named statements, transactions, a server that hangs up.

The real `PostgresLedger` talks to it. A statement does here what its SQL says it does; what a
server promises is kept: all of a transaction or nothing, one at a time on the rows it locked,
nothing of one whose client has gone. `tests/integration/test_ledger_postgres.py` has the real one.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from streams.postgres.ledger import STAGED
from streams.postgres.queries import sql
from tests.simulation.loop import WORKER

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

Row = dict[str, Any]
#: Table -> the columns that make a row unique, where nothing but a second write could repeat them.
ONCE = {
    "order_events": ("order_key", "version"),
    "stock_ledger": ("sku", "version"),
}
#: Merged table -> its key, and whether an equal version replaces.
MERGED = {
    "orders": (("order_key",), False),
    "stock": (("sku",), False),
    "holds": (("order_key", "sku"), False),
    "quotas": (("sku", "quota"), True),
    "order_details": (("order_key",), True),
}
#: Column of an order -> the facets with which it is taken; others are taken where they are said.
_SNAPSHOT = (
    "platform_status", "status_said", "currency", "total_minor", "shipping_minor",
    "discount_minor", "tax_minor", "paid_minor", "created_at", "paid_at", "shipped_at",
    "completed_at", "updated_at", "adapter", "digest", "unmapped", "received_at",
)  # fmt: skip
FACETS = dict.fromkeys(_SNAPSHOT, 1) | {
    "refund": 2, "refunded_minor": 2, "reservation": 20, "attempt": 4, "short": 4,
    "deadline_at": 8, "open_case": 32,
}  # fmt: skip


class Database:
    """What has been committed, and who is in the middle of a transaction."""

    def __init__(self) -> None:
        self.positions: dict[tuple[str, int], int] = {}
        self.sources: dict[tuple[str, int, str], tuple[int, int]] = {}
        #: Appended, in their order.
        self.appended: dict[str, list[Row]] = {}
        #: Merged table -> key -> row.
        self.merged: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in MERGED}
        #: (order, warehouse) of what can go -> since when it is paid.
        self.to_ship: dict[tuple[str, str], int | None] = {}
        self.answers: dict[str, tuple[Any, ...]] = {}
        self.parked: dict[str, Row] = {}
        #: What was written a second time.
        self.twice: list[str] = []
        self.holder: Transaction | None = None
        self.commits = 0

    async def connect(self, *_: Any, **__: Any) -> "Connection":
        """Return a connection of the running worker."""
        worker = WORKER.get()
        assert worker is not None
        await worker.awake()
        return Connection(self, worker)

    def hang_up(self, worker: "Worker") -> None:
        """End what *worker* was in the middle of."""
        if self.holder is not None and self.holder.of(worker):
            self.holder.end()

    def read(self, text: str, args: Sequence[Any]) -> list[Any]:
        """Return what a query finds."""
        match text:
            case "settled_positions":
                return [(*at, self.positions[at]) for at in zip(*args, strict=True)]
            case "heard_sources":
                wanted = set(zip(*args, strict=True))
                return [
                    (*where, *last) for where, last in self.sources.items() if where[:2] in wanted
                ]
            case "chain_heads":
                stock = self.merged["stock"]
                return [
                    {"sku": sku, "chain": stock[(sku,)]["chain"]}
                    for sku in args[0]
                    if (sku,) in stock
                ]
            case "overtaken_orders":
                orders = self.merged["orders"]
                return [
                    {"order_key": key}
                    for key, version in zip(*args, strict=True)
                    if (key,) in orders and orders[(key,)]["version"] != version
                ]
            case "column_types":
                return []
        raise AssertionError(f"nobody answers {text}")

    def append(self, table: str, columns: Sequence[str], records: Sequence[Sequence[Any]]) -> None:
        """Append rows; what stands there already is remembered as written twice."""
        rows = self.appended.setdefault(table, [])
        if key := ONCE.get(table):
            known = {tuple(row[column] for column in key) for row in rows}
        for record in records:
            row = dict(zip(columns, record, strict=True))
            if key and (this := tuple(row[column] for column in key)) in known:
                self.twice.append(f"{table} {this}")
            rows.append(row)

    def newer(self, table: str, rows: Sequence[Row]) -> list[tuple[tuple[Any, ...], Row]]:
        """Return which of *rows* the table would take, as they would stand there."""
        columns, equal = MERGED[table]
        stands, taken = self.merged[table], []
        for row in rows:
            key = tuple(row[column] for column in columns)
            known = stands.get(key)
            if known is None:
                taken.append((key, row))
            elif row["version"] + equal > known["version"]:
                taken.append((key, _MERGES.get(table, _replaced)(known, row)))
        return taken

    def forget_lines(self, orders: Sequence[str]) -> None:
        """Take away the lines of *orders*."""
        lines = self.appended.setdefault("order_lines", [])
        lines[:] = [line for line in lines if line["order_key"] not in orders]

    def keep_to_ship(self, orders: Sequence[str]) -> None:
        """Let the list of what can go be what these *orders* and their holds say."""
        self.to_ship = {row: since for row, since in self.to_ship.items() if row[0] not in orders}
        for (key, sku), hold in self.merged["holds"].items():
            order = self.merged["orders"].get((key,))
            if key in orders and order is not None and _can_go(order, hold):
                self.to_ship[key, sku.partition("@")[2]] = order["paid_at"]

    def park(self, rows: Sequence[Row]) -> None:
        """Park, or count another attempt."""
        for row in rows:
            known = self.parked.get(row["id"], {"attempts": 0})
            self.parked[row["id"]] = row | {"attempts": known["attempts"] + row["attempts"]}


def _replaced(_known: Row, row: Row) -> Row:
    return row


def _can_go(order: Row, hold: Row) -> bool:
    return (
        hold["ended_at"] is None
        and hold["bucket"] == "occupied"
        and order["status"] in ("PAID", "PARTIALLY_SHIPPED")
        and order["reservation"] == "reserved"
        and order["open_case"] is None
        and order["refund"] not in ("REFUNDING", "REFUNDED")
    )


def _order(known: Row, row: Row) -> Row:
    taken = {column: row[column] for column, of in FACETS.items() if row["facets"] & of}
    said = {column: row[column] for column in ("status", "ignored_why") if row[column] is not None}
    always = {column: row[column] for column in ("version", "facets", "changed_at")}
    return known | taken | said | always | {"ignored": known["ignored"] + row["ignored"]}


def _hold(known: Row, row: Row) -> Row:
    held_at = known["held_at"] if row["held_at"] is None else row["held_at"]
    return row | {"held_at": held_at, "moves": f"{known['moves']} {row['moves']}"}


_MERGES: dict[str, Callable[[Row, Row], Row]] = {"orders": _order, "holds": _hold}


class Transaction:
    """Statements that count together, or not at all."""

    def __init__(self, database: Database, worker: "Worker") -> None:
        self._database = database
        self._worker = worker
        self.changes: list[Callable[[], object]] = []
        self.over = False

    def of(self, worker: "Worker") -> bool:
        """Is it that worker's?"""
        return self._worker is worker

    async def start(self) -> None:
        """Begin, once whoever is at work has ended; a session that has gone quiet is ended."""
        database = self._database
        await self._worker.awake()
        while (holder := database.holder) is not None:
            if not holder._worker.alive or holder._worker.stopped:
                holder.end()
                break
            await self._worker.network.pause(self._worker)
        database.holder = self

    def end(self) -> None:
        """Let nothing of it count."""
        self.over = True
        self.changes.clear()
        if self._database.holder is self:
            self._database.holder = None

    async def commit(self) -> None:
        """Let it count; the answer may be lost on its way."""
        network = self._worker.network
        await network.pause(self._worker)
        if self.over or not self._worker.alive:
            self.end()
            raise asyncpg.ConnectionDoesNotExistError("the server ended the session")
        lost = self._worker.bad_luck()
        if lost == "before commit":
            self.end()
            raise asyncpg.ConnectionDoesNotExistError("cut before COMMIT arrived")
        for change in self.changes:
            change()
        self._database.commits += 1
        self.end()
        await network.pause(self._worker)
        if lost:
            raise asyncpg.ConnectionDoesNotExistError("cut before the answer arrived")

    async def rollback(self) -> None:
        """Let nothing of it count."""
        self.end()


class Connection:
    """What `asyncpg` gives, as far as the ledger's writer uses it."""

    def __init__(self, database: Database, worker: "Worker") -> None:
        self._database = database
        self._worker = worker
        self._transaction: Transaction | None = None
        self._closed = False

    def transaction(self) -> Transaction:
        """Return the next transaction."""
        self._transaction = Transaction(self._database, self._worker)
        return self._transaction

    def is_closed(self) -> bool:
        """Is it of no use any more?"""
        return self._closed

    def terminate(self) -> None:
        """Hang up."""
        self._closed = True
        if self._transaction is not None:
            self._transaction.end()

    async def close(self, **_: Any) -> None:
        """Hang up in good order."""
        self.terminate()

    async def set_type_codec(self, *_: Any, **__: Any) -> None:
        """Rows are values here."""

    async def fetch(self, text: str, *args: Any) -> list[Any]:
        """Run a query."""
        return self._database.read(_NAMES[_head(text)], args)

    async def copy_records_to_table(
        self, table: str, *, records: Sequence[Sequence[Any]], columns: Sequence[str]
    ) -> None:
        """Append rows, or stage them."""
        assert not table.startswith("staged_"), "a round of the simulation is small"
        self._later(lambda: self._database.append(table, columns, records))

    def _later(self, change: Callable[[], object]) -> None:
        assert self._transaction is not None
        if self._transaction.over:
            raise asyncpg.ConnectionDoesNotExistError("the server ended the session")
        self._transaction.changes.append(change)

    async def execute(self, text: str, *args: Any) -> str:
        """Run a statement; return its command tag."""
        name = _NAMES.get(_head(text), "")
        if text.startswith("CREATE TEMPORARY TABLE") or name in _NOTHING:
            return "OK 0"
        database, rows = self._database, [*zip(*args, strict=True)]
        match name:
            case "forget_lines" | "keep_to_ship":
                change = getattr(database, name)
                self._later(lambda: change(args[0]))
            case "claim_positions":
                for where in rows:
                    database.positions.setdefault(where, 0)
            case "advance_positions":
                stand = [row for row in rows if database.positions.get(row[:2]) == row[2]]
                self._later(lambda: database.positions.update({row[:2]: row[3] for row in stand}))
                return f"UPDATE {len(stand)}"
            case "remember_sources":
                self._later(lambda: database.sources.update({row[:3]: row[3:] for row in rows}))
            case "keep_answers":
                self._later(lambda: [database.answers.setdefault(row[0], row) for row in rows])
            case _:
                return self._merge(name, rows)
        return f"INSERT 0 {len(rows)}"

    def _merge(self, name: str, rows: Sequence[Sequence[Any]]) -> str:
        _, table, kind = STAGED[name]
        said = [dict(zip(kind._fields, row, strict=True)) for row in rows]
        if table == "parked":
            self._later(lambda: self._database.park(said))
            return f"INSERT 0 {len(said)}"
        taken = self._database.newer(table, said)
        self._later(lambda: self._database.merged[table].update(taken))
        return f"INSERT 0 {len(taken)}"


#: A session that was stopped ends when somebody starts; a transaction has the database to itself.
_NOTHING = frozenset({"end_stopped_sessions", "one_at_a_time_to_ship"})


def _head(text: str) -> str:
    return text.partition("\n")[0]


_NAMES = {
    _head(sql(name)): name
    for name in (
        "column_types", "claim_positions", "end_stopped_sessions", "settled_positions",
        "heard_sources", "advance_positions", "remember_sources", "overtaken_orders",
        "forget_lines", "chain_heads", "keep_answers", "one_at_a_time_to_ship", "keep_to_ship",
        *STAGED,
    )
}  # fmt: skip
