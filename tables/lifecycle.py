"""
The life of an order as tables: which statuses may follow, which cannot be undone, what each wants.

Payment, completion and cancellation cannot unhappen: a statement from before them loses to them
whatever its time; otherwise the newest wins, and at equal time the one with the higher rank.
"""

from schemas.base import Word
from schemas.orders import Refund, Status

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
