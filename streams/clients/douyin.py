"""
Douyin Shop: orders searched by their time of update, whole.

The business parameters are JSON with sorted keys; exactly what is signed is sent as the body.
Pages are numbered from 0.
"""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from msgspec import Raw, Struct

from agents.channel_stock import Level
from streams.clients.calls import (
    FINE,
    Access,
    Answer,
    Client,
    Kind,
    Listing,
    Page,
    Parcel,
    Rate,
    Request,
    Shipping,
    Stocking,
    Verdict,
    Window,
    by_status,
    shortened,
)
from streams.clients.parts import (
    JSON,
    backwards,
    compact,
    cut,
    field_of,
    hmac_hex,
    loosely,
    page_of,
    raws,
    under,
)

_SIZE = 100
_YES = 10000
_LIMIT = 60000
_FIRST = 0
_DENIED = (
    "isv.access-token", "isv.app-id", "isv.signature", "isv.authorization", "isv.invalid_ip",
)  # fmt: skip
_THEIRS = "isp."


def sign(secret: str, app_key: str, method: str, param_json: str, timestamp: int) -> str:
    """Return the signature: the secret around names and values, as an HMAC of the same secret."""
    text = f"app_key{app_key}method{method}param_json{param_json}timestamp{timestamp}v2"
    return hmac_hex(secret, secret + text + secret)


def _call(access: Access, now_ms: int, method: str, asked: dict[str, Any]) -> Request:
    body, at = compact(asked), now_ms // 1000
    params = {
        "method": method,
        "app_key": access.app_key,
        "access_token": access.access_token,
        "timestamp": str(at),
        "v": "2",
        "sign": sign(access.app_secret, access.app_key, method, body, at),
        "sign_method": "hmac-sha256",
    }
    path = "/" + method.replace(".", "/")
    url = f"{access.base_url}{path}?{urlencode(params)}"
    return Request(method="POST", url=url, headers=JSON, body=body.encode())


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of orders updated in *window*."""
    asked = {
        "update_time_start": window.from_ms // 1000,
        "update_time_end": window.to_ms // 1000,
        "order_by": "update_time",
        "order_asc": True,
        "page": page_of(mark, _FIRST),
        "size": _SIZE,
    }
    return _call(access, now_ms, "order.searchList", asked)


class _Found(Struct):
    total: int = 0
    shop_order_list: list[Raw] | None = None


class _Searched(Struct):
    data: _Found


def read_page(answer: Answer, mark: str | None) -> Page:
    """Return the orders of one page, as they are."""
    found = cut(answer, _Searched).data
    return backwards(mark, found.total, _SIZE, first=_FIRST, orders=raws(found.shop_order_list))


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for one order."""
    return _call(access, now_ms, "order.orderDetail", {"shop_order_id": ids[0]})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    order = under(answer, "data", "shop_order_detail")
    return {field_of(order, "order_id"): order}


def verdict(answer: Answer) -> Verdict:
    """Read `code` and `sub_code`; the platform answers errors with 200."""
    body = loosely(answer)
    code = body.get("code")
    if code is None or answer.status != 200:
        return by_status(answer)
    if code == _YES:
        return FINE
    sub = str(body.get("sub_code", ""))
    reason = shortened(code, sub, body.get("sub_msg") or body.get("msg"))
    if sub.startswith(_DENIED):
        return Verdict(Kind.DENIED, reason)
    if code == _LIMIT or "limit" in sub:
        return Verdict(Kind.THROTTLED, reason)
    return Verdict(Kind.AWAY if sub.startswith(_THEIRS) else Kind.REFUSED, reason)


#: "Busy, try again", although the platform files it under the caller's faults.
_SHIPS_LATER = frozenset(
    f"isv.business-failed:{code}"
    for code in (8888, 60106, 60114, 60118, 60121, 60124, 60125, 60132, 70009, 70011, 120032)
)


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Tell of a parcel (`order.logisticsAddMultiPack`) with units of lines.

    The same `request_id`, made of the push, is done once, however often it is asked.
    """
    push, label = parcel.push, parcel.labels[0]
    asked = {
        "order_id": push.order_id,
        "pack_list": [
            {
                "company_code": label.carrier.code,
                "logistics_code": label.tracking_number,
                "shipped_order_info": [
                    {"shipped_num": line.quantity, "shipped_order_id": line.line_id}
                    for line in push.lines
                ],
            }
        ],
        "request_id": str(uuid5(NAMESPACE_URL, push.id)),
    }
    return _call(access, now_ms, "order.logisticsAddMultiPack", asked)


def ship_verdict(answer: Answer) -> Verdict:
    """As for orders; some refusals only mean that the platform is busy."""
    said = verdict(answer)
    if loosely(answer).get("sub_code") in _SHIPS_LATER:
        return Verdict(Kind.AWAY, said.reason)
    return said


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Set what may be sold of one SKU (`sku.syncStock`, `incremental` false)."""
    asked = {
        "incremental": False,
        "product_id": int(listing.item),
        "sku_id": int(listing.sku),
        "stock_num": level.quantity,
    }
    return _call(access, now_ms, "sku.syncStock", asked)


CLIENT = Client(
    platform="douyin",
    base_url="https://openapi-fxg.jinritemai.com",
    needs=("app_key", "app_secret", "access_token"),
    cursor_field="update_time",
    pages="numbered from 0, read from the last one backwards",
    rate=Rate(per_s=5, burst=5, stated="ours: the platform's figure is not known here"),
    window_max=timedelta(hours=1),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=ship_verdict),
    stocks=Stocking(ask=stock, verdict=verdict, needs_item=True),
    unsure="Its limits. A token is good for days and is renewed elsewhere.",
)
