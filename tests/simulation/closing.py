"""
What must hold of a town at rest, beside what `orderflow check` looks at.

I8: memory is what recovery makes of the changelog; the whole inbox, decided again by an empty
keeper, gives the same rows, counters and letters to the byte. I9: where no order competes with
another, every order and every SKU is as if each platform had spoken once, and in order.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agents.frames import POSITION_BYTES, FrameDecider, Inbox
from agents.letters import Post
from streams.engine.keeper import Keeper
from streams.engine.store import Part
from streams.topology import ROUTES
from tables.order_rows import HOLDING
from tests.builders import T0, receive
from tests.simulation.house import House
from tests.simulation.saying import AMPLE
from tests.simulation.witness import Violation, judge, newest, said_by, tables_of
from tests.trade import ORDERS, SKUS

if TYPE_CHECKING:
    from tests.simulation.town import Town

Partition = tuple[Keeper, int, Part]


def close(town: "Town") -> None:
    """Judge *town*, which is at rest. Raises Violation."""
    for finding in judge(town.logs, tables_of(town.database), town.now_ms):
        if finding.violations:
            raise Violation(finding.id, str(finding.examples[0]))
    for partition in _partitions(town):
        _is_what_is_written(town, *partition)
        _is_what_comes_again(town, *partition)
    if town.ample:
        _is_as_if_told_in_order(town)


def _partitions(town: "Town") -> Iterator[Partition]:
    for workers in town.workers.values():
        for worker in workers:
            if isinstance(worker.role, Keeper):
                for p, part in worker.role.store.parts.items():
                    yield worker.role, p, part


def _is_what_is_written(town: "Town", role: Keeper, p: int, part: Part) -> None:
    """Memory is what recovery makes of the changelog, and of its greatest positions alone."""
    log = [each for each in town.log(role.changelog, p) if each is not None]
    for records in (log, newest(log)):
        again = Part()
        again.take(records)
        again.settle()
        if again.halted:
            raise Violation("I8", f"{role.changelog}/{p}: {again.halted}")
        if (_bare(again.rows), again.state) != (_bare(part.rows), part.state):
            raise Violation("I8", f"{role.changelog}/{p} is not what its owner has in memory")


def _is_what_comes_again(town: "Town", role: Keeper, p: int, part: Part) -> None:
    """The whole inbox, given to an empty keeper, gives the same rows, state and letters."""
    again = Part()
    post = Post(role.name, role.table.number, p, ROUTES, town.partition_of)
    decider = FrameDecider({}, again.state, role.table, Inbox(role.inbox, p), post)
    rows: dict[bytes, bytes] = {}
    letters: dict[str, list[tuple[Any, ...]]] = {}
    for slice_ in decider.decide(town.log(role.inbox, p)):  # type: ignore[arg-type]
        rows |= {key: row for key, row in slice_.changes.items() if row is not None}
        for key in [key for key, row in slice_.changes.items() if row is None]:
            rows.pop(key, None)
        for lane, sent in slice_.letters.lanes.items():
            letters.setdefault(lane, []).extend(
                (key, value, *headers) for key, value, headers in sent
            )
        again.state = slice_.state
    if (_bare(rows), again.state) != (_bare(part.rows), part.state):
        raise Violation("I8", f"{role.inbox}/{p} decided again gives other rows or counters")
    for lane, sent in letters.items():
        topic, _, to = lane.rpartition("/")
        if said_by(f"{role.name}/p{p}", town.log(topic, int(to))) != sent:
            raise Violation("I8", f"{role.inbox}/{p} decided again says other letters on {lane}")


def _is_as_if_told_in_order(town: "Town") -> None:
    tidy = _told_in_order(town)
    here = {
        key.decode(): role.table.decode_row(raw[POSITION_BYTES:])
        for role, _, part in _partitions(town)
        for key, raw in part.rows.items()
    }
    keys = [f"taobao:lamps:{order}" for order in ORDERS]
    pairs = [(key, _gist(here.get(key)), _gist(tidy.row("orders", key.encode()))) for key in keys]
    pairs += [(sku, _buckets(here.get(sku)), _buckets(tidy.balance(sku))) for sku in SKUS]
    for what, found, expected in pairs:
        if found != expected:
            raise Violation("I9", f"{what} is {found}, told in order {expected}")


def _told_in_order(town: "Town") -> House:
    """Return a house in which each statement was made once, the oldest first, and all is swept."""
    house = House(town.partitions)
    house.now_ms = T0
    house.tell(*(receive(sku, AMPLE) for sku in SKUS))
    house.settle()
    for said in sorted(town.observed.values(), key=lambda each: each.statement.stated_ms):
        house.tell(said)
        house.settle()
    house.now_ms = town.now_ms
    for keeper in house.keepers.values():
        table = keeper.table
        assert table.deadline_ms is not None
        assert table.wake is not None
        for raw in list(keeper.rows.values()):
            row = table.decode_row(raw[POSITION_BYTES:])
            due = table.deadline_ms(row)
            if due is not None and due <= house.now_ms:
                house.tell(table.wake(row))
    house.settle()
    return house


def _bare(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: row[POSITION_BYTES:] for key, row in rows.items()}


def _gist(row: Any) -> Any:
    if row is None:
        return None
    held = sorted(
        (demand.sku, demand.quantity, demand.held.value)
        for demand in row.demands
        if demand.held in HOLDING or demand.shipped
    )
    lines = [(line.sku, line.quantity, line.line_total) for line in row.lines]
    return (row.status.value, row.total, lines, held, sorted(row.cases))


def _buckets(row: Any) -> Any:
    return row and (row.available, row.locked, row.occupied, row.reserved, row.frozen)
