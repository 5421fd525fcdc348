"""
The orders: what platforms said about each, what it holds, and what was told about it.

Rules for this file: everything that changes an order stands here. Three tables are the machine:
`GOALS` (what a status wants of the stock), `STEPS` (how a demand gets there) and `CANNOT_UNHAPPEN`
(which statuses absorb). The code below handles what the tables cannot say.

Theory of operation.

*Which statement wins.* A statement has facets (status, content, refund, buyer, receiver,
shipments), because some bodies restate only a part. Of each facet the greatest version wins:

    (what cannot unhappen, the platform's time, rank, adapter version, digest of the bytes)

Payment, completion and cancellation cannot unhappen, so a statement from before them loses to
them whatever its time; otherwise the newest wins. A version is a total order, so every permutation
and repetition of the same statements ends in the same row. What loses is recorded with its reason.

*The reservation.* Lines are merged by SKU into demands. `advance` moves every demand towards the
goal of the order's status, one step of `STEPS` at a time, each with its letter. While one answer is
out, nothing moves: so there is exactly one verdict an attempt, it lists every line, and it is all
or nothing (partial by the shop's policy). Where a line was refused, what was held is given back:
the undo of a step is a step of the same table. Paying after expiry or refusal asks once more.

*What is told.* `OrderObserved` repeats the platform's word at once. Status events come only after
the verdict (T06): nothing downstream calls an order accepted before its stock is.
"""

from copy import copy
from typing import Any, NamedTuple

from msgspec import Struct, msgpack

from schemas.base import Moment, Word
from schemas.errors import Refusal
from schemas.orders import (
    Buyer,
    Case,
    CaseOpened,
    ExpireHold,
    Ignored,
    Invoice,
    Line,
    Notice,
    ObserveOrder,
    OrderCommand,
    OrderDetails,
    OrderExpired,
    OrderObserved,
    OrderRefundChanged,
    OrderReserved,
    OrderShort,
    OrderStatusChanged,
    Policy,
    PublicLine,
    Receiver,
    Refund,
    Shipment,
    Short,
    Statement,
    StatementIgnored,
    Status,
    StockAnswered,
)
from schemas.stock import HoldStock, OccupyStock, ReleaseStock, ShipStock, Verb
from tables.spec import Decision, Rows, Rule, Table

# --- the machine, as tables -----------------------------------------------------------------------

#: A status that cannot be undone by one of a lower class, whatever the platform's clock says.
CANNOT_UNHAPPEN: dict[Status, int] = {
    Status.UNKNOWN: 0,
    Status.PENDING_PAYMENT: 0,
    Status.ON_HOLD: 1,
    Status.PAID: 1,
    Status.PARTIALLY_SHIPPED: 1,
    Status.SHIPPED: 1,
    Status.DELIVERED: 1,
    Status.COMPLETED: 2,
    Status.CANCELLED: 3,
}

#: At equal time the further one wins (platforms.md section 13).
RANK: dict[Status, int] = {
    Status.UNKNOWN: 0,
    Status.PENDING_PAYMENT: 10,
    Status.ON_HOLD: 20,
    Status.PAID: 30,
    Status.PARTIALLY_SHIPPED: 40,
    Status.SHIPPED: 50,
    Status.DELIVERED: 60,
    Status.COMPLETED: 70,
    Status.CANCELLED: 80,
}
REFUND_RANK: dict[Refund, int] = {
    Refund.NONE: 0,
    Refund.REJECTED: 1,
    Refund.REFUNDING: 2,
    Refund.PARTIALLY_REFUNDED: 3,
    Refund.REFUNDED: 4,
}

#: status -> statuses that may follow: all of the same class, and all of a higher one.
TRANSITIONS: dict[Status | None, frozenset[Status]] = {
    None: frozenset(Status),
    **{
        before: frozenset(
            after
            for after in Status
            if after is not before and CANNOT_UNHAPPEN[after] >= CANNOT_UNHAPPEN[before]
        )
        for before in Status
    },
}


class Goal(Word):
    """What a status wants of the stock."""

    #: Leave everything as it is: the platform's word is not understood.
    KEEP = "keep"
    LOCK = "lock"
    OCCUPY = "occupy"
    SHIP = "ship"
    FREE = "free"


