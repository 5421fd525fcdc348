"""
The reservation of an order: all its stock or none, one verdict an attempt.

Rules for this file: how a demand gets from where it stands to where the order's status wants it
stands in `STEPS`, each taking step beside the one that gives back. `advance` walks it.

Theory of operation. Lines are merged by SKU into demands. While one answer of the stock keeper is
out, nothing moves: so there is exactly one verdict an attempt, and it lists every line. Where a
line was refused, what the attempt was granted is given back (a shop may allow partial orders); what
an earlier attempt holds stays. Paying after expiry or refusal asks once more.

An edit applies the exact difference: less is given back at once, more is asked for, in a demand of
its own until the verdict. What has left cannot be taken back by an edit: it is returned.

Status events come only after the verdict (T06): nothing downstream calls an order accepted before
its stock is.

Whatever may wait for ever has a budget (`due_ms`); when it is passed the sweeper reminds the order,
which asks what became of its letter (never twice for the same stock) or calls a person.
"""

from collections.abc import Iterable
from typing import NamedTuple

from schemas.base import QUANTITY_MAX
from schemas.errors import MalformedPayload
from schemas.orders import (
    Case,
    Choice,
    ExpireHold,
    Line,
    RemindOrder,
    Status,
    StockAnswered,
)
from schemas.stock import Verb
from tables.answers import forgotten_at
from tables.lifecycle import PAID_GOALS, Goal
from tables.order_rows import HOLDING, IN_STOCK, Demand, Held, Order
from tables.telling import Telling

#: How long the stock keeper may take to answer before it is asked what became of the letter.
ANSWER_WITHIN_MS = 60_000
#: How often it is asked before a person is called.
ASKED_ALONE = 1
#: How long an order may wait for the mapping of its SKUs before a person is called.
MAPPED_WITHIN_MS = 30 * 60_000


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
    (Goal.FREE, Held.GRANTED): Step(Verb.RELEASE, Held.RELEASED),
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
    _close_unmapped(order, telling)
    if order.goal is Goal.FREE or not order.unmapped:
        _take_steps(order, at_ms, telling)
    elif order.goal in PAID_GOALS:
        _occupy_held(order, telling)
    if order.undecided:
        return
    if order.goal is not Goal.LOCK:
        order.deadline_ms = None
    open_cases(order, telling)
    if order.goal is Goal.FREE or not order.unmapped:
        telling.status()
        telling.refund()


def _decide_attempt(order: Order, telling: Telling) -> None:
    """All answers are in: say the one verdict, and give back what was granted in vain."""
    if order.goal is Goal.FREE:
        return
    refused = [demand for demand in order.demands if demand.held is Held.REFUSED]
    held = any(demand.held in IN_STOCK for demand in order.demands)
    if not refused or (order.policy.partial and held):
        order.demands = _taken(order.demands)
        telling.reserved(refused)
        return
    _give_back(order, telling)
    kept = any(demand.held in HOLDING for demand in order.demands)
    if not kept:
        order.deadline_ms = None
    telling.short(refused, kept=kept)


def _taken(demands: tuple[Demand, ...]) -> tuple[Demand, ...]:
    """Turn what was granted into what is held; where a SKU is held already, that has grown."""
    held = {demand.sku for demand in demands if demand.held in HOLDING}
    if not held:
        return tuple(
            [
                Demand(demand.sku, demand.quantity, Held.LOCKED)
                if demand.held is Held.GRANTED
                else demand
                for demand in demands
            ]
        )
    grown: dict[str, int] = {}
    kept = []
    for demand in demands:
        if demand.held is not Held.GRANTED:
            kept.append(demand)
        elif demand.sku in held:
            grown[demand.sku] = demand.quantity
        else:
            kept.append(Demand(demand.sku, demand.quantity, Held.LOCKED))
    if not grown:
        return tuple(kept)
    return tuple(
        _sized(demand, demand.quantity + grown[demand.sku])
        if demand.held in HOLDING and demand.sku in grown
        else demand
        for demand in kept
    )


def _give_back(order: Order, telling: Telling) -> None:
    """Release what this attempt was granted."""
    order.demands = tuple(
        _stepped(demand, STEPS[Goal.FREE, demand.held], telling)
        if demand.held is Held.GRANTED
        else demand
        for demand in order.demands
    )


# --- edits ----------------------------------------------------------------------------------------


