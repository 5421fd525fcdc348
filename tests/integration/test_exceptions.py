"""
Poison on the real stack: sixteen classes among good orders, each met once, then fixed and retried.

T43: one message that cannot be read stops nobody else, is kept whole, and can be sent again.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streams import raw_records
from streams.exceptions import queue
from streams.reads import Reads
from streams.topics import raw
from tests.adapters.samples import order
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import Installation, installation, until

pytestmark = pytest.mark.stack

SHOP = "qingyou"
#: Messages that cannot be read, and good orders between them.
BURST, BURST_GOOD = 4_000, 50


def a_trade(tid: str, **more: Any) -> dict[str, Any]:
    """A paid order of taobao of this id, with two lines."""
    body: dict[str, Any] = order("taobao") | {"tid": int(tid), "tid_str": tid}
    for nth, line in enumerate(body["orders"]["order"]):
        line |= {"oid": int(tid) * 10 + nth, "oid_str": f"{tid}{nth}"}
    return body | more


def with_line(tid: str, **more: Any) -> dict[str, Any]:
    body = a_trade(tid)
    body["orders"]["order"][0] |= more
    return body


def bytes_of(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def swapped(tid: str, old: bytes, new: bytes) -> bytes:
    said = bytes_of(a_trade(tid))
    assert old in said
    return said.replace(old, new, 1)


#: Class -> (bytes or None, platform, shop, cause, field at fault). What is parked.
PARKED: dict[str, tuple[bytes | None, str, str, str, str]] = {
    "bad UTF-8": (b'{"tid": 1, "buyer_nick": "\xff\xfe"}', "taobao", SHOP, "unreadable", ""),
    "bad JSON": (bytes_of(a_trade("9001"))[:-1], "taobao", SHOP, "unreadable", ""),
    "NaN": (swapped("9002", b'"num": 2', b'"num": NaN'), "taobao", SHOP, "unreadable", ""),
    "1e400": (
        swapped("9003", b'"num": 2', b'"num": 1e400'), "taobao", SHOP, "unreadable", "",
    ),
    "duplicate keys": (
        swapped("9013", b'"num": 2', b'"num": 2, "num": 200'), "taobao", SHOP, "malformed", "num",
    ),
    "depth 10,000": (b"[" * 10_000 + b"]" * 10_000, "taobao", SHOP, "unreadable", ""),
    "missing field": (
        swapped("9004", b'"num": 2,', b""), "taobao", SHOP, "malformed", "orders.order[0].num",
    ),
    "wrongly typed field": (
        bytes_of(a_trade("9005", payment={"yuan": 1})), "taobao", SHOP, "malformed", "payment",
    ),
    "unknown shop": (bytes_of(order("tmall")), "tmall", "nobody", "unknown_shop", "shop"),
    "quantity 0": (
        bytes_of(with_line("9006", num=0)), "taobao", SHOP, "malformed", "orders.order[0].num",
    ),
    "quantity -1": (
        bytes_of(with_line("9007", num=-1)), "taobao", SHOP, "malformed", "orders.order[0].num",
    ),
    "quantity 2^63": (
        bytes_of(with_line("9008", num=2**63)), "taobao", SHOP, "malformed", "orders.order[0].num",
    ),
    "year 9999": (
        bytes_of(a_trade("9009", created="9999-12-31 23:59:59")), "taobao", SHOP, "malformed",
        "created",
    ),
    "null value": (None, "taobao", SHOP, "unreadable", ""),
    "900 kB but valid": (
        bytes_of(a_trade("9010", filler="x" * 900_000)), "taobao", SHOP, "malformed", "payload",
    ),
    "lone surrogates": (
        swapped("9011", b'"num": 2', b'"num": 2, "title": "\\ud800"'), "taobao", SHOP,
        "malformed", "orders.order[0].title",
    ),
    "NUL": (
        bytes_of(with_line("9012", title="a\0b")), "taobao", SHOP, "malformed",
        "orders.order[0].title",
    ),
}  # fmt: skip
#: Class -> (bytes, order). What is strange and kept: parking it would stop an order that is right.
KEPT: dict[str, tuple[bytes, str]] = {
    "unknown status": (bytes_of(a_trade("8001", status="TRADE_DREAMT_OF")), "8001"),
    "unknown SKU": (bytes_of(with_line("8002", outer_sku_id="NEVER-HEARD-OF")), "8002"),
    "homoglyph SKU": (bytes_of(with_line("8003", outer_sku_id="ВASKET-L")), "8003"),
    "year 0001": (bytes_of(a_trade("8004", pay_time="0001-01-01 00:00:00")), "8004"),
    "an extra field": (bytes_of(a_trade("8005", brand_new={"a": [1]})), "8005"),
}
NEIGHBOURS = [str(7_000 + nth) for nth in range(2 * len(PARKED))]


async def feed(house: Installation) -> dict[str, str]:
    """Poison and good orders by turns, all twice; return each class's first place."""
    places: dict[str, str] = {}
    producer = raw_records.producer(house.settings)
    await producer.start()
    try:

        async def send(platform: str, shop: str, value: bytes | None, key: bytes) -> str:
            there = await producer.send_and_wait(
                house.settings.topic(raw(platform)),
                value=value,
                key=key,
                headers=raw_records.headers_of(shop),
            )
            return f"{raw(platform)}/{there.partition}/{there.offset}"

        neighbours = iter(NEIGHBOURS)
        for name, (value, platform, shop, _, _) in PARKED.items():
            for _ in range(2):
                tid = next(neighbours)
                await send("taobao", SHOP, bytes_of(a_trade(tid)), tid.encode())
            places[name] = await send(platform, shop, value, name.encode())
        for value, tid in KEPT.values():
            for _ in range(2):  # a record that comes twice is one order
                await send("taobao", SHOP, value, tid.encode())
    finally:
        await producer.stop()
    return places


