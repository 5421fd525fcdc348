"""
The machines, drawn from the tables that run them: `orderflow state-machines`.

What is drawn is read from `tables`; beside it stands, by hand, what a table cannot say: who
brings a state about, whose turn it is then, and for how long it may last. A test keeps
`docs/state-machines.md` equal to this, and every state described.
"""

from collections.abc import Iterator
from typing import NamedTuple

from agents.settlements import VERDICTS
from schemas.orders import Policy, Status
from schemas.stock import Bucket, Verb
from tables.lifecycle import CANNOT_UNHAPPEN, GOALS, TRANSITIONS, Goal
from tables.order_rows import Held
from tables.reservations import (
    ANSWER_WITHIN_MS,
    ASKED_AGAIN,
    ASKED_ALONE,
    MAPPED_WITHIN_MS,
    STEPS,
)
from tables.stock import HELD, MOVES, ORIGIN, STANDS_IN, Relative

_HOLD = f"{Policy().hold_for_ms // 60_000} minutes by default, by shop and payment method"
_PLATFORM = "the platform's own; none here"


class About(NamedTuple):
    """What a table cannot say of a state."""

    trigger: str
    #: Whose turn it is while the state lasts.
    owner: str
    limit: str


STATUSES: dict[Status, About] = {
    Status.PENDING_PAYMENT: About(
        "the buyer placed the order", "buyer", f"the hold: {_HOLD}; then the stock is given back"
    ),
    Status.ON_HOLD: About(
        "the platform took the payment and forbids shipping", "platform", _PLATFORM
    ),
    Status.PAID: About("the buyer paid", "warehouse", _PLATFORM),
    Status.PARTIALLY_SHIPPED: About("a first parcel left", "warehouse", _PLATFORM),
    Status.SHIPPED: About("the last parcel left", "carrier", _PLATFORM),
    Status.DELIVERED: About("the carrier handed it over", "buyer", _PLATFORM),
    Status.COMPLETED: About("the buyer confirmed, or the platform did", "nobody", "end"),
    Status.CANCELLED: About(
        "buyer, shop or platform closed it; before or after payment", "nobody", "end"
    ),
    Status.UNKNOWN: About(
        "the platform used a word that no adapter knows", "operator: see the notice", "none"
    ),
}

DEMANDS: dict[Held, About] = {
    Held.NEW: About(
        "the order names the SKU, or more of it",
        "order keeper",
        f"until every SKU is mapped; after {MAPPED_WITHIN_MS // 60_000} minutes a case",
    ),
    Held.ASKED: About(
        "`HoldStock` is out",
        "stock keeper",
        f"one round trip; after {ANSWER_WITHIN_MS // 1000} s asked what became of it, "
        f"after {ANSWER_WITHIN_MS * (ASKED_ALONE + 1) // 1000} s a case",
    ),
    Held.GRANTED: About(
        "the stock keeper said yes to this one", "stock keeper", "until the others are answered"
    ),
    Held.LOCKED: About("the verdict is yes", "buyer", _HOLD),
    Held.OCCUPIED: About("paid", "warehouse", "none"),
    Held.SHIPPED: About("shipped", "nobody", "end"),
    Held.REFUSED: About("the stock keeper said no", "operator, if it is paid: a case", "none"),
    Held.RELEASED: About("cancelled, or another SKU was refused", "nobody", "until paid after all"),
    Held.EXPIRED: About("the deadline passed unpaid", "nobody", "until paid after all"),
    Held.ADOPTED: About("shipped or closed before the shop's go-live", "nobody", "end"),
}

BUCKETS: dict[Bucket, About] = {
    Bucket.AVAILABLE: About("received, given back", "every channel", "none"),
    Bucket.LOCKED: About("held for an unpaid order", "buyer", _HOLD),
    Bucket.OCCUPIED: About("paid", "warehouse", "none"),
    Bucket.RESERVED: About("allotted to a campaign or channel", "channel", "the quota's window"),
    Bucket.FROZEN: About("QC, damage, stocktake dispute, a damaged return", "warehouse", "none"),
    Bucket.SHORTFALL: About(
        "a stocktake found less than is held; counts down", "operator: a case is open", "none"
    ),
}

#: Edges of a demand that no table holds: they are answers, deadlines and payments.
_DEMAND_EDGES: tuple[tuple[Held, Held, str], ...] = (
    (Held.ASKED, Held.GRANTED, "answered yes"),
    (Held.GRANTED, Held.LOCKED, "all answered yes"),
    (Held.GRANTED, Held.RELEASED, "another answered no / release"),
    (Held.ASKED, Held.REFUSED, "answered no"),
    (Held.LOCKED, Held.EXPIRED, "deadline passed"),
    (Held.NEW, Held.ADOPTED, "from before go-live"),
    (Held.OCCUPIED, Held.OCCUPIED, "a parcel left / ship"),
    *((held, Held.NEW, "paid, so asked again") for held in Held if held in ASKED_AGAIN),
)