def _follow_edit(order: Order, telling: Telling) -> None:
    """Apply the exact difference between what the lines want and what was asked for (T17)."""
    goal, demands = order.goal, order.demands
    if goal in (Goal.FREE, Goal.KEEP) or order.unmapped:
        return
    if not demands:
        order.warehouse = order.policy.warehouse
    wants = wanted(order)
    if _is_as_asked(demands, wants):
        return
    states = {demand.held for demand in demands}
    if Held.ADOPTED in states or (goal is Goal.SHIP and Held.SHIPPED in states):
        return
    asked = _units(demands)
    for demand in demands:
        if demand.shipped:
            # What has left cannot be wanted back; it may be returned.
            wants[demand.sku] = max(wants.get(demand.sku, 0), _shipped(demands, demand.sku))
    if wants != asked:
        order.demands = _edited(demands, wants, telling)


def _is_as_asked(demands: tuple[Demand, ...], wants: dict[str, int]) -> bool:
    """Say whether each SKU that is wanted has one demand, for as much: nearly always so."""
    return (
        len(demands) == len(wants) and {demand.sku: demand.quantity for demand in demands} == wants
    )


def _units(demands: tuple[Demand, ...]) -> dict[str, int]:
    units: dict[str, int] = {}
    for demand in demands:
        units[demand.sku] = units.get(demand.sku, 0) + demand.quantity
    return units


def _shipped(demands: tuple[Demand, ...], sku: str) -> int:
    return sum(demand.shipped for demand in demands if demand.sku == sku)


def _edited(
    demands: tuple[Demand, ...], wants: dict[str, int], telling: Telling
) -> tuple[Demand, ...]:
    """Give back what is held and not wanted any more; ask for all that is wanted and not held."""
    left = dict(wants)
    for demand in demands:
        left[demand.sku] = left.get(demand.sku, 0) - demand.shipped
    after: list[Demand] = []
    for demand in demands:
        if demand.held in HOLDING:
            more = min(demand.rest, left[demand.sku])
            left[demand.sku] -= more
            after += _shrunk(demand, demand.shipped + more, telling)
        elif demand.shipped:
            # All of it has left; or the rest was given up, and is asked for anew.
            after.append(_sized(demand, demand.shipped, Held.SHIPPED))
    after += [Demand(sku, units) for sku, units in left.items() if units > 0]
    return tuple(after)


def _shrunk(demand: Demand, keeps: int, telling: Telling) -> list[Demand]:
    """Release the difference; a demand of nothing is none."""
    if keeps < demand.quantity:
        telling.ask(Verb.RELEASE, demand, demand.quantity - keeps)
    if not keeps:
        return []
    held = Held.SHIPPED if keeps == demand.shipped else demand.held
    return [_sized(demand, keeps, held)]


def _sized(demand: Demand, quantity: int, held: Held | None = None) -> Demand:
    return Demand(
        demand.sku,
        quantity,
        held or demand.held,
        demand.refusal,
        demand.available,
        demand.shipped,
        demand.returned,
    )


def wanted(order: Order) -> dict[str, int]:
    """Merge the lines by SKU, in the order of their first line: A x10 and A x5 are 15 (T05)."""
    return units_of(order, [(line, line.quantity) for line in order.lines])


def left_by_lines(order: Order) -> dict[str, int]:
    """Return what has left by SKU, where the platform says it line by line."""
    return units_of(
        order,
        [(line, min(line.shipped, line.quantity)) for line in order.lines if line.shipped],
    )


def units_of(order: Order, contents: Iterable[tuple[Line, int]]) -> dict[str, int]:
    """Return the units by SKU as the stock knows it, with its warehouse; of unmapped lines none."""
    at = f"@{order.warehouse}" if order.warehouse else ""
    units: dict[str, int] = {}
    for line, count in contents:
        if line.components:
            for part in line.components:
                sku = part.sku + at
                units[sku] = units.get(sku, 0) + part.quantity * count
        elif line.sku is not None:
            sku = line.sku + at
            units[sku] = units.get(sku, 0) + count
    return units


def check_units(lines: tuple[Line, ...]) -> None:
    """Refuse an order of more units than one letter can ask for; raises MalformedPayload."""
    units = 0
    for line in lines:
        each = sum([part.quantity for part in line.components]) if line.components else 1
        units += line.quantity * each
    if units > QUANTITY_MAX:
        raise MalformedPayload("lines", f"{units} units, at most {QUANTITY_MAX} are handled")


def ask_again(order: Order) -> None:
    """
    Paid: what was refused, given back or expired is wanted once more (T32).

    A SKU is asked for once an attempt. What an order held before an edit and what the edit was
    refused are two demands of it, of which both may be over by now.
    """
    again = tuple(demand for demand in order.demands if _is_asked_again(demand))
    others = tuple(demand for demand in order.demands if not _is_asked_again(demand))
    order.demands = others + tuple(Demand(sku, units) for sku, units in _units(again).items())