def shown(house: Installation, tid: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = house.answer("order", "show", f"taobao:{SHOP}:{tid}")
    except AssertionError:
        return None
    return found


def open_ones(house: Installation) -> dict[str, dict[str, Any]]:
    return {
        row["id"]: row for row in house.answer("exceptions", "list", "--limit", "500")["exceptions"]
    }


async def test_poison_is_parked_once_each_and_its_neighbours_never_notice(tmp_path: Path):
    async with installation(tmp_path) as house:
        with house.running("intake,orders,stock,ledger"):
            for sku in ("BASKET-L", "HOOK-C"):
                house.orderflow("stock", "receive", sku, "1000", "--reason", "delivery")
            places = await feed(house)
            last = KEPT["an extra field"][1]
            await asyncio.to_thread(eventually, lambda: shown(house, last), 60)
            await asyncio.to_thread(eventually, lambda: len(open_ones(house)) >= len(PARKED), 30)

            found = open_ones(house)
            assert {
                name: (found[place]["cause"], found[place]["field"], found[place]["attempts"])
                for name, place in places.items()
            } == {name: (cause, field, 1) for name, (_, _, _, cause, field) in PARKED.items()}
            assert len(found) == len(PARKED)
            for name, (value, *_) in PARKED.items():
                assert found[places[name]]["bytes"] == len(value or b"")
            for name in ("bad UTF-8", "900 kB but valid"):
                assert house.answer("exceptions", "show", places[name])["retry"] == "possible"

            await _neighbours_are_reserved(house)
            await _fixed_and_retried_once(house, places)
            await _every_class_is_fixed(house, places)
            await _a_burst_is_parked_whole_and_holds_nobody_up(house)
            verdict = house.at_rest(within_s=30)
            assert verdict["ok"], json.dumps(verdict)


async def _neighbours_are_reserved(house: Installation) -> None:
    """Every good order, those on either side of each poison, has its stock."""
    for tid in (NEIGHBOURS[0], NEIGHBOURS[len(NEIGHBOURS) // 2], NEIGHBOURS[-1]):
        await asyncio.to_thread(
            eventually,
            lambda tid=tid: (
                (seen := shown(house, tid)) and seen["order"]["reservation"] == "reserved"
            ),
        )
    occupied = 2 * len(NEIGHBOURS) + 2 * 2  # two kept orders hold their baskets too
    await asyncio.to_thread(
        eventually,
        lambda: house.answer("stock", "show", "BASKET-L")["balance"]["occupied"] == occupied,
    )


async def _a_burst_is_parked_whole_and_holds_nobody_up(house: Installation) -> None:
    """Of a burst every message is an exception, and every good order between them is decided."""
    before = house.answer("exceptions", "list", "--cause", "malformed")["open"]
    good = [str(3_000_000 + nth) for nth in range(BURST_GOOD)]
    producer = raw_records.producer(house.settings)
    await producer.start()
    try:
        topic, headers = house.settings.topic(raw("taobao")), raw_records.headers_of(SHOP)
        sent = []
        for tid in good:
            for nth in range(BURST // BURST_GOOD):
                bad = b'{"tid": %s%d}' % (tid.encode(), nth)
                sent.append(await producer.send(topic, bad, headers=headers))
            value = bytes_of(a_trade(tid, seller_memo="between"))
            sent.append(await producer.send(topic, value, tid.encode(), headers=headers))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()

    def counted() -> int:
        found: int = house.answer("exceptions", "list", "--cause", "malformed")["open"]
        return found - before

    await asyncio.to_thread(eventually, lambda: counted() >= BURST, 120)
    assert counted() == BURST
    async with Reads(house.env["ORDERFLOW_POSTGRES_READER"]) as reads:

        async def all_reserved() -> bool:
            return all([await _is_reserved(reads, tid) for tid in good])

        await until(all_reserved)
    # And all of them leave in one action.
    done = house.answer(
        "exceptions", "discard", "--cause", "malformed", "--shop", SHOP, "--reason", "a burst"
    )
    assert done["counts"]["discarded"] >= BURST
    assert counted() <= 0


async def _is_reserved(reads: Reads, tid: str) -> bool:
    found = await reads.order(f"taobao:{SHOP}:{tid}")
    return bool(found) and found[0]["reservation"] == "reserved"


async def _fixed_and_retried_once(house: Installation, places: dict[str, str]) -> None:
    place = places["quantity 0"]
    # As it is it comes back, and says what it was.
    house.orderflow("exceptions", "retry", place, "--reason", "let us see", "--operator", "mei")
    again = await asyncio.to_thread(
        eventually,
        lambda: [row for row in open_ones(house).values() if f"it was {place}" in row["reason"]],
    )
    assert [row["field"] for row in again] == ["orders.order[0].num"]
    assert place not in open_ones(house)
    place = again[0]["id"]

    right = house.folder / "right.json"
    right.write_bytes(bytes_of(with_line("9006", num=3)))
    why = ("--reason", "it was three", "--operator", "mei")
    house.orderflow("exceptions", "edit", place, str(right), *why)
    wrong = house.folder / "wrong.json"
    wrong.write_text("{")
    house.orderflow("exceptions", "edit", place, str(wrong), *why, code=2)
    house.orderflow("exceptions", "retry", place, *why)
    await asyncio.to_thread(
        eventually,
        lambda: (
            (seen := shown(house, "9006")) and seen["order"]["reservation"] == "reserved" and seen
        ),
    )
    # Settled: asked again, nothing is sent again.
    said = house.answer("exceptions", "retry", place, "--reason", "twice")
    assert said["counts"] == {"settled before": 1}
    row = house.answer("exceptions", "show", place)
    assert (row["settled_as"], row["settled_by"], row["settled_why"]) == (
        "retried", "mei", "it was three",
    )  # fmt: skip
    events = house.answer("explain", "order", f"taobao:{SHOP}:9006")["decisions"]
    assert [each["event"] for each in events].count("order.reserved") == 1

    # The shop becomes known; all of that cause go in one action, after a count.
    file = house.folder / "tmall.toml"
    file.write_text('[[shops]]\nplatform = "tmall"\nshop = "nobody"\n')
    house.orderflow("reference", "apply", str(file))
    counted = house.answer(
        "exceptions", "retry", "--cause", "unknown_shop", "--dry-run", "--reason", "x"
    )
    assert counted["ids"] == [places["unknown shop"]]
    house.orderflow("exceptions", "retry", "--cause", "unknown_shop", "--reason", "it is known now")
    tid = str(order("tmall")["tid"])
    await asyncio.to_thread(
        eventually, lambda: house.answer("order", "show", f"tmall:nobody:{tid}")["ok"]
    )

    # What nobody can use is left for good, with a name and a reason.
    house.orderflow("exceptions", "discard", places["null value"], "--reason", "a probe of theirs")
    left = open_ones(house)
    assert not {place, places["unknown shop"], places["null value"]} & left.keys()
    assert len(left) == len(PARKED) - 3


async def _every_class_is_fixed(house: Installation, places: dict[str, str]) -> None:
    """Whatever was wrong with it, the right bytes apply once, though two people send them."""
    before = house.answer("stock", "show", "BASKET-L")["balance"]["occupied"]
    open_now = open_ones(house)
    ids = {
        str(9_100 + nth): place for nth, place in enumerate(places.values()) if place in open_now
    }
    assert len(ids) == len(PARKED) - 3
    dsn = house.env["ORDERFLOW_POSTGRES_OPERATIONS"]
    outcomes: Counter[str] = Counter()
    for tid, place in ids.items():
        why, right = "it was a typing error", bytes_of(a_trade(tid))
        await queue.edit(dsn, place, right, "mei", why)
        both = await asyncio.gather(
            *(queue.retry(house.settings, dsn, [place], by, why) for by in ("mei", "lin"))
        )
        outcomes.update(settled.outcome for done in both for settled in done)
    assert outcomes["retried"] == len(ids)

    await asyncio.to_thread(
        eventually,
        lambda: (
            house.answer("stock", "show", "BASKET-L")["balance"]["occupied"]
            == before + 2 * len(ids)
        ),
    )
    assert await asyncio.to_thread(eventually, lambda: not open_ones(house))
    for tid in (min(ids), max(ids)):
        story = house.answer("explain", "order", f"taobao:{SHOP}:{tid}")["decisions"]
        assert [each["event"] for each in story].count("order.reserved") == 1