GOALS: dict[Status | None, Goal] = {
    None: Goal.KEEP,
    Status.UNKNOWN: Goal.KEEP,
    Status.PENDING_PAYMENT: Goal.LOCK,
    Status.ON_HOLD: Goal.OCCUPY,
    Status.PAID: Goal.OCCUPY,
    Status.PARTIALLY_SHIPPED: Goal.OCCUPY,
    Status.SHIPPED: Goal.SHIP,
    Status.DELIVERED: Goal.SHIP,
    Status.COMPLETED: Goal.SHIP,
    Status.CANCELLED: Goal.FREE,
}
PAID_GOALS = frozenset({Goal.OCCUPY, Goal.SHIP})


class Held(Word):
    """Where one demand stands."""

    #: Not asked yet.
    NEW = "new"
    #: HoldStock is out, its answer is not in.
    ASKED = "asked"
    LOCKED = "locked"
    OCCUPIED = "occupied"
    SHIPPED = "shipped"
    REFUSED = "refused"
    RELEASED = "released"
    EXPIRED = "expired"
    #: From before go-live: the stock never knew of it.
    ADOPTED = "adopted"


class Step(NamedTuple):
    """What is asked of the stock keeper (None: nothing), and where the demand stands then."""

    verb: Verb | None
    after: Held


STEPS: dict[tuple[Goal, Held], Step] = {
    (Goal.LOCK, Held.NEW): Step(Verb.HOLD, Held.ASKED),
    (Goal.OCCUPY, Held.NEW): Step(Verb.HOLD, Held.ASKED),
    (Goal.SHIP, Held.NEW): Step(Verb.HOLD, Held.ASKED),
    (Goal.FREE, Held.NEW): Step(None, Held.RELEASED),
    (Goal.OCCUPY, Held.LOCKED): Step(Verb.OCCUPY, Held.OCCUPIED),
    (Goal.SHIP, Held.LOCKED): Step(Verb.OCCUPY, Held.OCCUPIED),
    (Goal.SHIP, Held.OCCUPIED): Step(Verb.SHIP, Held.SHIPPED),
    (Goal.FREE, Held.LOCKED): Step(Verb.RELEASE, Held.RELEASED),
    (Goal.FREE, Held.OCCUPIED): Step(Verb.RELEASE, Held.RELEASED),
}
#: What payment asks for once more after it was refused, given back or expired.
ASKED_AGAIN = frozenset({Held.REFUSED, Held.RELEASED, Held.EXPIRED})
HOLDING = frozenset({Held.LOCKED, Held.OCCUPIED})

# --- the row --------------------------------------------------------------------------------------


class Version(Struct, frozen=True, array_like=True, order=True, gc=False):
    """Which statement a facet comes from; the greatest wins."""

    #: Class of what cannot unhappen, or how clear personal data is; 0 elsewhere.
    weight: int
    stated_ms: int
    rank: int
    adapter: str
    digest: str


class Demand(Struct, frozen=True, array_like=True, gc=False):
    """How many units of one SKU an order wants, over all its lines, and what became of it."""

    sku: str
    quantity: int
    held: Held = Held.NEW
    refusal: Refusal | None = None
    #: What was available when it was refused.
    available: int = 0


