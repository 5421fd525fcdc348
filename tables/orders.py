"""
The orders: what platforms said about each, decided command by command.

Theory of operation. A statement has facets (status, content, refund, buyer, receiver, shipments),
because some bodies restate only a part. Of each facet the greatest version wins:

    (what cannot unhappen, the platform's time, rank, adapter version, digest of the bytes)

A version is a total order over statements, so every permutation and repetition of the same
statements ends in the same row. What loses is recorded with its reason.

The rest of the machine stands beside this file: `lifecycle` (statuses), `order_rows` (the row),
`reservations` (all or none), `parcels` (what left our warehouse), `telling` (what is said).
"""

from copy import copy
from typing import Any

from msgspec import Struct, msgpack, structs

from schemas.errors import Refusal
from schemas.orders import (
    ExpireHold,
    Ignored,
    ObserveOrder,
    OperatorOrderCommand,
    OrderCommand,
    OrderCommandAnswered,
    Policy,
    RemindOrder,
    ReturnGoods,
    SettleCase,
    ShipOrder,
    Statement,
    StockAnswered,
)
from tables.answers import (
    Answer,
    digest_of,
    refused_unheard,
    remembered,
    told_before,
)
from tables.lifecycle import (
    CANNOT_UNHAPPEN,
    GOALS,
    PAID_GOALS,
    RANK,
    REFUND_RANK,
    TRANSITIONS,
    Goal,
)
from tables.order_rows import Order, Version, order_row_key, sortable
from tables.parcels import ship
from tables.reservations import (
    adopted,
    advance,
    answered,
    ask_again,
    check_units,
    deadline_ms,
    due_ms,
    expire,
    is_asked,
    open_cases,
    remind,
    settle,
    wake,
)
from tables.spec import Decision, Rows, Rule, Table
from tables.telling import Telling

#: How many operators' commands one order remembers within 24 hours.
ANSWERS_MAX = 500


def decide(rows: Rows, command: OrderCommand, at_ms: int) -> Decision:
    """Return what *command* changes and what is said, given the order's row."""
    rule: Rule = DECIDE[type(command)]
    return rule(rows, command, at_ms)


# --- a platform said something --------------------------------------------------------------------


def _observe(rows: Rows, command: ObserveOrder, at_ms: int) -> Decision:
    said = command.statement
    key = order_row_key(said.key)
    row: Order | None = rows.get(key)
    check_units(said.lines)
    order = copy(row) if row is not None and row.is_heard else _first_seen(said, row)
    is_first = not order.is_heard
    telling = Telling(order, at_ms, command.source.cause)
    before_goal, before_lines, before_personal = order.goal, order.lines, _personal(order)
    taken = _take(order, said, command)
    if not taken:
        telling.ignored(_why_ignored(order, said, command), said, command)
        open_cases(order, telling)
        return {key: order}, telling.said
    order.cause, order.policy = telling.cause, command.policy
    telling.observed(command, order.lines if order.lines is not before_lines else ())
    if said.status is not None and "status" not in taken and _is_illegal(order, said):
        telling.ignored(Ignored.ILLEGAL, said, command)
    if _personal(order) != before_personal:
        telling.details()
    if order.lines is not before_lines and order.unmapped and (row is None or not row.unmapped):
        order.since_ms, order.reminded = at_ms, 0
    if is_first and _is_adopted(said, command.policy):
        order.demands = adopted(order)
    paid_now = order.goal in PAID_GOALS and before_goal not in PAID_GOALS
    if paid_now and not order.undecided:
        ask_again(order)
    advance(order, at_ms, telling)
    return {key: order}, telling.said


def _first_seen(said: Statement, asked: Order | None) -> Order:
    """Return the order as nobody has spoken of it yet; what operators were told stays told."""
    return Order(
        key=said.key,
        platform=said.platform,
        shop=said.shop,
        order_id=said.order_id,
        answers=asked.answers if asked is not None else (),
    )


def _take(order: Order, said: Statement, command: ObserveOrder) -> set[str]:
    """Let each facet that *said* states newer replace the row's; return the names of those."""
    taken: set[str] = set()
    adapter, digest = sortable(command.source.adapter), command.source.digest
    stated = said.stated_ms
    if said.status is not None:
        if CANNOT_UNHAPPEN[said.status] == 1 and stated > order.paid_said_ms:
            order.paid_said_ms = stated
        at = Version(CANNOT_UNHAPPEN[said.status], stated, RANK[said.status], adapter, digest)
        if order.status_at is None or at > order.status_at:
            order.status, order.status_said, order.status_at = said.status, said.status_said, at
            taken.add("status")
    if said.refund is not None:
        at = Version(0, stated, REFUND_RANK[said.refund], adapter, digest)
        if order.refund_at is None or at > order.refund_at:
            order.refund, order.refunded, order.refund_at = said.refund, said.refunded, at
            taken.add("refund")
    if said.lines:
        at = Version(0, stated, 0, adapter, digest)
        if order.content_at is None or at > order.content_at or _maps_more(order, said, at):
            _take_content(order, said)
            order.content_at = at
            taken.add("content")
    _take_people(order, said, Version(0, stated, 0, adapter, digest), taken)
    return taken


