"""
What one generated three-line order costs before it reaches the broker: its reading, and intake.

In this process and without a broker, so that a change of an adapter shows in a second: each
platform's payloads of a seeded trade are read by its adapter (`parse`), and go through the whole
of intake (shop, SKUs, digest, sealed command); once as the platform sends them, and once without
what nobody here reads, 1.6 to 1.9 kB, as who asks an API for named fields gets them. The best run
counts, because everything else on the machine can only add to it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from msgspec import json

from agents.intake import SHOP_HEADER, Destinations, Intake
from agents.reference import Directory, reference_key
from schemas.reference import Shop
from streams.adapters import ADAPTERS
from streams.bench.processes import machine
from streams.feed.payloads import render
from streams.feed.trade import SHOP, Trade, statements
from streams.topics import ORDER_COMMANDS, PARKED, STOCK_COMMANDS

PLATFORMS = ("taobao", "douyin", "shopify")
#: What a compact payload leaves out, wherever it stands: fields whose absence changes nothing.
_UNREAD = {
    "taobao": "type seller_nick adjust_fee received_payment shipping_type trade_from discount_fee"
    " request_id outer_iid num_iid",
    "douyin": "msg sub_code sub_msg log_id shop_id shop_name open_id order_level biz biz_desc"
    " order_type trade_type pay_type order_expire_time cancel_reason order_amount"
    " promotion_shop_amount promotion_platform_amount promotion_talent_amount promotion_pay_amount"
    " modify_amount promotion_detail parent_order_id product_id_str out_sku_id out_product_id spec"
    " goods_type refund_status id product_id",
    "shopify": "admin_graphql_api_id cancel_reason confirmed contact_email note number"
    " presentment_currency processed_at subtotal_price test total_line_items_price"
    " presentment_money price_set amount_set requires_shipping taxable total_discount"
    " discount_applications product_id discount_application_index province_code",
}
_DAY_MS = 24 * 3_600_000
_US = 1_000_000


class NotReadError(Exception):
    """Intake parked a generated order: its cost is no figure."""


@dataclass(slots=True)
class _Record:
    """A raw record, as intake reads it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def measure(orders: int, runs: int) -> dict[str, Any]:
    """Return the µs an order of each platform costs; *orders* of each, the best of *runs*."""
    adapters: Mapping[str, Any] = ADAPTERS  # frozen: their attributes are read-only
    intake = Intake(
        adapters,
        _directory(),
        Destinations(ORDER_COMMANDS.name, STOCK_COMMANDS.name, PARKED.name),
        _DAY_MS,
    )
    whole = {name: _records(name, orders) for name in PLATFORMS}
    small = {
        name: [replace(record, value=compact(name, record.value or b"")) for record in records]
        for name, records in whole.items()
    }
    return {
        "orders": orders,
        "runs": runs,
        **_figures(intake, whole, runs),
        "compact": _figures(intake, small, runs),
        "machine": machine(None),
    }


def compact(platform: str, payload: bytes) -> bytes:
    """Return *payload* without what no adapter reads."""
    return orjson.dumps(_without(orjson.loads(payload), frozenset(_UNREAD[platform].split())))


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(part, names) for key, part in value.items() if key not in names}
    return [_without(part, names) for part in value] if isinstance(value, list) else value


def _figures(intake: Intake, records: Mapping[str, Sequence[_Record]], runs: int) -> dict[str, Any]:
    platforms = {name: _platform(name, intake, those, runs) for name, those in records.items()}
    mean_us = sum(found["intake_us"] for found in platforms.values()) / len(platforms)
    return {"platforms": platforms, "intake_us": mean_us, "rate": _US / mean_us}


def _platform(name: str, intake: Intake, records: Sequence[_Record], runs: int) -> dict[str, float]:
    orders = len(records)
    payloads = [record.value or b"" for record in records]
    _check(name, intake, records)

    def read() -> None:
        parse = ADAPTERS[name].parse
        for payload in payloads:
            parse(payload, SHOP)

    def observe() -> None:
        for record in records:
            intake.observe(name, "raw", 0, record)

    return {
        "bytes": sum(map(len, payloads)) / orders,
        "parse_us": _best_us(read, orders, runs),
        "intake_us": _best_us(observe, orders, runs),
    }


def _check(name: str, intake: Intake, records: Sequence[_Record]) -> None:
    for record in records:
        topics = [output.topic for output in intake.observe(name, "raw", 0, record)]
        if topics != [ORDER_COMMANDS.name]:
            raise NotReadError(f"order {record.offset} of {name} went to {topics}")


def _best_us(work: Callable[[], None], orders: int, runs: int) -> float:
    """Return the µs of CPU an order took in the best of *runs*."""
    best_s = float("inf")
    for _ in range(runs):
        began_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s / orders * _US


def _records(name: str, orders: int) -> list[_Record]:
    """Return the first statement of each order of a seeded trade."""
    trade = Trade(orders=orders, platforms=(name,), unpaid=True)
    headers = [(SHOP_HEADER, SHOP.encode())]
    return [
        _Record(offset, said.draft.created_s * 1000, None, render(said.draft, said.step), headers)
        for offset, said in enumerate(statements(trade))
    ]


def _directory() -> Directory:
    directory = Directory()
    for name in PLATFORMS:
        shop = Shop(platform=name, shop=SHOP)
        directory.put(reference_key(shop), json.encode(shop))
    return directory