def _is_asked_again(demand: Demand) -> bool:
    return demand.held in ASKED_AGAIN and not demand.shipped


# --- steps ----------------------------------------------------------------------------------------


def _take_steps(order: Order, at_ms: int, telling: Telling) -> None:
    goal = order.goal
    asks = STEPS.get((goal, Held.NEW))
    if asks is not None and asks.verb:
        for demand in order.demands:
            if demand.held is Held.NEW:
                if _is_over(order, at_ms):
                    _lapse(order, telling)
                    return
                _ask(order, at_ms, asks, telling)
                return
    gone = left_by_lines(order) if goal is Goal.OCCUPY else {}
    stepped = []
    for demand in order.demands:
        now = demand
        while (step := STEPS.get((goal, now.held))) is not None:
            now = _stepped(now, step, telling)
        if gone:
            now = _parcelled(now, gone, telling)
        stepped.append(now)
    order.demands = tuple(stepped)


def _occupy_held(order: Order, telling: Telling) -> None:
    """Keep for a paid order what it holds, while another of its SKUs waits for a mapping."""
    order.demands = tuple(
        _stepped(demand, STEPS[Goal.OCCUPY, demand.held], telling)
        if demand.held is Held.LOCKED
        else demand
        for demand in order.demands
    )


def _ask(order: Order, at_ms: int, asks: Step, telling: Telling) -> None:
    """Ask for all that is not held: a new attempt. An edit does not make a hold last longer."""
    order.attempt += 1
    order.undecided = True
    order.since_ms, order.reminded = at_ms, 0
    if order.goal is not Goal.LOCK:
        order.deadline_ms = None
    elif order.deadline_ms is None:
        order.deadline_ms = (order.policy.hold_from_ms or at_ms) + order.policy.hold_for_ms
    order.demands = tuple(
        [
            _stepped(demand, asks, telling) if demand.held is Held.NEW else demand
            for demand in order.demands
        ]
    )


def _parcelled(demand: Demand, gone: dict[str, int], telling: Telling) -> Demand:
    """Ship what has left of an occupied demand by the platform's word, less what was shipped."""
    left = gone.get(demand.sku, 0)
    gone[demand.sku] = left - min(left, demand.quantity)
    if demand.held is not Held.OCCUPIED:
        return demand
    units = min(left, demand.quantity) - demand.shipped
    if units <= 0:
        return demand
    return departed(demand, units, telling)


def departed(demand: Demand, units: int, telling: Telling) -> Demand:
    """Let so many *units* of an occupied demand leave."""
    telling.ask(Verb.SHIP, demand, units)
    gone = demand.shipped + units
    held = Held.SHIPPED if gone == demand.quantity else Held.OCCUPIED
    return Demand(demand.sku, demand.quantity, held, None, 0, gone, demand.returned)


def _stepped(demand: Demand, step: Step, telling: Telling) -> Demand:
    telling.ask(step.verb, demand, demand.quantity - demand.shipped)
    quantity, shipped = demand.quantity, demand.shipped
    if step.after is Held.SHIPPED:
        shipped = quantity
    return Demand(
        demand.sku, quantity, step.after, demand.refusal, demand.available, shipped, demand.returned
    )


# --- cases ----------------------------------------------------------------------------------------


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


def _close_unmapped(order: Order, telling: Telling) -> None:
    """End by itself what nobody has to look at any more; it may open again after another edit."""
    if Case.UNMAPPED not in order.cases:
        return
    if order.goal is Goal.FREE:
        choice, reason = Choice.REFUND, "the order wants no stock any more"
    elif not order.unmapped:
        choice, reason = Choice.BACKORDER, "its SKUs are mapped now"
    else:
        return
    decided = Case.UNMAPPED in order.settled
    order.cases = tuple(case for case in order.cases if case is not Case.UNMAPPED)
    order.settled = tuple(case for case in order.settled if case is not Case.UNMAPPED)
    if not decided:
        telling.passed(Case.UNMAPPED, choice, reason)


def settle(order: Order, case: Case, choice: Choice) -> None:
    """
    Do what a person chose; a backorder may open the same case again.

    While an attempt is undecided its demands stay as they are: its verdict has to list every one.
    """
    if choice is Choice.BACKORDER and case is Case.PAID_BUT_SHORT:
        order.cases = tuple(open_ for open_ in order.cases if open_ is not case)
        if not order.undecided:
            ask_again(order)
        return
    order.settled = (*order.settled, case)
    if case is Case.PAID_BUT_SHORT and not order.undecided:
        order.demands = tuple(
            _sized(demand, demand.quantity, Held.RELEASED)
            if demand.held is Held.REFUSED
            else demand
            for demand in order.demands
        )


