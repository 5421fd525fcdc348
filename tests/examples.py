"""
One example of every public event, as it stands on its topic: key, headers, data.

They come from the keepers themselves, on a simulated log: `python -m tests.examples` writes them
into `docs/events/examples/`, and a test compares. Whoever writes a subscriber tries it on them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.letters import CE_CHANNELS, public_event
from schemas.channels import ChannelSilent, ChannelTalking, TalksAgain
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
from schemas.stock import AllotStock, CountStock, ReleaseStock, Verb
from tests.builders import (
    HOLD_FOR,
    MINUTE,
    T0,
    a_line,
    a_statement,
    an_id,
    first_id_again,
    observe,
    receive,
)
from tests.simulation import House

EXAMPLES = Path(__file__).parents[1] / "docs" / "events" / "examples"
TOPICS = ("order-events", "stock-events")
Headers = tuple[tuple[str, bytes], ...]


def a_day() -> House:
    """A day on which every kind of event happens that a keeper tells."""
    first_id_again()
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
    _by_hand(house)
    house.settle()
    return house


def _by_hand(house: House) -> None:
    window = {"quota": "11-11", "starts_ms": T0, "ends_ms": 2 * T0}
    why = {"reason": "singles day", "operator": "mei"}
    house.tell(
        AllotStock(id=an_id(), sku="LAMP", quantity=5, **window, **why),
        CountStock(id=an_id(), sku="LAMP", counted=0, **why),
        ReturnGoods(
            id=an_id(), order="taobao:lamps:3", sku="LAMP", quantity=1,
            disposition=Disposition.SELLABLE, **why,
        ),
        ShipOrder(
            id=an_id(), order="taobao:lamps:4", carrier="SF", tracking_number="SF1001", **why
        ),
        SettleCase(
            id=an_id(), order="taobao:lamps:2", case=Case.PAID_BUT_SHORT, choice=Choice.REFUND,
            **why,
        ),
    )  # fmt: skip


def heard(house: House) -> Iterator[tuple[str, bytes | None, bytes, Headers]]:
    """Yield topic, key, data and headers of every public event of *house*."""
    for topic in TOPICS:
        for partition in range(house.partitions):
            for record in house.log(topic, partition):
                yield topic, record.key, record.value or b"", record.headers


def examples() -> dict[str, dict[str, Any]]:
    """Return event type -> one event of it: topic, key, headers, data."""
    house = a_day()
    # What a keeper says only when something else is wrong, and what an operator says.
    house.tell(
        ReleaseStock(
            order="taobao:lamps:9", sku="LAMP", verb=Verb.RELEASE, cause="order-commands/0/9"
        )
    )
    house.settle()
    house.announce("stock", 1)
    found: dict[str, dict[str, Any]] = {}
    for topic, key, value, headers in (*heard(house), *_of_channels()):
        named = {name: said.decode() for name, said in headers}
        found.setdefault(
            named["ce_type"],
            {
                "topic": topic,
                "key": key.decode() if key else None,
                "headers": named,
                "data": json.loads(value),
            },
        )
    return dict(sorted(found.items()))


def _of_channels() -> Iterator[tuple[str, bytes, bytes, Headers]]:
    """What the poller tells; a test on the real stack has what it really sends."""
    about = {"silence": 7, "platform": "douyin", "shop": "shanjiao", "last_order_ms": T0}
    silent = ChannelSilent(**about, at_ms=T0 + 40 * MINUTE, expected_orders=12)
    talking = ChannelTalking(
        **about, at_ms=T0 + 55 * MINUTE, by=TalksAgain.ORDER, began_ms=T0 + 40 * MINUTE
    )
    for said, end in ((silent, "began"), (talking, "ended")):
        value, headers = public_event(said, CE_CHANNELS, f"silence/7/{end}", said.at_ms)
        yield "channel-events", b"douyin/shanjiao", value, tuple(headers)


def text_of(example: dict[str, Any]) -> str:
    """Return an example as it stands in its file."""
    return json.dumps(example, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    for name, example in examples().items():
        (EXAMPLES / f"{name}.json").write_text(text_of(example), encoding="utf-8")
