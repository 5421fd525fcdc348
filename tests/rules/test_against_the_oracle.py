"""A shop's trade against an account on paper, step by step; and the race of pay and expiry."""

from collections import Counter
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schemas.orders import (
    Disposition,
    ExpireHold,
    OrderCommandAnswered,
    ParcelLine,
    ReturnGoods,
    ShipOrder,
    Status,
)
from tables.reservations import deadline_ms
from tests.builders import HOLD_FOR, T0, a_line, a_statement, an_id, observe, receive
from tests.rules.oracle import PAID, Oracle, Paper
from tests.simulation import House, words

LAMP, RUG = "GARISH-LAMP", "HUMBLE-RUG"
RECEIVED = {LAMP: 5, RUG: 3}
order_ids = st.sampled_from(["1", "2", "3"])
wanted = st.fixed_dictionaries({LAMP: st.integers(0, 3), RUG: st.integers(0, 2)}).filter(
    lambda units: any(units.values())
)


class Shop(RuleBasedStateMachine):
    """Says the same to the house, through both keepers and any crash, and to the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House()
        self.random = Random(0)
        self.oracle = Oracle(**RECEIVED)
        self.at = self.parcels = 0
        self.house.tell(*(receive(sku, units) for sku, units in RECEIVED.items()))
        self.settle()

    def settle(self) -> None:
        self.house.settle(self.random, crashes=0.2)

    def say(self, order: str, status: Status, wants: Counter[str], gone: Counter[str]) -> None:
        self.at += 1
        lines = [
            a_line(sku, units, shipped=gone[sku]) for sku, units in sorted(wants.items()) if units
        ]
        statement = a_statement(status, *lines, order=order, at=self.at)
        self.house.tell(observe(statement, self.at))
        self.settle()
        self.oracle.says(order, status, +wants, gone)

    def paper(self, order: str) -> Paper:
        return self.oracle.orders.get(order, Paper())

    @rule(order=order_ids, units=wanted, paid=st.booleans())
    def orders_or_edits(self, order: str, units: dict[str, int], *, paid: bool) -> None:
        if self.paper(order).status is Status.SHIPPED:
            return  # a shipped order is returned, not edited
        status = Status.PAID if paid else Status.PENDING_PAYMENT
        self.say(order, status, Counter(units), Counter())

    @rule(order=order_ids, sku=st.sampled_from([LAMP, RUG]), units=st.integers(1, 2))
    def ships_a_parcel(self, order: str, sku: str, units: int) -> None:
        paper = self.paper(order)
        if paper.status in PAID and paper.status is not Status.SHIPPED and paper.wants[sku]:
            gone = Counter({sku: min(paper.wants[sku], paper.shipped[sku] + units)})
            self.say(order, Status.PARTIALLY_SHIPPED, Counter(paper.wants), gone)

    @rule(order=order_ids)
    def ships_the_rest(self, order: str) -> None:
        paper = self.paper(order)
        if paper.status in PAID:
            self.say(order, Status.SHIPPED, Counter(paper.wants), Counter())

    @rule(order=order_ids)
    def cancels(self, order: str) -> None:
        paper = self.paper(order)
        if paper.wants:
            self.say(order, Status.CANCELLED, Counter(paper.wants), Counter())

    @rule(order=order_ids)
    def lets_the_hold_run_out(self, order: str) -> None:
        paper = self.paper(order)
        row = self.house.order(order) if paper.status else None
        due = deadline_ms(row) if row is not None else None
        if due is None:
            return
        self.house.now_ms = max(self.house.now_ms, due)
        self.house.tell(ExpireHold(order=f"taobao:lamps:{order}", deadline_ms=due))
        self.settle()
        self.oracle.gives_back(paper)

    @rule(order=order_ids, sku=st.sampled_from([LAMP, RUG]), units=st.integers(1, 3))
    def takes_back(self, order: str, sku: str, units: int) -> None:
        if not self.paper(order).status:
            return
        self.house.tell(
            ReturnGoods(
                id=an_id(self.house.now_ms), order=f"taobao:lamps:{order}", sku=sku,
                quantity=units, disposition=Disposition.SELLABLE, reason="too big", operator="mei",
            )
        )  # fmt: skip
        self.settle()
        assert self.answered_yes(order) == self.oracle.comes_back(order, sku, units)

    @rule(order=order_ids, sku=st.sampled_from([LAMP, RUG]), units=st.integers(1, 3))
    def packs_a_parcel(self, order: str, sku: str, units: int) -> None:
        self.parcels += 1
        self.house.tell(
            ShipOrder(
                id=an_id(self.house.now_ms), order=f"taobao:lamps:{order}", carrier="SF",
                tracking_number=f"SF{self.parcels:04}", lines=(ParcelLine(sku, units),),
                reason="packed", operator="wei",
            )
        )  # fmt: skip
        self.settle()
        assert self.answered_yes(order) == self.oracle.packs(order, sku, units)

    def answered_yes(self, order: str) -> bool:
        """Whether the last of an operator's commands about an order was done."""
        answers = [
            event
            for event in self.house.all_order_events()
            if isinstance(event, OrderCommandAnswered) and event.order.endswith(f":{order}")
        ]
        return answers[-1].refusal is None

    @invariant()
    def the_house_and_the_paper_agree(self) -> None:
        assert self.house.parked() == []
        for order, paper in self.oracle.orders.items():
            for sku in RECEIVED:
                hold = self.house.hold(sku, order)
                assert (hold.quantity if hold else 0) == paper.holds[sku], (order, sku)
        for sku, received in RECEIVED.items():
            papers = self.oracle.orders.values()
            gone = sum(paper.shipped[sku] - paper.back[sku] for paper in papers)
            assert self.house.balance(sku).available == self.oracle.free[sku]
            assert self.house.balance(sku).on_hand == received - gone


