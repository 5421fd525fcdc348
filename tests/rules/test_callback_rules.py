"""What subscribers are told, and what they never are; how it is signed."""

import hmac
from base64 import b64decode, b64encode
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.callbacks import (
    TOLD,
    TYPES,
    WITHHELD,
    Filter,
    body,
    body_of,
    message_id,
    type_of,
    wants,
)
from schemas import orders
from schemas.orders import (
    Case,
    CaseSettled,
    Choice,
    Disposition,
    OrderCommandAnswered,
    OrderEvent,
    OrderReserved,
    OrderReturned,
    StatementIgnored,
    Status,
)
from streams.web import signing

KINDS = [
    kind
    for kind in vars(orders).values()
    if isinstance(kind, type) and issubclass(kind, OrderEvent) and kind is not OrderEvent
]
BASE = {"order": "taobao:qingyou:1", "version": 4, "at_ms": 1_762_000_000_123, "cause": "x/0/1"}


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.__name__)
def test_every_field_of_an_event_is_either_told_or_withheld_by_name(kind: type[OrderEvent]):
    fields = {field.name for field in msgspec.structs.fields(kind)}
    told = {"order", "version", "at_ms", *TOLD[kind]}

    assert fields == told | (fields & WITHHELD)
    assert not told & WITHHELD


def test_every_kind_of_event_is_told_but_what_changed_nothing():
    assert set(KINDS) - set(TOLD) == {StatementIgnored}
    answer = OrderCommandAnswered(order="a:b:c", at_ms=1, cause="x", command="y", about="z")
    assert type_of(answer) is None
    assert len(set(TYPES)) == len(TYPES) == len(TOLD)


@pytest.mark.parametrize(
    "event",
    [
        CaseSettled(
            **BASE, case=Case.PAID_BUT_SHORT, choice=Choice.REFUND, command="0192-secret",
            operator="Han Meimei", reason="Herr Meier rief an, 13800138000",
        ),
        OrderReturned(
            **BASE, sku="RUG", quantity=1, disposition=Disposition.FROZEN, returned=1,
            command="0192-secret", operator="Han Meimei", reason="Herr Meier rief an",
        ),
    ],
)  # fmt: skip
def test_what_people_are_called_and_wrote_leaves_the_house_never(event: OrderEvent):
    said = body_of(event)

    for word in (b"Meimei", b"Meier", b"13800138000", b"0192-secret", b"x/0/1", b"reason"):
        assert word not in said


def test_a_body_is_what_standard_webhooks_has_and_the_same_each_time():
    event = OrderReserved(**BASE, attempt=1, status=Status.PAID, deadline_ms=None)

    assert body_of(event) == (
        b'{"type":"order.reserved","timestamp":"2025-11-01T12:26:40.123Z","data":{"order":'
        b'"taobao:qingyou:1","version":4,"at_ms":1762000000123,"attempt":1,"status":"PAID",'
        b'"deadline_ms":null,"short":[]}}'
    )


@given(st.text(), st.integers(1), st.text(), st.integers(1))
def test_two_events_have_two_ids_and_one_has_one(a: str, n: int, b: str, m: int):
    one, other = message_id(f"/orderflow/{a}/p1", n), message_id(f"/orderflow/{b}/p1", m)

    assert (one == other) == ((a, n) == (b, m))
    assert "." not in one


# --- filters --------------------------------------------------------------------------------------

ORDER = "taobao:qingyou:277"


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(types=("order.reserved",)), True),
        (Filter(types=("order.short", "order.status")), False),
        (Filter(shops=("taobao",)), True),
        (Filter(shops=("taobao:qingyou",)), True),
        (Filter(shops=("taobao:qing",)), False),
        (Filter(shops=("tao",)), False),
        (Filter(shops=("jd", "taobao")), True),
        (Filter(types=("order.short",), shops=("taobao",)), False),
    ],
)
def test_a_filter_lets_pass_what_it_names(wanted: Filter, passes: bool):
    assert wants(wanted, "order.reserved", ORDER) is passes


@given(st.lists(st.sampled_from(TYPES)), st.sampled_from(TYPES), st.text(max_size=20))
def test_an_order_id_with_colons_belongs_to_its_shop(types: list[str], type_: str, id_: str):
    wanted = Filter(tuple(types), ("mall:main",))

    assert wants(wanted, type_, f"mall:main:{id_}") == (not types or type_ in types)
    assert not wants(wanted, type_, f"mall:other:{id_}")


# --- signatures -----------------------------------------------------------------------------------

#: As Standard Webhooks publishes them.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105
MESSAGE, AT_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
PUBLISHED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_vector_is_reproduced():
    assert signing.headers([SECRET], MESSAGE, AT_S, BODY) == {
        "webhook-id": MESSAGE,
        "webhook-timestamp": "1614265330",
        "webhook-signature": PUBLISHED,
    }


def test_two_secrets_give_two_signatures_and_each_receiver_finds_its_own():
    other = signing.new_secret()

    said = signing.headers([other, SECRET], MESSAGE, AT_S, BODY)["webhook-signature"].split(" ")

    assert said == [signing.signature(other, MESSAGE, AT_S, BODY), PUBLISHED]


def test_a_new_secret_is_256_bits_that_nobody_had_before():
    made = {signing.new_secret() for _ in range(100)}

    assert len(made) == 100
    for each in made:
        assert len(b64decode(each.removeprefix("whsec_"), validate=True)) == 32


@given(st.binary(max_size=200), st.integers(0, 2**40))
def test_a_receiver_that_follows_the_standard_accepts_it_and_nothing_else(said: bytes, at_s: int):
    sent = signing.headers([SECRET], "evt_1", at_s, said)
    key = b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.new(key, b"evt_1.%d." % at_s + said, sha256).digest()

    assert sent["webhook-signature"] == f"v1,{b64encode(expected).decode()}"
    assert signing.signature(SECRET, "evt_1", at_s, said + b" ") != sent["webhook-signature"]
    assert signing.signature(SECRET, "evt_1", at_s + 1, said) != sent["webhook-signature"]


def test_a_test_message_is_about_no_order():
    assert msgspec.json.decode(body("subscriber.test", 0, {"subscriber": "sub_1"})) == {
        "type": "subscriber.test",
        "timestamp": "1970-01-01T00:00:00.000Z",
        "data": {"subscriber": "sub_1"},
    }