def page() -> str:
    """Return docs/state-machines.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# State machines"
    yield ""
    yield "Printed by `orderflow state-machines` from `lifecycle`, `reservations` and `stock` of"
    yield "`tables/`, and from `settlements` of `agents/`."
    yield "Change the tables, never this page."
    yield ""
    yield "## An order"
    yield ""
    yield "The newest word of the platform wins, except that payment, completion and cancellation"
    yield "cannot unhappen: an arrow leads only onward. Inside a box any status may follow any"
    yield "other."
    yield ""
    yield from _mermaid(_status_edges())
    yield ""
    yield "| status | trigger | wants of the stock | whose turn | time limit |"
    yield "|---|---|---|---|---|"
    for status, about in STATUSES.items():
        yield (f"| {status} | {about.trigger} | {GOALS[status]} | {about.owner} | {about.limit} |")
    yield ""
    yield "## What an order holds of one SKU"
    yield ""
    yield "`goal / verb`: what the status wants, and what is asked of the stock keeper for it."
    yield ""
    yield from _mermaid(_demand_edges())
    yield ""
    yield from _table("held", DEMANDS)
    yield ""
    yield "## A unit of stock"
    yield ""
    yield "Only what is received, returned, shipped, adjusted or counted touches the world"
    yield "outside, so the sum of the buckets, less the shortfall, changes by nothing else. A hold"
    yield "draws from its quota first, and what it gives back is restored to it; what becomes"
    yield "available covers a shortfall before anybody may have it."
    yield ""
    yield from _mermaid(_bucket_edges())
    yield ""
    yield from _table("bucket", BUCKETS)
    yield from _settlement()


def _settlement() -> Iterator[str]:
    yield ""
    yield "## An order and its settlement"
    yield ""
    yield "What the platform's files say of it, against what we know; `agents/settlements.py` has"
    yield "the rule, [settlement.md](settlement.md) the rest. Judged anew, an order may go from any"
    yield "verdict to any other."
    yield ""
    yield "| verdict | when | whose turn | what to do |"
    yield "|---|---|---|---|"
    for verdict, said in VERDICTS.items():
        yield f"| {verdict} | {said.when} | {said.owner} | {said.todo} |"


def _mermaid(edges: Iterator[str]) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for edge in edges:
        yield f"    {edge}"
    yield "```"


def _table(name: str, states: dict[Held, About] | dict[Bucket, About]) -> Iterator[str]:
    yield f"| {name} | trigger | whose turn | time limit |"
    yield "|---|---|---|---|"
    for state, about in states.items():
        yield f"| {state} | {about.trigger} | {about.owner} | {about.limit} |"


_CLASSES = ("Open", "Paid for", "Done", "Closed")


def _status_edges() -> Iterator[str]:
    """One box for each class of what cannot unhappen; arrows that all of its members share."""
    boxes = sorted(set(CANNOT_UNHAPPEN.values()))
    members = {box: [s for s in Status if CANNOT_UNHAPPEN[s] == box] for box in boxes}
    yield f"[*] --> class{boxes[0]}"
    for box in boxes:
        yield f'state "{_CLASSES[box]}" as class{box} {{'
        yield from (f"    {status}" for status in members[box])
        yield "}"
    for before in boxes:
        for after in boxes:
            if before != after and _all_lead(members[before], members[after]):
                yield f"class{before} --> class{after}"
    yield f"class{boxes[-1]} --> [*]"


def _all_lead(before: list[Status], after: list[Status]) -> bool:
    leads = {status in TRANSITIONS[first] for first in before for status in after}
    if len(leads) != 1:
        raise AssertionError(f"{before} and {after} are no boxes: draw each status by itself")
    return leads.pop()


def _demand_edges() -> Iterator[str]:
    yield f"[*] --> {Held.NEW}"
    merged: dict[tuple[Held, Held, str], list[Goal]] = {}
    for (goal, held), step in STEPS.items():
        merged.setdefault((held, step.after, str(step.verb or "nothing")), []).append(goal)
    for (held, after, verb), goals in merged.items():
        yield f"{held} --> {after} : {', '.join(goals)} / {verb}"
    for held, after, why in _DEMAND_EDGES:
        yield f"{held} --> {after} : {why}"
    yield f"{Held.SHIPPED} --> [*]"
    yield f"{Held.ADOPTED} --> [*]"


def _bucket_edges() -> Iterator[str]:
    for verb, move in MOVES.items():
        for source in _places(verb, move.source):
            for target in _places(verb, move.target):
                if source != target:
                    yield f"{source} --> {target} : {verb}"


def _places(verb: Verb, place: Bucket | Relative | None) -> list[str]:
    """Return the buckets that one end of a move may be, as they are drawn."""
    if place is HELD:
        return [str(bucket) for bucket in Bucket if bucket in STANDS_IN[verb]]
    if place is ORIGIN:
        return [str(Bucket.AVAILABLE)]
    return ["[*]" if place is None else str(place)]
