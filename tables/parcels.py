"""
What leaves our warehouse: a person says which parcel went, and with what in it.

Theory of operation. A parcel holds units of lines, because lines are what a platform is told of;
each unit of a line takes its SKUs from what the order holds (a kit takes several). So a parcel is
shipped whole or refused whole, never more of a line leaves than was ordered, and never a unit that
is not occupied for this order.

    paid --parcel--> paid, less is held --last parcel--> paid, all has left
                                                          |
                             the platform says SHIPPED <--+ (it was told): no unit moves again

The status stays the platform's word. What the platform says of parcels later counts the same units:
whichever of the two is heard first moves the stock, the other finds that nothing is left to move.
"""

from schemas.errors import Refusal
from schemas.orders import (
    Line,
    ParcelLine,
    Refund,
    ShipOrder,
    ShippedLine,
    Status,
    Waybill,
)
from tables.lifecycle import Goal
from tables.order_rows import IN_STOCK, Held, Order, Parcel
from tables.reservations import departed, units_of
from tables.telling import Telling

#: Parcels of one order.
PARCELS_MAX = 100
#: In which a warehouse may ship; the others are unpaid, on hold or closed.
SHIPPABLE = frozenset({Status.PAID, Status.PARTIALLY_SHIPPED})


def ship(order: Order, command: ShipOrder, telling: Telling) -> tuple[Refusal | None, int]:
    """Let a parcel leave: move its stock and tell of it, or say why not; and what has not left."""
    found = _contents(order, command)
    if isinstance(found, Refusal):
        return found, _to_leave(order)
    if len(order.parcels) >= PARCELS_MAX:
        return Refusal.TOO_LARGE, _to_leave(order)
    waybill = Waybill(command.carrier, command.tracking_number)
    if any(parcel.waybill == waybill for parcel in order.parcels):
        # Scanned twice; platforms know a parcel by its number, and would take it for that one.
        return Refusal.ALREADY_SHIPPED, _to_leave(order)
    _move(order, units_of(order, found), telling)
    contents = tuple(ParcelLine(line.line_id, units) for line, units in found)
    order.parcels = (*order.parcels, Parcel(waybill, contents))
    left = _to_leave(order)
    telling.shipped(command, tuple(_told(order, line, units) for line, units in found), left)
    return None, left


def _contents(order: Order, command: ShipOrder) -> list[tuple[Line, int]] | Refusal:
    """Return what is in the parcel, line by line; refusals in their order of precedence."""
    if order.goal is Goal.SHIP:
        return Refusal.ALREADY_SHIPPED
    if order.status not in SHIPPABLE or order.refund is Refund.REFUNDED or order.waits_for_answer:
        return Refusal.CANNOT_SHIP
    found = _named(order, command.lines) if command.lines else _all_held(order)
    if isinstance(found, Refusal):
        return found
    needed, occupied = units_of(order, found), _occupied(order)
    short = any(units > occupied.get(sku, 0) for sku, units in needed.items())
    return Refusal.NOT_HELD if short or not needed else found


def _named(order: Order, said: tuple[ParcelLine, ...]) -> list[tuple[Line, int]] | Refusal:
    """Find each line by its id, else by our SKU, of which the lines are taken in their order."""
    left = {line.line_id: _left(order, line) for line in order.lines}
    taken: dict[str, int] = {}
    for each in said:
        lines = [line for line in order.lines if line.line_id == each.line] or [
            line for line in order.lines if line.sku == each.line
        ]
        if not lines:
            return Refusal.UNKNOWN_ORDER
        if any(line.refund is Refund.REFUNDED for line in lines):
            return Refusal.CANNOT_SHIP
        units = each.quantity
        for line in lines:
            now = min(units, left[line.line_id])
            units -= now
            left[line.line_id] -= now
            if now:
                taken[line.line_id] = taken.get(line.line_id, 0) + now
        if units:
            return Refusal.ALREADY_SHIPPED
    return [(line, taken[line.line_id]) for line in order.lines if line.line_id in taken]


def _all_held(order: Order) -> list[tuple[Line, int]] | Refusal:
    """Return what has not left of every line that is held whole."""
    waiting = _waiting(order)
    if not waiting:
        return Refusal.ALREADY_SHIPPED
    occupied = _occupied(order)
    found = []
    for line, units in waiting:
        needed = units_of(order, [(line, units)])
        if needed and all(each <= occupied.get(sku, 0) for sku, each in needed.items()):
            found.append((line, units))
            for sku, each in needed.items():
                occupied[sku] -= each
    return found or Refusal.NOT_HELD


def _waiting(order: Order) -> list[tuple[Line, int]]:
    """Return what has not left of every line that is not refunded."""
    return [
        (line, units)
        for line in order.lines
        if line.refund is not Refund.REFUNDED and (units := _left(order, line))
    ]


def _left(order: Order, line: Line) -> int:
    """Return how many units of *line* have not left, by our word and by the platform's."""
    ours = sum(
        each.quantity
        for parcel in order.parcels
        for each in parcel.lines
        if each.line == line.line_id
    )
    return max(0, line.quantity - max(ours, line.shipped or 0))


def _occupied(order: Order) -> dict[str, int]:
    units: dict[str, int] = {}
    for demand in order.demands:
        if demand.held is Held.OCCUPIED:
            units[demand.sku] = units.get(demand.sku, 0) + demand.rest
    return units


def _to_leave(order: Order) -> int:
    """
    Return how many units are held for the order and will leave: none of a line that is refunded.

    Its stock may still be held, until the platform's word about the lines gives it back.
    """
    held: dict[str, int] = {}
    for demand in order.demands:
        if demand.held in IN_STOCK:
            held[demand.sku] = held.get(demand.sku, 0) + demand.rest
    needed = units_of(order, _waiting(order))
    return sum(min(units, held.get(sku, 0)) for sku, units in needed.items())


def _move(order: Order, needed: dict[str, int], telling: Telling) -> None:
    left = dict(needed)
    moved = []
    for demand in order.demands:
        units = min(left.get(demand.sku, 0), demand.rest) if demand.held is Held.OCCUPIED else 0
        if units:
            left[demand.sku] -= units
            moved.append(departed(demand, units, telling))
        else:
            moved.append(demand)
    order.demands = tuple(moved)


def _told(order: Order, line: Line, units: int) -> ShippedLine:
    return ShippedLine(
        line_id=line.line_id,
        sku=line.sku,
        platform_sku=line.platform_sku,
        quantity=units,
        left=_left(order, line),
    )