TestShop = Shop.TestCase
TestShop.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


# --- pay against expire ---------------------------------------------------------------------------


def race(*, pay_first: bool, seed: int) -> tuple[House, list[str]]:
    """Payment and expiry reach the order's inbox within one millisecond, at the deadline."""
    random = Random(seed)
    house = House(partitions=random.choice([1, 2]))
    house.tell(receive(LAMP, 2), receive(RUG, 2))
    lines = (a_line(LAMP, 1 + seed % 2), a_line(RUG))
    house.tell(observe(a_statement(Status.PENDING_PAYMENT, *lines, at=0), 0))
    house.settle(random, crashes=0.2)
    house.now_ms = T0 + HOLD_FOR
    pay = observe(a_statement(Status.PAID, *lines, at=1), 1)
    expire = ExpireHold(order="taobao:lamps:1001", deadline_ms=T0 + HOLD_FOR)
    house.tell(*((pay, expire) if pay_first else (expire, pay)))
    house.settle(random, crashes=0.3, records=2)
    return house, words(house.order_events())


@pytest.mark.parametrize("pay_first", [True, False], ids=["paid first", "expired first"])
def test_t34_pay_against_expire_is_settled_by_the_inbox_in_1000_trials(*, pay_first: bool) -> None:
    for seed in range(500):
        house, told = race(pay_first=pay_first, seed=seed)
        units = 1 + seed % 2
        lamp = house.balance(LAMP)
        assert (lamp.available, lamp.locked, lamp.occupied) == (2 - units, 0, units), seed
        assert ("expired" in told) is not pay_first, (seed, told)
        assert told.count("reserved") == (1 if pay_first else 2), (seed, told)
        assert house.parked() == []


def test_t32_expired_first_and_sold_meanwhile_is_a_case_and_never_an_oversell() -> None:
    for seed in range(100):
        random = Random(seed)
        house = House()
        house.tell(receive(LAMP, 1))
        house.settle()
        for order in ("1", "2"):
            said = a_statement(Status.PENDING_PAYMENT, a_line(LAMP), order=order, at=0)
            house.tell(observe(said, 0))
            house.settle()
        house.now_ms = T0 + HOLD_FOR
        house.tell(
            ExpireHold(order="taobao:lamps:1", deadline_ms=T0 + HOLD_FOR),
            observe(a_statement(Status.PAID, a_line(LAMP), order="2", at=1), 1),
            observe(a_statement(Status.PAID, a_line(LAMP), order="1", at=1), 2),
        )
        house.settle(random, crashes=0.3, records=1)

        assert house.balance(LAMP).occupied == 1
        cases = [words(house.order_events(order)).count("case:paid_but_short") for order in "12"]
        assert sorted(cases) == [0, 1], (seed, cases)
