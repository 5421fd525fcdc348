"""Intake: what platforms and operators said becomes commands, or is parked with its reason."""

from dataclasses import dataclass, field

import pytest
from msgspec import json, msgpack, structs

from agents.intake import PAYLOAD_BYTES_MAX, Destinations, Intake
from agents.letters import PREFIX, seal
from agents.reference import Directory, reference_key
from schemas.base import Moment
from schemas.errors import MalformedPayload, Refusal
from schemas.orders import (
    Component,
    Disposition,
    NoticeCode,
    ObserveOrder,
    Receiver,
    ReturnGoods,
    Statement,
    Status,
)
from schemas.parked import Cause, Parked
from schemas.reference import HoldRule, Kit, KitPart, Shop, SkuMapping
from schemas.stock import RefuseStock, StockCommand
from tests.builders import T0, a_line, a_statement, an_id, receive

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
    "a thin message of tomorrow": (
        an_intake(a_statement(Status.PAID, at=DAY + 1, created_at=None, updated_at=None)),
        Raw(b"{}"), Cause.FUTURE, "stated_ms",
    ),
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


# --- kits, quotas, warehouses ---------------------------------------------------------------------

SEVERAL = Shop(
    platform="taobao",
    shop="lamps",
    quota="11-11",
    warehouses=("ningbo", "chengdu"),
    warehouse_by="province",
    provinces={"四川": "chengdu", "Yunnan": "chengdu"},
)
SET = Kit(sku="BATH-SET", parts=(KitPart(sku="HOOK", quantity=4), KitPart(sku="RUG", quantity=1)))


def test_t26_a_kit_is_stamped_with_its_parts_and_another_sku_with_none():
    said = a_statement(None, a_line("BATH-SET", 2), a_line("RUG"))

    lines = observed(an_intake(said, kit=SET)).statement.lines

    assert lines[0].components == (Component("HOOK", 4), Component("RUG", 1))
    assert lines[1].components == ()


def test_a_kit_that_is_taken_out_of_the_reference_data_is_none_any_more():
    directory = Directory()
    directory.put(reference_key(SET), json.encode(SET))
    assert directory.parts("BATH-SET")

    directory.put(reference_key(SET), None)

    assert directory.parts("BATH-SET") == ()


@pytest.mark.parametrize(
    ("receiver", "warehouse"),
    [
        (Receiver(province="四川省"), "chengdu"),
        (Receiver(province="Yunnan"), "chengdu"),
        (Receiver(province="浙江省"), "ningbo"),  # nobody is named for it: the first
        (Receiver(), "ningbo"),  # the body does not say it
        (None, "ningbo"),
    ],
)
def test_the_rule_of_the_shop_chooses_the_warehouse_before_the_hold(receiver, warehouse):
    said = a_statement(None, a_line("RUG"), receiver=receiver)

    policy = observed(an_intake(said, shop=SEVERAL)).policy

    assert (policy.warehouse, policy.quota) == (warehouse, "11-11")


def test_a_shop_with_one_warehouse_keeps_its_stock_under_the_sku_alone():
    shop = Shop(platform="taobao", shop="lamps", warehouses=("ningbo",))

    assert observed(an_intake(a_statement(None, a_line("RUG")), shop=shop)).policy.warehouse == ""


def test_another_rule_is_a_class_and_a_name():
    class Last:
        def choose(self, shop: Shop, said: Statement) -> str:
            return shop.warehouses[-1]

    shop = structs.replace(SEVERAL, warehouse_by="last")
    directory = Directory()
    directory.put(reference_key(shop), json.encode(shop))
    says = {"taobao": Says(a_statement(None, a_line("RUG")))}
    intake = Intake(says, directory, TO, DAY, {"last": Last()})

    assert observed(intake).policy.warehouse == "chengdu"


def test_kits_of_more_parts_than_an_orders_row_can_keep_are_parked():
    parts = tuple(KitPart(sku=f"PART-{number}", quantity=1) for number in range(50))
    lines = [a_line("HUGE", line_id=str(number)) for number in range(41)]

    found = parked(
        an_intake(a_statement(None, *lines), kit=Kit(sku="HUGE", parts=parts)), Raw(b"{}")
    )

    assert (found.cause, found.field) == (Cause.MALFORMED, "lines")


# --- operators' commands that cannot be -----------------------------------------------------------


