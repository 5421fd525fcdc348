"""
An imported order meets the same intake and the same keeper as every other.

T42: the same order by webhook, poll and import is one order.
"""

import itertools

import orjson
from msgspec import json, msgpack

from agents.intake import Destinations, Intake
from agents.letters import PREFIX
from agents.reference import Directory, reference_key
from schemas.orders import Ignored, ObserveOrder, Status
from schemas.parked import Cause, Parked
from schemas.reference import Shop
from streams.adapters import FILES
from tests.builders import HOLD_FOR, MINUTE, T0, a_line, a_statement, observe, receive
from tests.flows.test_intake_flow import Raw, Says
from tests.simulation import House, words

DAY = 24 * 60 * MINUTE
SKU = "GARISH-LAMP"


def an_intake() -> Intake:
    directory, shop = Directory(), Shop(platform="taobao", shop="lamps")
    directory.put(reference_key(shop), json.encode(shop))
    to = Destinations("order-commands", "stock-commands", "parked")
    return Intake({"taobao": Says()}, directory, to, 10 * MINUTE, imported=FILES)


def a_body(status: str = "PAID", at: str = "2026-11-11T00:00:00Z", **more: object) -> bytes:
    return orjson.dumps({
        "orderflow_import": 1, "platform": "taobao", "platform_order_id": "1001",
        "status": status, "created_at": "2026-11-11T00:00:00Z", "updated_at": at,
        "lines": [{"line_id": "1", "merchant_sku": SKU, "quantity": 2}], **more,
    })  # fmt: skip


def imported(body: bytes, at_ms: int = T0) -> ObserveOrder:
    (output,) = an_intake().observe("taobao", "raw-orders-taobao", 2, Raw(body, timestamp=at_ms))
    assert output.topic == "order-commands"
    assert output.counts_as is None
    return msgpack.decode(output.value[PREFIX.size :], type=ObserveOrder)


def a_house() -> House:
    house = House()
    house.tell(receive(SKU, 5))
    house.settle()
    return house


def hear(house: House, *commands: ObserveOrder) -> None:
    for command in commands:
        house.tell(command)
        house.settle()


def test_a_file_is_read_on_its_platforms_topic_and_counts_below_the_platforms_own_word():
    said = imported(a_body())

    assert (said.statement.platform, said.statement.shop) == ("taobao", "lamps")
    assert said.source.adapter == "taobao/0"
    assert said.policy.hold_from_ms == T0


def test_t42_webhook_and_import_in_every_order_are_one_order_with_one_hold():
    live = a_statement(Status.PAID, a_line(SKU, 2), at=0)
    says = [observe(live), observe(live, 1), imported(a_body()), imported(a_body())]
    seen = set()
    for way in itertools.permutations(says):
        house = a_house()
        hear(house, *way)
        order = house.order()
        assert house.balance(SKU).occupied == 2
        assert words(house.order_events()).count("reserved") == 1
        seen.add((order.status, order.lines, order.content_at, order.status_at))
    assert len(seen) == 1
    ((_, _, content_at, _),) = seen
    assert content_at.adapter == "taobao/1", "at the same time the platform's own word stands"


def test_running_a_file_twice_says_duplicate():
    house = a_house()

    hear(house, imported(a_body()), imported(a_body()))

    assert house.order_events()[-1].why is Ignored.DUPLICATE


def test_a_file_that_is_older_than_what_is_known_changes_nothing():
    house = a_house()

    hear(house, observe(a_statement(Status.SHIPPED, a_line(SKU, 2), at=MINUTE)), imported(a_body()))

    assert house.order().status is Status.SHIPPED
    assert house.order_events()[-1].why is Ignored.STALE


def test_an_unpaid_order_whose_time_is_over_holds_nothing_for_no_moment():
    """Or a file of yesterday's unpaid orders would take the stock of today's."""
    house = a_house()

    hear(house, imported(a_body("PENDING_PAYMENT", created_at="2026-11-10T20:00:00Z")))

    assert house.order().reservation == "expired"
    assert house.balance(SKU).version == 1, "only the delivery has moved it"
    assert "expired" in words(house.order_events())
    assert "reserved" not in words(house.order_events())


def test_an_unpaid_order_is_held_for_what_is_left_of_its_time():
    house = a_house()

    hear(house, imported(a_body("PENDING_PAYMENT", created_at="2026-11-10T23:50:00Z")))

    assert house.hold(SKU).deadline_ms == T0 - 10 * MINUTE + HOLD_FOR


def test_paying_after_all_takes_the_stock_of_an_order_that_was_over():
    house = a_house()

    hear(
        house,
        imported(a_body("PENDING_PAYMENT", created_at="2026-11-10T20:00:00Z")),
        observe(a_statement(Status.PAID, a_line(SKU, 2), at=MINUTE)),
    )

    assert house.balance(SKU).occupied == 2


def test_force_makes_a_file_newer_but_undoes_no_payment_and_takes_no_stock_twice():
    shipped = observe(a_statement(Status.PAID, a_line(SKU, 2), at=60 * MINUTE))
    forced = {"forced_at": "2026-11-11T09:00:00Z"}

    house = a_house()
    hear(house, shipped, imported(a_body("SHIPPED", **forced)))
    assert house.order().status is Status.SHIPPED
    assert house.balance(SKU).on_hand == 3

    house = a_house()
    hear(house, shipped, imported(a_body("PENDING_PAYMENT", **forced)))
    assert house.order().status is Status.PAID, "what is paid cannot unhappen"
    assert house.balance(SKU).occupied == 2

    house = a_house()
    more = [{"line_id": "1", "merchant_sku": SKU, "quantity": 9}]
    hear(house, shipped, imported(a_body("PAID", lines=more, **forced)))
    assert house.balance(SKU).available >= 0
    assert house.balance(SKU).occupied == 2, "stock that is not there is not given, by force or not"


def test_force_does_not_open_intakes_doors():
    future = a_body(created_at="2026-11-12T00:00:00Z", forced_at="2026-11-11T09:00:00Z")

    (output,) = an_intake().observe("taobao", "raw-orders-taobao", 2, Raw(future))

    parked = msgpack.decode(output.value[PREFIX.size :], type=Parked)
    assert (parked.cause, parked.field) == (Cause.FUTURE, "created_at")


def test_a_file_for_another_platform_is_parked_with_its_field():
    body = a_body().replace(b'"platform":"taobao"', b'"platform":"jd"')

    (output,) = an_intake().observe("taobao", "raw-orders-taobao", 2, Raw(body))

    assert msgpack.decode(output.value[PREFIX.size :], type=Parked).field == "platform"