class Order(Struct, array_like=True, kw_only=True, gc=False):
    """Everything that is known of one order. A decision works on a copy, never on the row."""

    key: str
    platform: str
    shop: str
    order_id: str
    #: Rises by one with every event.
    version: int = 0
    policy: Policy = Policy()
    #: The raw record of the statement applied last.
    cause: str = ""
    # What was said, and by which statement.
    status: Status | None = None
    status_said: str | None = None
    status_at: Version | None = None
    #: Time of the newest statement that called it paid, ms.
    paid_said_ms: int = 0
    refund: Refund | None = None
    refunded: int | None = None
    refund_at: Version | None = None
    created_at: Moment | None = None
    paid_at: Moment | None = None
    shipped_at: Moment | None = None
    completed_at: Moment | None = None
    updated_at: Moment | None = None
    currency: str | None = None
    total: int | None = None
    shipping: int | None = None
    discount: int | None = None
    tax: int | None = None
    paid: int | None = None
    lines: tuple[Line, ...] = ()
    payment_method: str | None = None
    invoice: Invoice | None = None
    notices: tuple[Notice, ...] = ()
    content_at: Version | None = None
    buyer: Buyer | None = None
    buyer_at: Version | None = None
    receiver: Receiver | None = None
    receiver_at: Version | None = None
    shipments: tuple[Shipment, ...] = ()
    shipments_at: Version | None = None
    # The reservation.
    demands: tuple[Demand, ...] = ()
    attempt: int = 0
    deadline_ms: int | None = None
    #: A verdict of this attempt is due.
    undecided: bool = False
    # What was told downstream.
    announced: Status | None = None
    announced_refund: Refund | None = None
    cases: tuple[Case, ...] = ()

    @property
    def goal(self) -> Goal:
        """What the order's status wants of the stock."""
        return GOALS[self.status]

    @property
    def waits_for_answer(self) -> bool:
        """An answer of the stock keeper is out."""
        for demand in self.demands:  # noqa: SIM110  asked with every answer: twice as fast as any()
            if demand.held is Held.ASKED:
                return True
        return False

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The platform's SKUs (or line ids) that no mapping knows; the reservation waits."""
        waiting = [line for line in self.lines if line.sku is None]
        return tuple(line.platform_sku or line.merchant_sku or line.line_id for line in waiting)

    @property
    def reservation(self) -> str:
        """The saga's status, computed from its demands and never stored."""
        states = {demand.held for demand in self.demands}
        if self.lines and self.unmapped and states <= {Held.NEW}:
            return "waiting"
        if Held.REFUSED in states and states & HOLDING:
            return "partial"
        for held, word in _RESERVATION:
            if held in states:
                return word
        return "none"


#: The first that any demand is in names the reservation.
_RESERVATION = (
    (Held.ASKED, "asking"),
    (Held.REFUSED, "short"),
    (Held.EXPIRED, "expired"),
    (Held.LOCKED, "reserved"),
    (Held.OCCUPIED, "reserved"),
    (Held.SHIPPED, "shipped"),
    (Held.RELEASED, "released"),
    (Held.ADOPTED, "adopted"),
)


def order_row_key(order: str) -> bytes:
    """Return the key of an order's row, also its key on the topics."""
    return order.encode()


def decide(rows: Rows, command: OrderCommand, at_ms: int) -> Decision:
    """Return what *command* changes and what is said, given the order's row."""
    rule: Rule = DECIDE[type(command)]
    return rule(rows, command, at_ms)


# --- a platform said something --------------------------------------------------------------------


def _observe(rows: Rows, command: ObserveOrder, at_ms: int) -> Decision:
    said = command.statement
    key = order_row_key(said.key)
    row: Order | None = rows.get(key)
    order = copy(row) if row is not None else _first_seen(said)
    telling = _Telling(order, at_ms, command.source.cause)
    before_goal, before_lines, before_personal = order.goal, order.lines, _personal(order)
    taken = _take(order, said, command)
    if not taken:
        telling.ignored(_why_ignored(order, said, command), said, command)
        _open_cases(order, telling)
        return {key: order}, telling.said
    order.cause, order.policy = telling.cause, command.policy
    telling.observed(command, order.lines if order.lines is not before_lines else ())
    if said.status is not None and "status" not in taken and _is_illegal(order, said):
        telling.ignored(Ignored.ILLEGAL, said, command)
    if _personal(order) != before_personal:
        telling.details()
    if row is None and _is_adopted(said, command.policy):
        order.demands = tuple(_adopted(demand) for demand in _wanted(order))
    paid_now = order.goal in PAID_GOALS and before_goal not in PAID_GOALS
    if paid_now and not order.undecided:
        _ask_again(order)
    advance(order, at_ms, telling)
    return {key: order}, telling.said


def _first_seen(said: Statement) -> Order:
    return Order(key=said.key, platform=said.platform, shop=said.shop, order_id=said.order_id)


def _take(order: Order, said: Statement, command: ObserveOrder) -> set[str]:
    """Let each facet that *said* states newer replace the row's; return the names of those."""
    taken: set[str] = set()
    adapter, digest, stated = command.source.adapter, command.source.digest, said.stated_ms
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


def _adopted(demand: Demand) -> Demand:
    return Demand(demand.sku, demand.quantity, Held.ADOPTED)


def _personal(order: Order) -> tuple[Any, ...]:
    return (order.buyer, order.receiver, order.invoice, order.shipments, order.notices)


# --- the stock keeper answered, a deadline passed ------------------------------------------------


