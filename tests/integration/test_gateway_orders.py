"""`POST /v1/orders` over real HTTP: keys, the schema, and one answer to the same request."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import orjson
import pytest
import redis.asyncio as redis
from jsonschema import Draft202012Validator

from agents.intake import Destinations, Intake
from agents.reference import Directory, reference_key
from schemas.reference import Shop
from streams.adapters import ADAPTERS, adapter_for
from streams.settings import Settings
from tests.integration.at_the_gate import (
    MALL_KEY,
    OLD_MALL_KEY,
    Gate,
    a_gate,
    a_prefix,
    records,
    shops_file,
    stack_settings,
    topics,
)

pytestmark = pytest.mark.stack

PLACED = Path(__file__).parents[1] / "adapters" / "payloads" / "mall" / "order_placed.json"
ORDERS = "/v1/orders"


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    made = stack_settings(a_prefix())
    with topics(made):
        yield made


@pytest.fixture(scope="module")
def gate(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    with a_gate(settings, shops_file(folder), folder / "log") as running:
        yield running


@pytest.fixture
async def client(gate: Gate) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(gate.url) as session:
        yield session


def an_order(order_id: str, **more: Any) -> bytes:
    return orjson.dumps(orjson.loads(PLACED.read_bytes()) | {"platform_order_id": order_id, **more})


async def post(
    client: aiohttp.ClientSession, body: bytes, key: str | None = None, api_key: str = MALL_KEY
) -> tuple[int, bytes, Mapping[str, str]]:
    headers = {"Authorization": f"Bearer {api_key}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    async with client.post(ORDERS, data=body, headers=headers) as answer:
        said = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, await answer.read(), said


async def keys_on_the_topic(settings: Settings) -> list[bytes]:
    return [each.key for each in await records(settings, "mall")]


async def test_an_order_is_on_the_topic_when_it_was_taken_and_intake_can_read_it(
    client: aiohttp.ClientSession, settings: Settings
):
    body = an_order("M-1")

    status, said, _ = await post(client, body)

    answer = orjson.loads(said)
    assert status == 202
    assert answer["order"] == "mall:main:M-1"
    (record,) = [each for each in await records(settings, "mall") if each.key == b"M-1"]
    place = f"{record.topic}/{record.partition}/{record.offset}"
    assert answer["message"] == place
    assert record.value == body
    assert dict(record.headers) == {"shop": b"main"}
    (statement,) = adapter_for("mall").parse(record.value, "main")
    assert statement.key == answer["order"]


async def test_what_was_taken_becomes_one_command_to_the_order_keeper(
    client: aiohttp.ClientSession, settings: Settings
):
    directory = Directory()
    shop = Shop(platform="mall", shop="main")
    directory.put(reference_key(shop), msgspec.json.encode(shop))
    adapters: Any = ADAPTERS
    intake = Intake(adapters, directory, Destinations("orders", "stock", "parked"), 86_400_000)
    await post(client, an_order("M-20"))
    (record,) = [each for each in await records(settings, "mall") if each.key == b"M-20"]

    outputs = intake.observe("mall", record.topic, record.partition, record)

    assert [(each.topic, each.key) for each in outputs] == [("orders", b"mall:main:M-20")]


async def test_each_shop_has_its_key_and_a_changed_one_counts_beside_the_new_one(
    client: aiohttp.ClientSession,
):
    answers = {
        api_key: await post(client, an_order("M-2"), api_key=api_key)
        for api_key in (MALL_KEY, OLD_MALL_KEY, "second-mall-key")
    }

    assert [orjson.loads(said)["order"] for _, said, _ in answers.values()] == [
        "mall:main:M-2",
        "mall:main:M-2",
        "mall:second:M-2",
    ]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {MALL_KEY}", MALL_KEY,
     f"Bearer {MALL_KEY}x", "Bearer shopify-new"],
)  # fmt: skip
async def test_without_a_known_key_nothing_is_taken_and_nothing_is_said_why(
    client: aiohttp.ClientSession, settings: Settings, authorization: str | None
):
    headers = {} if authorization is None else {"Authorization": authorization}

    async with client.post(ORDERS, data=an_order("M-401"), headers=headers) as answer:
        said = (answer.status, await answer.read(), answer.headers["WWW-Authenticate"])

    assert said == (401, b"not accepted\n", "Bearer")
    assert b"M-401" not in await keys_on_the_topic(settings)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, b"not JSON"),
        (b"{", 400, b"not JSON"),
        (b"\xff", 400, b"not JSON"),
        (b"[" * 5_000, 400, b"not JSON"),
        (b"[]", 422, b"payload: "),
        (b"{}", 422, b"platform_order_id: the field is missing"),
        (an_order(""), 422, b"platform_order_id: "),
        (an_order("M-3", status="LOST"), 422, b"status: 'LOST' is no word"),
        (an_order("M-3", refund="LOST"), 422, b"refund: 'LOST' is no word"),
        (an_order("M-3", platform="taobao"), 422, b"platform: "),
        (an_order("M-3", shiping_minor=100), 422, b"shiping_minor: no order has this field"),
        (an_order("M-3", total_minor=1.5), 422, b"total_minor: "),
        (an_order("M-3", currency="XXX"), 422, b"currency: 'XXX' is no currency"),
        (an_order("M-3", updated_at="yesterday"), 422, b"updated_at: "),
        (an_order("M-3", lines=[{"line_id": "1"}]), 422, b"lines[0].quantity: "),
        (an_order("M-3", lines=[{"line_id": "1", "quantity": 1}] * 501), 422, b"501 lines"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_an_order_is_said_with_its_field_and_nothing_is_stored(
    client: aiohttp.ClientSession, settings: Settings, body: bytes, status: int, says: bytes
):
    found, said, _ = await post(client, body, key="the-wrong-one")

    assert found == status
    assert says in said
    assert b"M-3" not in await keys_on_the_topic(settings)


async def test_the_same_request_has_the_same_answer_and_is_stored_once(
    client: aiohttp.ClientSession, settings: Settings
):
    first = await post(client, an_order("M-4"), "key-4")
    again = [await post(client, an_order("M-4"), "key-4") for _ in range(3)]

    assert first[0] == 202
    assert {(status, said) for status, said, _ in again} == {(202, first[1])}
    assert "idempotency-replayed" not in first[2]
    assert all(headers["idempotency-replayed"] == "true" for _, _, headers in again)
    assert (await keys_on_the_topic(settings)).count(b"M-4") == 1


async def test_a_key_that_was_used_for_another_order_is_refused(
    client: aiohttp.ClientSession, settings: Settings
):
    await post(client, an_order("M-5"), "key-5")

    status, said, _ = await post(client, an_order("M-5", total_minor=1), "key-5")

    assert (status, said.split(b":")[0]) == (422, b"Idempotency-Key")
    assert (await keys_on_the_topic(settings)).count(b"M-5") == 1


async def test_a_refused_request_does_not_use_up_its_key(client: aiohttp.ClientSession):
    assert (await post(client, an_order("M-6", status="LOST"), "key-6"))[0] == 422
    assert (await post(client, an_order("M-6"), "key-6"))[0] == 202


async def test_shops_do_not_share_their_keys(client: aiohttp.ClientSession):
    first = await post(client, an_order("M-7"), "key-7")
    second = await post(client, an_order("M-7"), "key-7", api_key="second-mall-key")

    assert (first[0], second[0]) == (202, 202)
    assert first[1] != second[1]


async def test_the_same_request_many_times_at_once_is_stored_once(
    client: aiohttp.ClientSession, settings: Settings
):
    answers = await asyncio.gather(*(post(client, an_order("M-8"), "key-8") for _ in range(50)))

    assert {status for status, _, _ in answers} <= {202, 409}
    assert len({said for status, said, _ in answers if status == 202}) == 1
    assert all("retry-after" in headers for status, _, headers in answers if status == 409)
    assert (await keys_on_the_topic(settings)).count(b"M-8") == 1


async def test_without_a_key_each_request_is_taken(
    client: aiohttp.ClientSession, settings: Settings
):
    for _ in range(2):
        assert (await post(client, an_order("M-9")))[0] == 202

    assert (await keys_on_the_topic(settings)).count(b"M-9") == 2


@pytest.mark.parametrize("key", ["", "x" * 201, "two words", "schlüssel"])
async def test_a_key_is_visible_ascii_of_bounded_length(client: aiohttp.ClientSession, key: str):
    status, said, _ = await post(client, an_order("M-10"), key)

    assert (status, said.split(b":")[0]) == (400, b"Idempotency-Key")


async def test_an_answer_is_kept_for_a_day_and_holds_nothing_of_the_order(
    client: aiohttp.ClientSession, settings: Settings
):
    await post(client, an_order("M-11"), "key-11")

    assert settings.redis is not None
    async with redis.from_url(settings.redis.get_secret_value()) as store:
        names = [name async for name in store.scan_iter(f"{settings.topic_prefix}gateway:*")]
        kept = [(name, await store.get(name), await store.ttl(name)) for name in names]

    assert kept
    for name, value, ttl in kept:
        assert 23 * 3600 < ttl <= 24 * 3600 or ttl <= 15
        assert b"key-" not in name
        assert "李梅".encode() not in value
        assert b"13912345678" not in value


async def test_a_claim_that_a_crash_left_behind_runs_out(settings: Settings):
    from streams.gateway import idempotency  # noqa: PLC0415

    answers = idempotency.Answers(settings)
    try:
        assert await answers.claim("main", b"crashed", b"digest") is None
        found = await answers.claim("main", b"crashed", b"digest")
        assert found is not None
        assert (found.digest, found.answer) == (b"digest", b"")
        assert settings.redis is not None
        async with redis.from_url(settings.redis.get_secret_value()) as store:
            ttl = await store.ttl(answers._name("main", b"crashed"))
        assert 0 < ttl <= 15
    finally:
        await answers.close()


async def test_the_openapi_document_describes_what_is_taken(client: aiohttp.ClientSession):
    async with client.get("/openapi.json") as answer:
        document = await answer.json()

    assert document["openapi"] == "3.1.0"
    post_ = document["paths"][ORDERS]["post"]
    schema = post_["requestBody"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": document["components"]})
    validator.validate(orjson.loads(PLACED.read_bytes()))
    assert not validator.is_valid({"platform_order_id": "M-1", "shiping_minor": 1})
    assert {"202", "400", "401", "409", "413", "422", "503"} <= post_["responses"].keys()
    status, said, _ = await post(client, an_order("M-12"))
    accepted = document["components"]["schemas"]["Accepted"]
    assert str(status) in post_["responses"]
    Draft202012Validator(accepted).validate(orjson.loads(said))