def _maps_more(order: Order, said: Statement, at: Version) -> bool:
    """Say whether the same words now carry SKUs that were unmapped before."""
    return (
        at == order.content_at
        and bool(order.unmapped)
        and sum(line.sku is None for line in said.lines) < len(order.unmapped)
    )


def _take_content(order: Order, said: Statement) -> None:
    order.created_at, order.paid_at = said.created_at, said.paid_at
    order.shipped_at, order.completed_at = said.shipped_at, said.completed_at
    order.updated_at = said.updated_at
    order.currency, order.total, order.shipping = said.currency, said.total, said.shipping
    order.discount, order.tax, order.paid = said.discount, said.tax, said.paid
    order.payment_method, order.notices = said.payment_method, said.notices
    order.invoice = said.invoice
    if said.lines != order.lines:
        order.lines = said.lines


def _take_people(order: Order, said: Statement, at: Version, taken: set[str]) -> None:
    """A mask never overwrites what is known in clear; between equals the newest wins (trap 11)."""
    if said.buyer is not None:
        weighed = _weighed(at, clear=said.buyer.phone is not None)
        if order.buyer_at is None or weighed > order.buyer_at:
            order.buyer, order.buyer_at = said.buyer, weighed
            taken.add("buyer")
    if said.receiver is not None:
        weighed = _weighed(at, clear=said.receiver.phone is not None)
        if order.receiver_at is None or weighed > order.receiver_at:
            order.receiver, order.receiver_at = said.receiver, weighed
            taken.add("receiver")
    if said.shipments and (order.shipments_at is None or at > order.shipments_at):
        order.shipments, order.shipments_at = said.shipments, at
        taken.add("shipments")


def _weighed(at: Version, *, clear: bool) -> Version:
    return Version(1 if clear else 0, at.stated_ms, at.rank, at.adapter, at.digest)


def _why_ignored(order: Order, said: Statement, command: ObserveOrder) -> Ignored:
    if said.status is None and said.refund is None and not said.lines and not said.shipments:
        return Ignored.EMPTY
    versions = (order.status_at, order.content_at, order.refund_at, order.shipments_at)
    digest = command.source.digest
    if any(at is not None and at.digest == digest for at in versions):
        return Ignored.DUPLICATE
    return Ignored.ILLEGAL if _is_illegal(order, said) else Ignored.STALE


def _is_illegal(order: Order, said: Statement) -> bool:
    """Newer by the platform's clock, and yet undoing what cannot be undone."""
    return (
        said.status is not None
        and order.status is not None
        and order.status_at is not None
        and said.stated_ms > order.status_at.stated_ms
        and said.status is not order.status
        and said.status not in TRANSITIONS[order.status]
    )


def _is_adopted(said: Statement, policy: Policy) -> bool:
    """Say whether an order first seen shipped or closed is from before its shop's go-live."""
    return (
        GOALS[said.status] in (Goal.SHIP, Goal.FREE)
        and said.created_at is not None
        and said.created_at.ms < policy.go_live_ms
    )


def _personal(order: Order) -> tuple[Any, ...]:
    return (order.buyer, order.receiver, order.invoice, order.shipments, order.notices)


# --- the stock keeper answered, a deadline passed ------------------------------------------------


def _answered(rows: Rows, command: StockAnswered, at_ms: int) -> Decision:
    key = order_row_key(command.order)
    row: Order | None = rows.get(key)
    if row is None or not is_asked(row, command):
        if command.again and row is not None:
            return {}, []  # the first answer came after all
        msg = f"{command.order} did not ask for {command.sku} in attempt {command.attempt}"
        raise AssertionError(msg)
    order = copy(row)
    order.demands = answered(row.demands, command)
    if order.waits_for_answer:
        return {key: order}, []
    telling = Telling(order, at_ms, order.cause)
    advance(order, at_ms, telling)
    return {key: order}, telling.said


def _expire(rows: Rows, command: ExpireHold, at_ms: int) -> Decision:
    """The log's clock decides: before the deadline, or after payment, nothing happens (T34)."""
    key = order_row_key(command.order)
    row: Order | None = rows.get(key)
    due = None if row is None else deadline_ms(row)
    if row is None or due is None or due != command.deadline_ms or at_ms < due:
        return {}, []
    order = copy(row)
    telling = Telling(order, at_ms, order.cause)
    expire(order, telling)
    telling.expired(due)
    return {key: order}, telling.said


def _remind(rows: Rows, command: RemindOrder, at_ms: int) -> Decision:
    """A budget is spent by the log's clock; otherwise nothing happens."""
    key = order_row_key(command.order)
    row: Order | None = rows.get(key)
    due = None if row is None else due_ms(row)
    if row is None or due is None or due != command.due_ms or at_ms < due:
        return {}, []
    if not row.is_heard:
        return {key: None}, []
    if deadline_ms(row) is not None:
        return {}, []
    order = copy(row)
    telling = Telling(order, at_ms, order.cause)
    remind(order, telling)
    return {key: order}, telling.said


