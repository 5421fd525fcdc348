"""
What others read of our public topics, with clients that are none of ours: confluent-kafka and kcat.

One installation, its real workers, a few dozen orders. Every message is checked against the
published map (headers) and the published schema (data); the example subscriber hears each once.
"""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from tests.examples import EXAMPLES
from tests.foreign import Told, judge, subscribed, told
from tests.installation import Installation, installation
from tests.integration.databases import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="module")]
EVENTS = EXAMPLES.parent
TOPICS = ("order-events", "stock-events")
ORDERS = 40


@cache
def published(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EVENTS / name).read_text(encoding="utf-8"))
    return document


def keeps_to_the_contract(topic: str, headers: dict[str, str], data: Any) -> None:
    """Assert what the published map and schema say of one message."""
    kind = headers["ce_type"]
    assert kind in published("asyncapi.json")["channels"][topic]["messages"]
    of_headers, of_data = validators(kind)
    of_headers.validate(headers)
    of_data.validate(data)


@cache
def validators(kind: str) -> tuple[jsonschema.Draft202012Validator, ...]:
    """Return what judges the headers and the data of one type of event."""
    said = published("asyncapi.json")["components"]["messages"][kind]
    documents = said["headers"], published(said["payload"]["schema"]["$ref"])
    return tuple(jsonschema.Draft202012Validator(document) for document in documents)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation that has had a short day, and is at rest."""
    folder = tmp_path_factory.mktemp("foreign")
    async with installation(folder) as house:
        with house.running("intake,orders,stock,ledger"):
            _feed(house, "7")
            # Numbers begin anew, under another source.
            house.orderflow("epoch", "start", "orders", "--reason", "to be heard")
            _feed(house, "8")
            verdict = house.at_rest()
        assert verdict["ok"], json.dumps(verdict, indent=1)[:4000]
        yield house


def _feed(house: Installation, seed: str) -> None:
    house.orderflow(
        "feed", "--generate", str(ORDERS), "--seed", seed, "--receive",
        "--cancel", "20%", "--edited", "30%", "--parcels", "50%",
    )  # fmt: skip


@cache
def _told(brokers: str, topic: str) -> list[Told]:
    return told(brokers, topic)


def events(house: Installation, topic: str) -> list[Told]:
    """Return what stands on *topic*; the house is at rest, so it is read once."""
    return _told(house.settings.kafka, house.settings.topic(topic))


async def test_confluent_kafka_reads_events_that_keep_to_what_is_published(
    house: Installation,
) -> None:
    kinds = set()
    for topic in TOPICS:
        for event in events(house, topic):
            keeps_to_the_contract(topic, event.headers, json.loads(event.value))
            kinds.add(event.headers["ce_type"])

    assert {
        "com.orderflow.order.observed.v1",
        "com.orderflow.order.reserved.v1",
        "com.orderflow.order.status.v1",
        "com.orderflow.stock.moved.v1",
        "com.orderflow.stock.answered.v1",
        "com.orderflow.EpochAnnounced.v1",
    } <= kinds


def kcat() -> str:
    found = shutil.which("kcat", path=ROOT / ".local" / "tools") or shutil.which("kcat")
    if found is None:
        pytest.skip("kcat is not here; `python3 deploy/stack.py tools` fetches it on Debian")
    return found


def through_kcat(house: Installation, topic: str) -> list[dict[str, Any]]:
    """Return what kcat prints of a topic, one message a line."""
    command = [kcat(), "-b", house.settings.kafka, "-t", house.settings.topic(topic)]
    command += ["-C", "-o", "beginning", "-e", "-q", "-J"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("topic", TOPICS)
async def test_kcat_reads_the_same_events(house: Installation, topic: str) -> None:
    read = {}
    for said in through_kcat(house, topic):
        headers = dict(zip(said["headers"][::2], said["headers"][1::2], strict=True))
        keeps_to_the_contract(topic, headers, json.loads(said["payload"]))
        read[said["partition"], said["offset"]] = (said["key"], headers, said["payload"])
    assert read == {
        (each.partition, each.offset): (each.key, each.headers, each.value.decode())
        for each in events(house, topic)
    }


@pytest.mark.parametrize("topic", TOPICS)
async def test_the_example_subscriber_hears_each_event_once(
    house: Installation, topic: str, tmp_path: Path
) -> None:
    with subscribed(house.settings.kafka, house.settings.topic(topic), tmp_path) as subscriber:
        judge(subscriber, events(house, topic))
        subscriber.kill()
        judge(subscriber, events(house, topic))


async def test_the_example_subscriber_stops_where_an_event_is_missing(
    house: Installation, tmp_path: Path
) -> None:
    topic = house.settings.topic("stock-events")
    with subscribed(house.settings.kafka, topic, tmp_path) as subscriber:
        heard = events(house, "stock-events")
        judge(subscriber, heard)
        last = next(each for each in reversed(heard) if each.name[1] > 1)
        subscriber.stop()
        subscriber.forget(last)
        subscriber.start()

        said = subscriber.last_words()

    source, number = last.name
    assert f"events {number - 1} to {number - 1} of {source} are missing" in said
