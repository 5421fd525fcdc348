"""Sample payloads, and copies of them with one thing changed."""

import copy
from pathlib import Path
from typing import Any

import orjson

from schemas.orders import Statement
from streams.adapters import adapter_for

PAYLOADS = Path(__file__).parent / "payloads"

#: One plain order of each platform: its file and where the order stands in it.
ORDERS = {
    "taobao": ("trade_paid_two_lines", ("trade_fullinfo_get_response", "trade")),
    "tmall": ("trade_paid_two_lines", ("trade_fullinfo_get_response", "trade")),
    "douyin": ("order_paid_two_lines", ("data", "shop_order_detail")),
    "shopify": ("order_partially_refunded", ("order",)),
    "jd": ("order_paid", ()),
    "pdd": ("order_paid", ("order_info_get_response", "order_info")),
    "kuaishou": ("order_paid", ("data",)),
    "xiaohongshu": ("order_paid_two_lines", ("data",)),
    "amazon": ("v2026-01-01_getOrder_example", ("order",)),
    "woocommerce": ("order_processing", ()),
    "tiktokshop": ("order_awaiting_shipment", ("data", "orders", 0)),
    "shopee": ("order_detail_completed", ("response", "order_list", 0)),
    "mall": ("order_placed", ()),
}


def raw(platform: str, name: str) -> bytes:
    return (PAYLOADS / platform / f"{name}.json").read_bytes()


def sample(platform: str, name: str) -> Any:
    return orjson.loads(raw(platform, name))


def order(platform: str, name: str | None = None) -> Any:
    """The bare order of a sample, free to be changed."""
    default, path = ORDERS[platform]
    body = sample("taobao" if platform == "tmall" else platform, name or default)
    for key in path:
        body = body[key]
    return copy.deepcopy(body)


def parse(platform: str, body: Any) -> list[Statement]:
    payload = body if isinstance(body, bytes) else orjson.dumps(body)
    return adapter_for(platform).parse(payload, "shop")


def read(platform: str, body: Any) -> Statement:
    (statement,) = parse(platform, body)
    return statement


def put(body: Any, path: str, value: Any) -> Any:
    """A copy of *body* with *value* at *path* (`orders.order.0.num`); None of `DROP` removes it."""
    changed = copy.deepcopy(body)
    at = changed
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        at = at[key]
    if value is DROP:
        del at[last]
    else:
        at[last] = value
    return changed


DROP = object()