# --- an operator decided --------------------------------------------------------------------------


def _operate(rows: Rows, command: OperatorOrderCommand, at_ms: int) -> Decision:
    """Answer an operator once: the same id gets the same answer, yes or no, heard of or not."""
    key = order_row_key(command.order)
    row: Order = rows.get(key) or _unheard(command.order)
    kept = remembered(row.answers, at_ms)
    digest = digest_of(command)
    before = told_before(kept, command.id, digest)
    if before is not None:
        return {}, [_told(command, before.refusal, before.available, at_ms)]
    unheard = refused_unheard(kept, command.id, at_ms, ANSWERS_MAX)
    if unheard is not None:
        return {}, [_told(command, unheard, 0, at_ms)]
    order = copy(row)
    telling = Telling(order, at_ms, command.id)
    refusal, left = _done(order, command, telling, at_ms)
    order.answers = (*kept, Answer(command.id, digest, refusal, left))
    return {key: order}, [*telling.said, _told(command, refusal, left, at_ms)]


def _unheard(key: str) -> Order:
    """Return the row of an order that only operators have spoken of; it lasts as they may ask."""
    return Order(key=key, platform="", shop="", order_id="")


def _done(
    order: Order, command: OperatorOrderCommand, telling: Telling, at_ms: int
) -> tuple[Refusal | None, int]:
    """Do what an operator asks for; return why not, and what is left to return."""
    if not order.is_heard:
        return Refusal.UNKNOWN_ORDER, 0
    if isinstance(command, ReturnGoods):
        return _take_back(order, command, telling)
    if isinstance(command, ShipOrder):
        return ship(order, command, telling)
    return _settle(order, command, telling, at_ms), 0


def _take_back(order: Order, command: ReturnGoods, telling: Telling) -> tuple[Refusal | None, int]:
    """Let come back at most what was shipped and is not back yet (T46)."""
    sku = _sku_of(order, command.sku)
    mine = [demand for demand in order.demands if demand.sku == sku]
    if sku is None or not mine:
        return Refusal.UNKNOWN_ORDER, 0
    out = sum(demand.shipped - demand.returned for demand in mine)
    if command.quantity > out:
        return Refusal.NOT_SHIPPED, out
    back, demands = command.quantity, []
    for demand in order.demands:
        takes = min(back, demand.shipped - demand.returned) if demand.sku == sku else 0
        back -= takes
        demands.append(
            structs.replace(demand, returned=demand.returned + takes) if takes else demand
        )
    order.demands = tuple(demands)
    telling.returned(command, sku, sum(d.returned for d in demands if d.sku == sku))
    return None, out - command.quantity


def _sku_of(order: Order, said: str) -> str | None:
    """Return the SKU as the stock knows it: with its warehouse, which people leave out."""
    names = {demand.sku for demand in order.demands}
    return said if said in names else f"{said}@{order.warehouse}" if order.warehouse else None


def _settle(order: Order, command: SettleCase, telling: Telling, at_ms: int) -> Refusal | None:
    """Do what a person chose for an open case; one that is finished is refused."""
    if command.case not in order.cases or command.case in order.settled:
        return Refusal.CASE_CLOSED
    settle(order, command.case, command.choice)
    telling.settled(command)
    advance(order, at_ms, telling)
    return None


def _told(
    command: OperatorOrderCommand, refusal: Refusal | None, left: int, at_ms: int
) -> OrderCommandAnswered:
    return OrderCommandAnswered(
        order=command.order,
        at_ms=at_ms,
        cause=command.id,
        command=command.id,
        about=_about(command),
        refusal=refusal,
        left=left,
    )


def _about(command: OperatorOrderCommand) -> str:
    if isinstance(command, ReturnGoods):
        return command.sku
    return command.tracking_number if isinstance(command, ShipOrder) else str(command.case)


def answer_failed(command: OrderCommand, at_ms: int) -> list[Struct]:
    """Return the answer to an operator whose command could not be decided; nobody else waits."""
    if isinstance(command, OperatorOrderCommand):
        return [_told(command, Refusal.BUG, 0, at_ms)]
    return []


DECIDE: dict[type, Rule] = {
    ObserveOrder: _observe,
    StockAnswered: _answered,
    ExpireHold: _expire,
    RemindOrder: _remind,
    ReturnGoods: _operate,
    SettleCase: _operate,
    ShipOrder: _operate,
}

TABLE = Table(
    name="orders",
    number=1,
    decode_command=msgpack.Decoder(OrderCommand).decode,
    decode_row=msgpack.Decoder(Order).decode,
    encode_row=msgpack.Encoder().encode,
    decide=decide,
    answer_failed=answer_failed,
    deadline_ms=due_ms,
    wake=wake,
)