def _answered(rows: Rows, command: StockAnswered, at_ms: int) -> Decision:
    key = order_row_key(command.order)
    row: Order | None = rows.get(key)
    if row is None or not _is_asked(row, command):
        msg = f"{command.order} did not ask for {command.sku} in attempt {command.attempt}"
        raise AssertionError(msg)
    order = copy(row)
    order.demands = tuple(
        [_told(demand, command) if demand.sku == command.sku else demand for demand in row.demands]
    )
    if order.waits_for_answer:
        return {key: order}, []
    telling = _Telling(order, at_ms, order.cause)
    advance(order, at_ms, telling)
    return {key: order}, telling.said


def _is_asked(order: Order, answer: StockAnswered) -> bool:
    if answer.attempt != order.attempt:
        return False
    for demand in order.demands:
        if demand.sku == answer.sku:
            return demand.held is Held.ASKED
    return False


def _told(demand: Demand, answer: StockAnswered) -> Demand:
    if answer.refusal is None:
        return Demand(demand.sku, demand.quantity, Held.LOCKED)
    return Demand(demand.sku, demand.quantity, Held.REFUSED, answer.refusal, answer.available)


def _expire(rows: Rows, command: ExpireHold, at_ms: int) -> Decision:
    """The log's clock decides: before the deadline, or after payment, nothing happens (T34)."""
    key = order_row_key(command.order)
    row: Order | None = rows.get(key)
    due = None if row is None else deadline_ms(row)
    if row is None or due is None or due != command.deadline_ms or at_ms < due:
        return {}, []
    order = copy(row)
    telling = _Telling(order, at_ms, order.cause)
    for demand in order.demands:
        if demand.held is Held.LOCKED:
            telling.said.append(
                ReleaseStock(order=order.key, sku=demand.sku, verb=Verb.EXPIRE, cause=order.cause)
            )
    order.demands = tuple(
        Demand(demand.sku, demand.quantity, Held.EXPIRED) if demand.held is Held.LOCKED else demand
        for demand in order.demands
    )
    order.deadline_ms = None
    telling.expired(due)
    return {key: order}, telling.said


def deadline_ms(order: Order) -> int | None:
    """Return when this order's holds run out: only while it is unpaid and holds something."""
    if order.deadline_ms is None or order.goal is not Goal.LOCK:
        return None
    locked = any(demand.held is Held.LOCKED for demand in order.demands)
    return order.deadline_ms if locked and not order.waits_for_answer else None


def wake(order: Order) -> ExpireHold:
    """Return what the sweeper sends once the deadline has passed."""
    return ExpireHold(order=order.key, deadline_ms=order.deadline_ms or 0)


# --- the reservation ------------------------------------------------------------------------------


def advance(order: Order, at_ms: int, telling: "_Telling") -> None:
    """Move every demand towards the goal, decide the attempt once all answers are in, tell."""
    if order.waits_for_answer:
        return
    if order.undecided:
        order.undecided = False
        _decide_attempt(order, telling)
    _follow_edit(order, telling)
    if order.goal is Goal.FREE or not order.unmapped:
        _take_steps(order, at_ms, telling)
    if order.undecided:
        return
    if order.goal is not Goal.LOCK:
        order.deadline_ms = None
    _open_cases(order, telling)
    if order.goal is Goal.FREE or not order.unmapped:
        telling.status()
        telling.refund()


def _decide_attempt(order: Order, telling: "_Telling") -> None:
    """All answers are in: say the one verdict, and give back what was held in vain."""
    if order.goal is Goal.FREE:
        return
    refused = [demand for demand in order.demands if demand.held is Held.REFUSED]
    held = any(demand.held is Held.LOCKED for demand in order.demands)
    if not refused or (order.policy.partial and held):
        telling.reserved(refused)
        return
    _give_back(order, telling)
    order.deadline_ms = None
    telling.short(refused)


def _give_back(order: Order, telling: "_Telling") -> None:
    order.demands = tuple(
        _stepped(demand, STEPS[Goal.FREE, demand.held], telling)
        if demand.held in HOLDING
        else demand
        for demand in order.demands
    )


def _follow_edit(order: Order, telling: "_Telling") -> None:
    """An order whose lines want other units than were asked for is asked anew, as a whole."""
    if order.goal in (Goal.FREE, Goal.KEEP) or order.unmapped:
        return
    if {demand.held for demand in order.demands} & {Held.SHIPPED, Held.ADOPTED}:
        return
    wanted = _wanted(order)
    if [(d.sku, d.quantity) for d in wanted] == [(d.sku, d.quantity) for d in order.demands]:
        return
    _give_back(order, telling)
    order.demands = wanted


