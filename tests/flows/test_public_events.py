"""What subscribers get: CloudEvents that others read, and data that keeps to its schema."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from cloudevents.v1.kafka import KafkaMessage, from_binary

from agents.letters import Form
from streams.contract import schemas, text_of
from streams.topology import ROUTES
from tests.examples import a_day, heard
from tests.simulation import House

EVENTS = Path(__file__).parents[2] / "docs" / "events"


def test_every_event_is_a_cloudevent_that_the_standards_own_library_reads() -> None:
    for topic, key, value, told in heard(a_day()):
        event = from_binary(KafkaMessage(headers=dict(told), key=key, value=value))
        assert event["specversion"] == "1.0"
        assert event["type"].startswith("com.orderflow.")
        keeper = topic.removesuffix("-events").replace("order", "orders")
        assert re.fullmatch(f"/orderflow/{keeper}/e0/p[01]", event["source"])
        assert event["sequence"] == event["id"]
        assert len(event["sequence"]) == 20


def test_every_event_keeps_to_its_published_schema() -> None:
    published = schemas()
    seen = set()
    for _, _, value, headers in heard(a_day()):
        kind = dict(headers)["ce_type"].decode()
        seen.add(kind)
        jsonschema.Draft202012Validator(published[kind]).validate(json.loads(value))

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
    files = {file.stem: file.read_text(encoding="utf-8") for file in EVENTS.glob("com.*.json")}

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
