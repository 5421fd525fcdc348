"""Intake: what platforms and operators said becomes commands, or is parked with its reason."""

from dataclasses import dataclass, field

import pytest
from msgspec import json, msgpack

from agents.intake import PAYLOAD_BYTES_MAX, Destinations, Intake
from agents.letters import PREFIX, seal
from agents.reference import Directory, reference_key
from schemas.base import Moment
from schemas.errors import MalformedPayload
from schemas.orders import NoticeCode, ObserveOrder, Statement
from schemas.parked import Cause, Parked
from schemas.reference import HoldRule, Shop, SkuMapping
from tests.builders import T0, a_line, a_statement, receive

DAY = 24 * 60 * 60 * 1000
TO = Destinations("order-commands", "stock-commands", "parked")


@dataclass
class Raw:
    value: bytes | None
    offset: int = 7
    timestamp: int = T0
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=lambda: [("shop", b"lamps")])


class Says:
    """An adapter that reads b"fail" as malformed, b"bug" as our mistake, anything else as said."""

    platform = "taobao"
    version = 3

    def __init__(self, *said: Statement) -> None:
        self.said = list(said)

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        if payload == b"fail":
            raise MalformedPayload("orders[1].num", "0 is no quantity")
        if payload == b"bug":
            raise KeyError("num")
        return self.said


def an_intake(*said: Statement, shop: Shop | None = None, **entries: object) -> Intake:
    directory = Directory()
    known = shop or Shop(platform="taobao", shop="lamps")
    for entry in (known, *entries.values()):
        directory.put(reference_key(entry), json.encode(entry))
    return Intake({"taobao": Says(*said)}, directory, TO, DAY)


def observed(intake: Intake, value: bytes = b"{}") -> ObserveOrder:
    (output,) = intake.observe("taobao", "raw-orders-taobao", 2, Raw(value))
    assert output.topic == "order-commands"
    return msgpack.decode(output.value[PREFIX.size :], type=ObserveOrder)


def parked(intake: Intake, raw: Raw, platform: str = "taobao") -> Parked:
    (output,) = intake.observe(platform, f"raw-orders-{platform}", 2, raw)
    assert output.topic == "parked"
    return msgpack.decode(output.value[PREFIX.size :], type=Parked)


def test_a_statement_is_stamped_with_policy_sku_and_source():
    shop = Shop(
        platform="taobao",
        shop="lamps",
        hold_for_ms=60_000,
        holds={"alipay": HoldRule(hold_for_ms=30_000)},
        partial=True,
    )
    mapping = SkuMapping(platform="taobao", shop="lamps", theirs="LAMP-V1", ours="GARISH-LAMP")
    said = a_statement(None, a_line("LAMP-V1"), a_line("OTHER"), payment_method="alipay")

    command = observed(an_intake(said, shop=shop, mapping=mapping), b'{"some":"bytes"}')

    assert [line.sku for line in command.statement.lines] == ["GARISH-LAMP", "OTHER"]
    assert (command.policy.hold_for_ms, command.policy.partial) == (30_000, True)
    assert command.source.cause == "raw-orders-taobao/2/7"
    assert command.source.adapter == "taobao/3"
    assert command.source.received_ms == T0


def test_an_unmapped_sku_keeps_the_order_with_a_notice():
    shop = Shop(platform="taobao", shop="lamps", sku_mapping="listed")

    command = observed(an_intake(a_statement(None, a_line("LAMP-V1")), shop=shop))

    assert command.statement.lines[0].sku is None
    assert [notice.code for notice in command.statement.notices] == [NoticeCode.UNMAPPED_SKU]


def test_a_shop_without_an_entry_follows_its_platforms_entry_for_any_shop():
    anyone = Shop(platform="taobao", shop="*", hold_for_ms=5)

    assert observed(an_intake(a_statement(None, a_line("A")), shop=anyone)).policy.hold_for_ms == 5


FUTURE = a_statement(None, a_line("A"), created_at=Moment(T0 + DAY + 1, "tomorrow", "UTC"))
PARKED = {
    "a malformed field": (an_intake(), Raw(b"fail"), Cause.MALFORMED, "orders[1].num"),
    "our mistake": (an_intake(), Raw(b"bug"), Cause.BUG, ""),
    "no value": (an_intake(), Raw(None), Cause.UNREADABLE, ""),
    "900 kB": (an_intake(), Raw(b" " * 900_000), Cause.MALFORMED, "payload"),
    "an unknown shop": (
        an_intake(a_statement(None, a_line("A")), shop=Shop(platform="taobao", shop="rugs")),
        Raw(b"{}"), Cause.UNKNOWN_SHOP, "shop",
    ),
    "an order of tomorrow": (an_intake(FUTURE), Raw(b"{}"), Cause.FUTURE, "created_at"),
}  # fmt: skip


@pytest.mark.parametrize(("intake", "raw", "cause", "at_fault"), PARKED.values(), ids=PARKED.keys())
def test_what_cannot_be_used_is_parked_whole_with_the_field_at_fault(intake, raw, cause, at_fault):
    found = parked(intake, raw)

    assert (found.cause, found.field) == (cause, at_fault)
    assert found.reason
    assert found.value == (raw.value or b"")
    assert found.id == "raw-orders-taobao/2/7"
    assert (found.platform, found.shop) == ("taobao", "lamps")


def test_a_platform_nobody_reads_is_parked():
    assert parked(an_intake(), Raw(b"{}"), "myspace").cause is Cause.UNKNOWN_PLATFORM


def test_a_payload_at_the_limit_is_read():
    observed(an_intake(a_statement(None, a_line("A"))), b" " * PAYLOAD_BYTES_MAX)


def test_an_operators_command_goes_to_the_keeper_of_its_sku():
    command = receive("HUMBLE-RUG", 3)

    (output,) = an_intake().forward("operator-commands", 0, Raw(seal(command)))

    assert (output.topic, output.key) == ("stock-commands", b"HUMBLE-RUG")
    assert output.value == seal(command)


def test_an_operators_message_that_is_none_is_parked():
    (output,) = an_intake().forward("operator-commands", 0, Raw(b"\0" * 16 + b"\xc1"))

    assert output.topic == "parked"