def refused(intake: Intake, sku: str) -> Refusal | None:
    """The refusal intake sends to the keeper in the command's place, if any."""
    (output,) = intake.forward("operator-commands", 0, Raw(seal(receive(sku, 3))))
    assert (output.topic, output.key) == ("stock-commands", sku.encode())
    command = msgpack.decode(output.value[PREFIX.size :], type=StockCommand)
    return command.refusal if isinstance(command, RefuseStock) else None


def test_a_warehouse_that_does_not_exist_is_refused():
    intake = an_intake(shop=SEVERAL)

    assert refused(intake, "RUG@ningbo") is None
    assert refused(intake, "RUG@nowhere") is Refusal.UNKNOWN_WAREHOUSE
    assert refused(an_intake(), "USER@HOME") is None, "a house without warehouses may use the sign"


@pytest.mark.parametrize("name", ["hook", "Hook", "ＨＯＯＫ", "hook@ningbo"])
def test_a_sku_of_another_case_or_width_is_refused(name: str):
    assert refused(an_intake(shop=SEVERAL, kit=SET), name) is Refusal.MISSPELT_SKU
    assert refused(an_intake(shop=SEVERAL, kit=SET), "HOOK") is None


def test_two_skus_that_people_did_name_alike_are_both_known():
    alike = {
        name: SkuMapping(platform="taobao", shop="lamps", theirs=name, ours=name)
        for name in ("ab-1", "AB-1")
    }
    intake = an_intake(one=alike["ab-1"], other=alike["AB-1"])

    assert (refused(intake, "ab-1"), refused(intake, "AB-1")) == (None, None)
    assert refused(intake, "Ab-1") is Refusal.MISSPELT_SKU


def test_a_command_about_an_order_goes_to_the_orders_keeper():
    command = ReturnGoods(
        id=an_id(),
        order="taobao:lamps:1",
        sku="RUG",
        quantity=1,
        disposition=Disposition.LOST,
        reason="no parcel",
        operator="mei",
    )

    (output,) = an_intake().forward("operator-commands", 0, Raw(seal(command)))

    assert (output.topic, output.key) == ("order-commands", b"taobao:lamps:1")
    assert output.value == seal(command)


RUG_FOR = ("RUG", 1, "why", "mei")
NONSENSE = {
    "an unknown verb": ["VaporizeStock", an_id(), *RUG_FOR],
    "a negative quantity": ["ReceiveStock", an_id(), "RUG", -1, "why", "mei"],
    "no quantity": ["ReceiveStock", an_id(), "RUG", 0, "why", "mei"],
    "a huge quantity": ["ReceiveStock", an_id(), "RUG", 10**12, "why", "mei"],
    "half a unit": ["ReceiveStock", an_id(), "RUG", 0.5, "why", "mei"],
    "a negative count": ["CountStock", an_id(), "RUG", -1, "why", "mei"],
    "an empty sku": ["ReceiveStock", an_id(), "", 1, "why", "mei"],
    "a quota without a name": ["AllotStock", an_id(), *RUG_FOR, "", 0, 1],
    "a window before 1970": ["AllotStock", an_id(), *RUG_FOR, "q", -1, 1],
    "a window in seconds of no year": ["AllotStock", an_id(), *RUG_FOR, "q", 0, 10**17],
    "a disposition nobody knows": ["ReturnGoods", an_id(), "t:s:1", "RUG", 1, "eaten", "y", "mei"],
    "a choice nobody has": ["SettleCase", an_id(), "t:s:1", "paid_but_short", "pray", "y", "mei"],
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_command_that_is_none_is_parked_whole_and_reaches_no_keeper(said: list):
    raw = Raw(b"\0" * 16 + msgpack.encode(said))

    (output,) = an_intake().forward("operator-commands", 0, raw)

    assert output.topic == "parked"
    found = msgpack.decode(output.value[PREFIX.size :], type=Parked)
    assert found.cause is Cause.MALFORMED
    assert found.value == raw.value
    assert found.reason


def test_t31_one_policy_table_says_how_long_each_payment_method_holds():
    shop = Shop(
        platform="taobao", shop="lamps", holds={"bank": HoldRule(hold_for_ms=24 * 3600_000)}
    )
    held = {
        method: observed(
            an_intake(a_statement(None, a_line("A"), payment_method=method), shop=shop)
        ).policy.hold_for_ms
        for method in (None, "alipay", "bank")
    }

    assert held == {None: 15 * 60_000, "alipay": 15 * 60_000, "bank": 24 * 3600_000}