def _wanted(order: Order) -> tuple[Demand, ...]:
    """Merge the lines by SKU, in the order of their first line: A x10 and A x5 are 15 (T05)."""
    units: dict[str, int] = {}
    for line in order.lines:
        if line.sku is not None:
            units[line.sku] = units.get(line.sku, 0) + line.quantity
    return tuple(Demand(sku, quantity) for sku, quantity in units.items())


def _ask_again(order: Order) -> None:
    """Paid: what was refused, given back or expired is wanted once more (T32)."""
    order.demands = tuple(
        Demand(demand.sku, demand.quantity) if demand.held in ASKED_AGAIN else demand
        for demand in order.demands
    )


def _take_steps(order: Order, at_ms: int, telling: "_Telling") -> None:
    goal = order.goal
    asks = STEPS.get((goal, Held.NEW))
    if asks is not None and asks.verb and any(d.held is Held.NEW for d in order.demands):
        order.attempt += 1
        order.undecided = True
        order.deadline_ms = at_ms + order.policy.hold_for_ms if goal is Goal.LOCK else None
        order.demands = tuple(
            _stepped(demand, asks, telling) if demand.held is Held.NEW else demand
            for demand in order.demands
        )
        return
    stepped = []
    for demand in order.demands:
        now = demand
        while (step := STEPS.get((goal, now.held))) is not None:
            now = _stepped(now, step, telling)
        stepped.append(now)
    order.demands = tuple(stepped)


def _stepped(demand: Demand, step: Step, telling: "_Telling") -> Demand:
    telling.ask(step.verb, demand)
    return Demand(demand.sku, demand.quantity, step.after, demand.refusal, demand.available)


def _open_cases(order: Order, telling: "_Telling") -> None:
    refused = [demand for demand in order.demands if demand.held is Held.REFUSED]
    if refused and order.goal in PAID_GOALS:
        telling.case(Case.PAID_BUT_SHORT, refused)
    if (
        order.status is Status.CANCELLED
        and order.status_at is not None
        and order.paid_said_ms > order.status_at.stated_ms
    ):
        telling.case(Case.PAID_AFTER_CANCEL, [])


# --- what is said ---------------------------------------------------------------------------------


