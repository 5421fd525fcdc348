"""What subscribers get: CloudEvents that others read, and data that keeps to its schema."""

import json
from pathlib import Path

import jsonschema
import pytest
from cloudevents.v1.kafka import KafkaMessage, from_binary

from agents.letters import Form
from schemas.orders import (
    Case,
    Choice,
    Disposition,
    ExpireHold,
    Refund,
    ReturnGoods,
    SettleCase,
    ShipOrder,
    Status,
)
from schemas.stock import AllotStock, CountStock
from streams.contract import schemas, text_of
from streams.topology import ROUTES
from tests.builders import HOLD_FOR, T0, a_line, a_statement, an_id, observe, receive
from tests.simulation import House

EVENTS = Path(__file__).parents[2] / "docs" / "events"
TOPICS = ("order-events", "stock-events")


def a_day() -> House:
    """A day on which every kind of event happens."""
    house = House()
    house.tell(receive("LAMP", 6), receive("LAMP", 2))
    house.settle()
    lamps, rugs = a_line("LAMP", 1), a_line("RUG", 1)
    stories = {
        "1": (a_statement(Status.PENDING_PAYMENT, lamps, order="1"),),
        "2": (a_statement(Status.PAID, lamps, rugs, order="2"),),
        "3": (
            a_statement(Status.PAID, lamps, order="3", at=1),
            a_statement(Status.SHIPPED, lamps, order="3", at=2, refund=Refund.REFUNDING),
            a_statement(Status.PAID, lamps, order="3", at=1),
        ),
        "4": (a_statement(Status.PAID, lamps, order="4", at=1),),
    }
    for story in stories.values():
        for place, statement in enumerate(story):
            house.tell(observe(statement, place))
            house.settle()
    house.now_ms = T0 + HOLD_FOR
    house.tell(ExpireHold(order="taobao:lamps:1", deadline_ms=T0 + HOLD_FOR))
    window = {"quota": "11-11", "starts_ms": T0, "ends_ms": 2 * T0}
    why = {"reason": "singles day", "operator": "mei"}
    house.tell(
        AllotStock(id=an_id(), sku="LAMP", quantity=5, **window, **why),
        CountStock(id=an_id(), sku="LAMP", counted=0, **why),
        ReturnGoods(
            id=an_id(),
            order="taobao:lamps:3",
            sku="LAMP",
            quantity=1,
            disposition=Disposition.SELLABLE,
            **why,
        ),
        ShipOrder(
            id=an_id(),
            order="taobao:lamps:4",
            carrier="SF",
            tracking_number="SF1001",
            **why,
        ),
        SettleCase(
            id=an_id(),
            order="taobao:lamps:2",
            case=Case.PAID_BUT_SHORT,
            choice=Choice.REFUND,
            **why,
        ),
    )
    house.settle()
    return house


def heard(house: House):
    for topic in TOPICS:
        for partition in range(house.partitions):
            for record in house.log(topic, partition):
                yield topic, partition, record


def test_every_event_is_a_cloudevent_that_the_standards_own_library_reads() -> None:
    for topic, partition, record in heard(a_day()):
        headers = dict(record.headers)
        event = from_binary(KafkaMessage(headers=headers, key=record.key, value=record.value))
        assert event["specversion"] == "1.0"
        assert event["type"].startswith("com.orderflow.")
        keeper = topic.removesuffix("-events").replace("order", "orders")
        assert event["source"] == f"/orderflow/{keeper}/e0/p{partition}"
        assert event["sequence"] == event["id"]
        assert len(event["sequence"]) == 20


def test_every_event_keeps_to_its_published_schema() -> None:
    published = schemas()
    seen = set()
    for _, _, record in heard(a_day()):
        kind = dict(record.headers)["ce_type"].decode()
        seen.add(kind)
        jsonschema.Draft202012Validator(published[kind]).validate(json.loads(record.value))

    never = {
        "com.orderflow.stock.ignored.v1",  # only a letter that met no hold makes it
        "com.orderflow.EpochAnnounced.v1",  # only an operator says it
        # The poller tells of channels: tests/integration/test_silence.py.
        "com.orderflow.channel.silent.v1",
        "com.orderflow.channel.talking.v1",
    }
    assert seen == set(published) - never


def test_a_field_of_the_wrong_kind_is_against_the_schema() -> None:
    document = schemas()["com.orderflow.order.expired.v1"]
    event = {"event": "order.expired", "order": "a:b:c", "version": "1"}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(document).validate(event)


def test_no_event_carries_what_is_personal() -> None:
    personal = ("phone", "receiver", "buyer", "address", "email")
    for kind, route in ROUTES.items():
        if route.form is Form.EVENT:
            assert not set(kind.__struct_fields__) & set(personal), kind


def test_the_published_schemas_are_the_ones_the_words_make() -> None:
    files = {file.stem: file.read_text(encoding="utf-8") for file in EVENTS.glob("*.json")}

    assert files == {name: text_of(document) for name, document in schemas().items()}, (
        "docs/events is stale: `orderflow events --into docs/events`"
    )


def test_an_announced_epoch_is_a_cloudevent_that_keeps_to_its_schema() -> None:
    house = House()

    house.announce("stock", 1)

    for partition in range(house.partitions):
        (record,) = house.log("stock-events", partition)
        headers = dict(record.headers)
        event = from_binary(KafkaMessage(headers=headers, key=record.key, value=record.value))
        assert event["type"] == "com.orderflow.EpochAnnounced.v1"
        assert event["source"] == "/orderflow/operator"
        assert event["id"] == f"stock/{partition}/1"
        said = json.loads(record.value or b"")
        assert said == {
            "event": "EpochAnnounced",
            "keeper": "stock",
            "partition": partition,
            "epoch": 1,
        }
        jsonschema.Draft202012Validator(schemas()[event["type"]]).validate(said)
