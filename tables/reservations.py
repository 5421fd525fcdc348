"""
The reservation of an order: all its stock or none, one verdict an attempt.

Rules for this file: how a demand gets from where it stands to where the order's status wants it
stands in `STEPS`, each taking step beside the one that gives back. `advance` walks it.

Theory of operation. Lines are merged by SKU into demands. While one answer of the stock keeper is
out, nothing moves: so there is exactly one verdict an attempt, and it lists every line. Where a
line was refused, what was held is given back (a shop may allow partial orders). Paying after
expiry or refusal asks once more; an order whose lines changed is asked anew, as a whole.

Status events come only after the verdict (T06): nothing downstream calls an order accepted before
its stock is.
"""

from typing import NamedTuple

from schemas.orders import Case, ExpireHold, Status, StockAnswered
from schemas.stock import Verb
from tables.lifecycle import PAID_GOALS, Goal
from tables.order_rows import HOLDING, Demand, Held, Order
from tables.telling import Telling


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


def advance(order: Order, at_ms: int, telling: Telling) -> None:
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
    open_cases(order, telling)
    if order.goal is Goal.FREE or not order.unmapped:
        telling.status()
        telling.refund()


def _decide_attempt(order: Order, telling: Telling) -> None:
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


def _give_back(order: Order, telling: Telling) -> None:
    order.demands = tuple(
        _stepped(demand, STEPS[Goal.FREE, demand.held], telling)
        if demand.held in HOLDING
        else demand
        for demand in order.demands
    )


def _follow_edit(order: Order, telling: Telling) -> None:
    """An order whose lines want other units than were asked for is asked anew, as a whole."""
    if order.goal in (Goal.FREE, Goal.KEEP) or order.unmapped:
        return
    if {demand.held for demand in order.demands} & {Held.SHIPPED, Held.ADOPTED}:
        return
    asks = wanted(order)
    if [(d.sku, d.quantity) for d in asks] == [(d.sku, d.quantity) for d in order.demands]:
        return
    _give_back(order, telling)
    order.demands = asks


def wanted(order: Order) -> tuple[Demand, ...]:
    """Merge the lines by SKU, in the order of their first line: A x10 and A x5 are 15 (T05)."""
    units: dict[str, int] = {}
    for line in order.lines:
        if line.sku is not None:
            units[line.sku] = units.get(line.sku, 0) + line.quantity
    return tuple(Demand(sku, quantity) for sku, quantity in units.items())


def ask_again(order: Order) -> None:
    """Paid: what was refused, given back or expired is wanted once more (T32)."""
    order.demands = tuple(
        Demand(demand.sku, demand.quantity) if demand.held in ASKED_AGAIN else demand
        for demand in order.demands
    )


def _take_steps(order: Order, at_ms: int, telling: Telling) -> None:
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


def _stepped(demand: Demand, step: Step, telling: Telling) -> Demand:
    telling.ask(step.verb, demand)
    return Demand(demand.sku, demand.quantity, step.after, demand.refusal, demand.available)


def open_cases(order: Order, telling: Telling) -> None:
    """Hand to a person what no rule can settle; each case opens once."""
    refused = [demand for demand in order.demands if demand.held is Held.REFUSED]
    if refused and order.goal in PAID_GOALS:
        telling.case(Case.PAID_BUT_SHORT, refused)
    if (
        order.status is Status.CANCELLED
        and order.status_at is not None
        and order.paid_said_ms > order.status_at.stated_ms
    ):
        telling.case(Case.PAID_AFTER_CANCEL, [])


def is_asked(order: Order, answer: StockAnswered) -> bool:
    """Say whether *answer* is one that this order waits for."""
    if answer.attempt != order.attempt:
        return False
    for demand in order.demands:
        if demand.sku == answer.sku:
            return demand.held is Held.ASKED
    return False


def answered(demands: tuple[Demand, ...], answer: StockAnswered) -> tuple[Demand, ...]:
    """Return *demands* after the stock keeper's *answer* to one of them."""
    return tuple(
        [_told(demand, answer) if demand.sku == answer.sku else demand for demand in demands]
    )


def _told(demand: Demand, answer: StockAnswered) -> Demand:
    if answer.refusal is None:
        return Demand(demand.sku, demand.quantity, Held.LOCKED)
    return Demand(demand.sku, demand.quantity, Held.REFUSED, answer.refusal, answer.available)


def adopted(order: Order) -> tuple[Demand, ...]:
    """Return the demands of an order from before go-live: nothing is ever asked for them."""
    return tuple(Demand(demand.sku, demand.quantity, Held.ADOPTED) for demand in wanted(order))


def expire(order: Order, telling: Telling) -> None:
    """Give back what is locked; only a payment asks for it again."""
    for demand in order.demands:
        if demand.held is Held.LOCKED:
            telling.ask(Verb.EXPIRE, demand)
    order.demands = tuple(
        Demand(demand.sku, demand.quantity, Held.EXPIRED) if demand.held is Held.LOCKED else demand
        for demand in order.demands
    )
    order.deadline_ms = None


def deadline_ms(order: Order) -> int | None:
    """Return when this order's holds run out: only while it is unpaid and holds something."""
    if order.deadline_ms is None or order.goal is not Goal.LOCK:
        return None
    locked = any(demand.held is Held.LOCKED for demand in order.demands)
    return order.deadline_ms if locked and not order.waits_for_answer else None


def wake(order: Order) -> ExpireHold:
    """Return what the sweeper sends once the deadline has passed."""
    return ExpireHold(order=order.key, deadline_ms=order.deadline_ms or 0)