class _Telling:
    """Collects what one decision says about one order, and gives each event its version."""

    def __init__(self, order: Order, at_ms: int, cause: str) -> None:
        self.order = order
        self.at_ms = at_ms
        self.cause = cause
        #: Letters and events, in the order in which they are said.
        self.said: list[Struct] = []

    def _head(self) -> dict[str, Any]:
        self.order.version += 1
        return {
            "order": self.order.key,
            "version": self.order.version,
            "at_ms": self.at_ms,
            "cause": self.cause,
        }

    def ask(self, verb: Verb | None, demand: Demand) -> None:
        """Write the letter that *verb* stands for."""
        order, cause = self.order, self.order.cause
        match verb:
            case None:
                return
            case Verb.HOLD:
                letter: Struct = HoldStock(
                    order=order.key,
                    sku=demand.sku,
                    quantity=demand.quantity,
                    attempt=order.attempt,
                    deadline_ms=order.deadline_ms,
                    cause=cause,
                )
            case Verb.OCCUPY:
                letter = OccupyStock(order=order.key, sku=demand.sku, cause=cause)
            case Verb.SHIP:
                letter = ShipStock(order=order.key, sku=demand.sku, cause=cause)
            case _:
                letter = ReleaseStock(order=order.key, sku=demand.sku, verb=verb, cause=cause)
        self.said.append(letter)

    def observed(self, command: ObserveOrder, lines: tuple[Line, ...]) -> None:
        """Repeat what the order is now known to be."""
        order = self.order
        self.said.append(
            OrderObserved(
                **self._head(),
                platform=order.platform,
                shop=order.shop,
                order_id=order.order_id,
                status=order.status,
                status_said=order.status_said,
                refund=order.refund,
                currency=order.currency,
                total_minor=order.total,
                shipping_minor=order.shipping,
                discount_minor=order.discount,
                tax_minor=order.tax,
                paid_minor=order.paid,
                refunded_minor=order.refunded,
                created_ms=_ms(order.created_at),
                paid_ms=_ms(order.paid_at),
                shipped_ms=_ms(order.shipped_at),
                completed_ms=_ms(order.completed_at),
                updated_ms=_ms(order.updated_at),
                lines=tuple(_public(line) for line in lines),
                adapter=command.source.adapter,
                digest=command.source.digest,
                unmapped=order.unmapped,
                received_ms=command.source.received_ms,
            )
        )

    def ignored(self, why: Ignored, said: Statement, command: ObserveOrder) -> None:
        """Record a statement that changed nothing, and why."""
        self.said.append(
            StatementIgnored(
                **self._head(),
                why=why,
                status=said.status,
                stated_ms=said.stated_ms,
                digest=command.source.digest,
            )
        )

    def details(self) -> None:
        """Hand what is personal to the ledger."""
        order = self.order
        self.said.append(
            OrderDetails(
                order=order.key,
                version=order.version,
                buyer=order.buyer,
                receiver=order.receiver,
                invoice=order.invoice,
                shipments=order.shipments,
                notices=order.notices,
            )
        )

    def reserved(self, refused: list[Demand]) -> None:
        """The verdict is yes. What has shipped already is told after its stock has left."""
        order = self.order
        if order.goal is not Goal.SHIP:
            order.announced = order.status
        deadline = order.deadline_ms if order.goal is Goal.LOCK else None
        self.said.append(
            OrderReserved(
                **self._head(),
                attempt=order.attempt,
                status=order.announced,
                deadline_ms=deadline,
                short=_short(refused),
            )
        )

    def short(self, refused: list[Demand]) -> None:
        """The verdict is no."""
        order = self.order
        order.announced = order.status
        self.said.append(
            OrderShort(
                **self._head(), attempt=order.attempt, status=order.status, short=_short(refused)
            )
        )

    def expired(self, due: int) -> None:
        """Not paid in time."""
        self.said.append(OrderExpired(**self._head(), attempt=self.order.attempt, deadline_ms=due))

    def status(self) -> None:
        """Tell the status, if it is not what was told last."""
        order = self.order
        if order.status is None or order.status is order.announced:
            return
        before, order.announced = order.announced, order.status
        self.said.append(
            OrderStatusChanged(
                **self._head(),
                before=before,
                status=order.status,
                reservation=order.reservation,
            )
        )

    def refund(self) -> None:
        """Tell the refund, if it is not what was told last."""
        order = self.order
        if order.refund is None or order.refund is order.announced_refund:
            return
        before, order.announced_refund = order.announced_refund, order.refund
        if before is None and order.refund is Refund.NONE:
            return
        self.said.append(
            OrderRefundChanged(
                **self._head(), before=before, refund=order.refund, refunded_minor=order.refunded
            )
        )

    def case(self, case: Case, refused: list[Demand]) -> None:
        """Open a case, once."""
        order = self.order
        if case in order.cases:
            return
        order.cases = (*order.cases, case)
        self.said.append(CaseOpened(**self._head(), case=case, short=_short(refused)))


def _ms(moment: Moment | None) -> int | None:
    return None if moment is None else moment.ms


def _short(refused: list[Demand]) -> tuple[Short, ...]:
    return tuple(
        Short(demand.sku, demand.quantity, demand.available, demand.refusal or Refusal.BUG)
        for demand in refused
    )


def _public(line: Line) -> PublicLine:
    return PublicLine(
        line_id=line.line_id,
        sku=line.sku,
        platform_sku=line.platform_sku,
        merchant_sku=line.merchant_sku,
        title=line.title,
        quantity=line.quantity,
        unit_price_minor=line.unit_price,
        line_total_minor=line.line_total,
        refund=line.refund,
    )


def answer_failed(command: OrderCommand, at_ms: int) -> list[Struct]:  # noqa: ARG001  the shape every table has
    """Return nothing: nobody waits for the order keeper's answer to a single command."""
    return []


DECIDE: dict[type, Rule] = {
    ObserveOrder: _observe,
    StockAnswered: _answered,
    ExpireHold: _expire,
}

TABLE = Table(
    name="orders",
    number=1,
    decode_command=msgpack.Decoder(OrderCommand).decode,
    decode_row=msgpack.Decoder(Order).decode,
    encode_row=msgpack.Encoder().encode,
    decide=decide,
    answer_failed=answer_failed,
    deadline_ms=deadline_ms,
    wake=wake,
)