# --- answers --------------------------------------------------------------------------------------


def is_asked(order: Order, answer: StockAnswered) -> bool:
    """Say whether *answer* is one that this order waits for."""
    if answer.attempt != order.attempt:
        return False
    for demand in order.demands:  # noqa: SIM110  asked with every answer: twice as fast as any()
        if demand.sku == answer.sku and demand.held is Held.ASKED:
            return True
    return False


def answered(demands: tuple[Demand, ...], answer: StockAnswered) -> tuple[Demand, ...]:
    """Return *demands* after the stock keeper's *answer* to one of them."""
    sku = answer.sku
    return tuple(
        [
            _told(demand, answer) if demand.sku == sku and demand.held is Held.ASKED else demand
            for demand in demands
        ]
    )


def _told(demand: Demand, answer: StockAnswered) -> Demand:
    if answer.refusal is None:
        return Demand(demand.sku, demand.quantity, Held.GRANTED)
    return Demand(demand.sku, demand.quantity, Held.REFUSED, answer.refusal, answer.available)


def adopted(order: Order) -> tuple[Demand, ...]:
    """Return the demands of an order from before go-live: nothing is ever asked for them."""
    return tuple(Demand(sku, units, Held.ADOPTED) for sku, units in wanted(order).items())


# --- deadlines and budgets ------------------------------------------------------------------------


def expire(order: Order, telling: Telling) -> None:
    """Give back what is locked; only a payment asks for it again."""
    for demand in order.demands:
        if demand.held is Held.LOCKED:
            telling.ask(Verb.EXPIRE, demand, demand.quantity)
    order.demands = tuple(
        Demand(demand.sku, demand.quantity, Held.EXPIRED) if demand.held is Held.LOCKED else demand
        for demand in order.demands
    )
    order.deadline_ms = None


def _is_over(order: Order, at_ms: int) -> bool:
    """Say whether an unpaid order that came late had its time before anybody heard of it."""
    begun = order.policy.hold_from_ms
    return (
        begun > 0
        and order.goal is Goal.LOCK
        and order.deadline_ms is None
        and begun + order.policy.hold_for_ms <= at_ms
    )


def _lapse(order: Order, telling: Telling) -> None:
    """Let an order expire that never held anything: others must not go short for a moment of it."""
    order.demands = tuple(
        Demand(demand.sku, demand.quantity, Held.EXPIRED) if demand.held is Held.NEW else demand
        for demand in order.demands
    )
    telling.expired(order.policy.hold_from_ms + order.policy.hold_for_ms)


def deadline_ms(order: Order) -> int | None:
    """Return when this order's holds run out: only while it is unpaid and holds something."""
    if order.deadline_ms is None or order.goal is not Goal.LOCK or order.waits_for_answer:
        return None
    for demand in order.demands:
        if demand.held is Held.LOCKED:
            return order.deadline_ms
    return None


def due_ms(order: Order) -> int | None:
    """Return when this order has to be looked at again: a deadline, or a budget that is spent."""
    if order.waits_for_answer:
        return order.since_ms + ANSWER_WITHIN_MS * (order.reminded + 1)
    if order.deadline_ms is not None:
        return deadline_ms(order)
    if order.since_ms and not order.reminded and order.goal is not Goal.FREE:
        for line in order.lines:
            if line.sku is None:
                return order.since_ms + MAPPED_WITHIN_MS
    return None if order.is_heard else forgotten_at(order.answers)


def wake(order: Order) -> ExpireHold | RemindOrder:
    """Return what the sweeper sends once what is due has passed."""
    deadline = deadline_ms(order)
    if deadline is not None:
        return ExpireHold(order=order.key, deadline_ms=deadline)
    return RemindOrder(order=order.key, due_ms=due_ms(order) or 0)


def remind(order: Order, telling: Telling) -> None:
    """Ask what became of the letters that nobody answered; call a person if that is in vain."""
    order.reminded += 1
    if not order.waits_for_answer:
        telling.case(Case.UNMAPPED, [])
        return
    for demand in order.demands:
        if demand.held is Held.ASKED:
            held = sum(
                other.rest
                for other in order.demands
                if other.sku == demand.sku and other.held in HOLDING
            )
            telling.confirm(demand, held + demand.quantity)
    if order.reminded > ASKED_ALONE:
        telling.case(Case.NO_ANSWER, [])
