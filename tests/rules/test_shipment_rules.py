"""What platforms are told of parcels: each of ours once, none of theirs, and it adds up."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.carriers import (
    BY_NAME,
    CARRIERS,
    CODES,
    OTHER,
    WITHOUT,
    Known,
    NotKnown,
    known_as,
)
from agents.shipments import SAYS, Hears, Push, decoded, encoded, pushes_of
from schemas.orders import OrderShipped, ParcelLine, ShipOrder, Status
from tests.builders import a_line, a_statement, an_id, observe, receive
from tests.simulation import House

PAID, SHIPPED, PARTLY = Status.PAID, Status.SHIPPED, Status.PARTIALLY_SHIPPED
LINES = {"a": 2, "b": 1, "c": 3}


class Warehouse:
    """An order of one platform, and who says what of it."""

    def __init__(self, platform: str) -> None:
        self.house = House()
        self.platform = platform
        self.house.tell(receive("LAMP", 100))
        self.house.settle()
        self.gone: Counter[str] = Counter()
        self.at = 0
        self.says(PAID)

    def says(self, status: Status) -> None:
        """The platform says how far the order is: the echo, where we said it first."""
        self.at += 1
        lines = [a_line("LAMP", units, id_, shipped=self.gone[id_]) for id_, units in LINES.items()]
        said = a_statement(status, *lines, at=self.at * 1000, platform=self.platform)
        self.house.tell(observe(said, self.at))
        self.house.settle()

    def echoes(self) -> None:
        self.says(SHIPPED if self.gone == Counter(LINES) else PARTLY if self.gone else PAID)

    def ships(self, units: dict[str, int], number: str) -> None:
        self.house.tell(
            ShipOrder(
                id=an_id(self.house.now_ms), order=f"{self.platform}:lamps:1001", carrier="SF",
                tracking_number=number, reason="packed", operator="wei",
                lines=tuple(ParcelLine(id_, count) for id_, count in units.items()),
            )
        )  # fmt: skip
        self.gone.update(units)
        self.house.settle()

    @property
    def events(self) -> list[Any]:
        return self.house.all_order_events()

    @property
    def pushes(self) -> list[Push]:
        return [push for event in self.events for push in pushes_of(event)]


@st.composite
def cuts(draw: st.DrawFn) -> list[dict[str, int]]:
    """The order's units, cut into parcels in any way."""
    units = draw(st.permutations([id_ for id_, count in LINES.items() for _ in range(count)]))
    parcels: list[Counter[str]] = [Counter()]
    for id_ in units:
        if parcels[-1] and draw(st.booleans()):
            parcels.append(Counter())
        parcels[-1][id_] += 1
    return [dict(parcel) for parcel in parcels]


@pytest.mark.parametrize("platform", SAYS)
@settings(max_examples=25, deadline=None)
@given(cuts(), st.data())
def test_every_unit_is_told_once_however_the_order_is_cut_and_whatever_is_echoed(
    platform: str, parcels: list[dict[str, int]], data: st.DataObject
) -> None:
    there = Warehouse(platform)
    for nth, units in enumerate(parcels, start=1):
        there.ships(units, f"SF{nth:04}")
        if data.draw(st.booleans()):
            there.echoes()
    there.echoes()

    pushes, says = there.pushes, SAYS[platform]
    ours = [event for event in there.events if isinstance(event, OrderShipped)]
    assert len(ours) == len(parcels)
    assert len({push.id for push in pushes}) == len(pushes)
    assert [push.parcel for push in pushes] == sorted(push.parcel for push in pushes)
    assert pushes[-1].last
    told: Counter[str] = Counter()
    for push in pushes:
        told.update({line.line_id: line.quantity for line in push.lines})
    match says.hears:
        case Hears.UNITS:
            assert len(pushes) == len(parcels)
            assert told == Counter(LINES)
        case Hears.LINES:
            named = [line.line_id for push in pushes for line in push.lines]
            assert sorted(named) == sorted(LINES), "each line once, when its last unit has left"
        case Hears.WHOLE:
            (push,) = pushes
            numbers = [waybill.tracking_number for waybill in push.waybills]
            assert numbers[0] == f"SF{len(parcels):04}"
            assert len(numbers) == min(len(parcels), says.waybills_max)
            assert len(set(numbers)) == len(numbers)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(sorted(SAYS)), st.lists(st.sampled_from([PAID, PARTLY, SHIPPED]), max_size=6)
)
def test_what_a_platform_says_of_shipments_is_never_pushed(
    platform: str, said: list[Status]
) -> None:
    there = Warehouse(platform)
    for status in said:
        there.gone = Counter(LINES) if status is SHIPPED else Counter({"a": 1})
        there.says(status)

    assert there.pushes == []


def test_a_repeated_command_is_no_second_push() -> None:
    there = Warehouse("shopify")
    command = ShipOrder(
        id=an_id(there.house.now_ms), order="shopify:lamps:1001", carrier="UPS",
        tracking_number="1Z0001", reason="packed", operator="wei",
    )  # fmt: skip
    there.house.tell(command, command, command)
    there.house.settle()

    assert len(there.pushes) == 1


def test_the_own_mall_and_platforms_nobody_can_call_are_told_nothing_here() -> None:
    for platform in ("mall", "lampmart"):
        there = Warehouse(platform)
        there.ships({"a": 2, "b": 1, "c": 3}, "SF0001")

        assert there.pushes == []


def test_a_push_is_the_same_from_bytes() -> None:
    there = Warehouse("douyin")
    there.ships({"a": 1, "c": 2}, "SF0001")
    (push,) = there.pushes

    assert decoded(encoded(push)) == push
    assert push.order == "douyin:lamps:1001"
    assert not push.last


# --- carriers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", SAYS)
@pytest.mark.parametrize("carrier", [*CARRIERS, "PIGEON"])
def test_a_carrier_is_known_for_certain_or_refused_with_what_to_do(
    platform: str, carrier: str
) -> None:
    found = known_as(platform, carrier, {})

    code = CODES.get(platform, {}).get(carrier)
    if platform in WITHOUT:
        assert found == Known("")
    elif code is not None and code.confirmed:
        assert isinstance(found, Known)
        assert found.code == code.said
    elif carrier in CARRIERS and (platform in BY_NAME or platform in OTHER):
        assert isinstance(found, Known)
        assert CARRIERS[carrier] in (found.code, found.name)
    else:
        assert isinstance(found, NotKnown)
        assert carrier in found.why
        assert "[shops.api.carriers]" in found.why


def test_a_shops_own_code_wins_over_ours() -> None:
    assert known_as("pdd", "SF", {"SF": "4711"}).code == "4711"  # type: ignore[union-attr]
    assert known_as("kuaishou", "PIGEON", {"PIGEON": "9"}) == Known("9", "PIGEON")


def test_no_platform_calls_two_carriers_the_same() -> None:
    for platform, codes in CODES.items():
        said = [code.said for code in codes.values()]
        assert len(said) == len(set(said)), platform
        assert set(codes) <= set(CARRIERS), platform
