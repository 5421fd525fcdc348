"""
Poison does not slow its neighbours: they are decided in the very rounds they would have been
without it, whatever class it is of and whichever inbox it lies in.

A round is one frame of one keeper. Rounds are counted, not timed: on any machine the figure is the
same.
"""

from dataclasses import dataclass, field

import pytest
from msgspec import json, msgpack

from agents.intake import Destinations, Intake
from agents.letters import PREFIX
from agents.reference import Directory, reference_key
from schemas.orders import ObserveOrder, OrderReserved, Status
from schemas.parked import Parked
from schemas.reference import Shop
from streams.adapters import ADAPTERS
from tests.builders import T0, a_line, a_statement, observe, receive
from tests.flows.test_frames import POISON as COMMANDS
from tests.integration.test_exceptions import PARKED, SHOP, a_trade, bytes_of
from tests.simulation import House, Record

GOOD = [str(7_000 + nth) for nth in range(6)]
SKUS = ("BASKET-L", "HOOK-C")
_DAY_MS = 86_400_000
_ROUNDS_MAX = 20


@dataclass
class Raw:
    """A raw record."""

    value: bytes | None
    offset: int
    timestamp: int = T0
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=lambda: [("shop", SHOP.encode())])


def an_intake() -> Intake:
    directory = Directory()
    shop = Shop(platform="taobao", shop=SHOP, sku_mapping="identity")
    directory.put(reference_key(shop), json.encode(shop))
    to = Destinations("order-commands", "stock-commands", "parked")
    return Intake(ADAPTERS, directory, to, _DAY_MS)


def a_house() -> House:
    house = House()
    house.tell(*(receive(sku, 1_000) for sku in SKUS))
    house.settle()
    return house


def rounds_of(house: House) -> dict[str, int]:
    """Let the keepers work, round by round; return in which one each order had its verdict."""
    reserved: dict[str, int] = {}
    for round_ in range(1, _ROUNDS_MAX):
        # What waits at its beginning is a round's frame; what it says is for the next one.
        frames = {place: house.waiting(*place) for place in house.keepers}
        for place, records in frames.items():
            if records:
                house.work(*place, records=records)
        for event in house.all_order_events():
            if isinstance(event, OrderReserved):
                reserved.setdefault(event.order, round_)
    return reserved


def heard(platform: str, poison: list[bytes | None]) -> tuple[dict[str, int], int]:
    """One poll: good orders with *poison* between them. The rounds, and how many were parked."""
    values: list[tuple[str, bytes | None]] = []
    for nth, tid in enumerate(GOOD):
        values.append(("taobao", bytes_of(a_trade(tid))))
        values += [(platform, each) for each in poison[nth : nth + 1]]
    intake, house = an_intake(), a_house()
    parked = 0
    for offset, (of, value) in enumerate(values):
        for output in intake.observe(of, f"raw-orders-{of}", 0, Raw(value, offset)):
            kind = Parked if output.topic == "parked" else ObserveOrder
            parked += kind is Parked
            house.tell(msgpack.decode(output.value[PREFIX.size :], type=kind))
    return rounds_of(house), parked


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, int]:
    rounds, parked = heard("taobao", [])
    assert set(rounds) == {f"taobao:{SHOP}:{tid}" for tid in GOOD}
    assert not parked
    return rounds


@pytest.mark.parametrize("name", PARKED)
def test_t43_poison_among_raw_messages_costs_its_neighbours_no_round(
    name: str, undisturbed: dict[str, int]
):
    value, platform, *_ = PARKED[name]

    rounds, parked = heard(platform, [value] * (len(GOOD) - 1))

    assert parked == len(GOOD) - 1
    assert rounds == undisturbed


def decided(inbox: str, poison: bytes | None, places: int) -> tuple[dict[str, int], int]:
    """Good orders in the inboxes, and *poison* in one of them between each two."""
    house = a_house()
    for nth, tid in enumerate(GOOD):
        house.tell(observe(a_statement(Status.PAID, a_line("BASKET-L"), order=tid), nth))
        for partition in range(house.partitions if nth < places else 0):
            log = house.log(inbox, partition)
            log.append(Record(len(log), house.now_ms, b"x", poison))
    return rounds_of(house), len(house.parked())


@pytest.mark.parametrize("inbox", ["order-commands", "stock-commands"])
@pytest.mark.parametrize("value", [value for value, _ in COMMANDS.values()], ids=COMMANDS.keys())
def test_t43_poison_among_commands_costs_its_neighbours_no_round(inbox: str, value: bytes | None):
    without, none = decided(inbox, value, places=0)
    rounds, parked = decided(inbox, value, places=3)

    assert (none, parked) == (0, 6)
    assert len(without) == len(GOOD)
    assert rounds == without
