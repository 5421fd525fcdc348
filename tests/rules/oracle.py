"""
What a careful person with a paper ledger would say of a shop: one order after the other, by hand.

It knows nothing of letters, answers, attempts or records; it must come to the same holds.
"""

from collections import Counter
from dataclasses import dataclass, field

from schemas.orders import Status

PAID = (Status.PAID, Status.PARTIALLY_SHIPPED, Status.SHIPPED)
Units = Counter[str]


@dataclass
class Paper:
    """One order: what it wants, holds, has shipped and got back."""

    status: Status | None = None
    wants: Units = field(default_factory=Counter)
    #: What the house has tried to hold; asked for once, until it changes or is paid.
    tried: Units = field(default_factory=Counter)
    holds: Units = field(default_factory=Counter)
    shipped: Units = field(default_factory=Counter)
    back: Units = field(default_factory=Counter)
    #: Of what was shipped, what our own warehouse said; and what the platform's lines say last.
    parcelled: Units = field(default_factory=Counter)
    said_gone: Units = field(default_factory=Counter)


class Oracle:
    """All orders and the free units of every SKU."""

    def __init__(self, **received: int) -> None:
        self.free: Units = Counter(received)
        self.orders: dict[str, Paper] = {}

    def says(self, order: str, status: Status, wants: Units, gone: Units) -> None:
        """A platform's next word about an order; *gone* has left by its lines."""
        paper = self.orders.setdefault(order, Paper())
        before = paper.status
        if before is Status.CANCELLED:
            return
        if not (status is Status.PENDING_PAYMENT and before in PAID):
            paper.status = status
        paper.wants, paper.said_gone = wants, gone
        if status is Status.CANCELLED:
            self.gives_back(paper)
            return
        if not (paper.status is Status.SHIPPED and paper.shipped and not paper.holds):
            self._tries(paper, newly_paid=paper.status in PAID and before not in PAID)
        if paper.status is Status.SHIPPED:
            self._leaves(paper, Counter(paper.holds))
        elif paper.status in PAID:
            self._leaves(paper, Counter({s: min(gone[s] - paper.shipped[s], paper.holds[s])
                                         for s in paper.holds}))  # fmt: skip

    def _tries(self, paper: Paper, *, newly_paid: bool) -> None:
        """Give back what is wanted no more; take all that is missing, or none of it."""
        target = Counter(paper.wants) | paper.shipped
        if target == paper.tried and not newly_paid:
            return
        paper.tried = target
        for sku in list(paper.holds):
            extra = paper.holds[sku] + paper.shipped[sku] - max(target[sku], paper.shipped[sku])
            if extra > 0:
                paper.holds[sku] -= extra
                self.free[sku] += extra
        paper.holds = +paper.holds
        missing = target - paper.holds - paper.shipped
        if all(self.free[sku] >= units for sku, units in missing.items()):
            paper.holds += missing
            self.free -= missing

    def packs(self, order: str, sku: str, units: int) -> bool:
        """Our warehouse puts units into a parcel; say whether it may leave."""
        paper = self.orders.get(order, Paper())
        left = paper.wants[sku] - max(paper.parcelled[sku], paper.said_gone[sku])
        if (
            paper.status not in (Status.PAID, Status.PARTIALLY_SHIPPED)
            or units > left
            or units > paper.holds[sku]
        ):
            return False
        self._leaves(paper, Counter({sku: units}))
        paper.parcelled[sku] += units
        return True

    def _leaves(self, paper: Paper, units: Units) -> None:
        units = +units
        paper.holds -= units
        paper.shipped += units

    def gives_back(self, paper: Paper) -> None:
        """Nobody pays, or somebody cancels."""
        self.free += paper.holds
        paper.holds = Counter()

    def comes_back(self, order: str, sku: str, units: int) -> bool:
        """Goods are returned; say whether that many had left."""
        paper = self.orders.get(order, Paper())
        if units > paper.shipped[sku] - paper.back[sku]:
            return False
        paper.back[sku] += units
        self.free[sku] += units
        return True
