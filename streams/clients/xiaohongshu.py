"""
Xiaohongshu: order ids by their time of update, each order in full; one address for every method.

`timeType` 2 is the time of update; its span has at most 30 minutes, in seconds.
"""

from datetime import timedelta
from hashlib import md5
from typing import Any

from msgspec import Struct

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
    loosely,
    page_of,
    under,
)

_SIZE = 50
_BY_UPDATE = 2
_LIMITED = -9013
_LIMITED_SAID = "限流"
_UNAUTHORIZED = 401


def sign(secret: str, app_id: str, method: str, timestamp: int) -> str:
    """Return the signature; what is asked is not part of it."""
    text = f"{method}?appId={app_id}&timestamp={timestamp}&version=2.0{secret}"
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _call(access: Access, now_ms: int, method: str, asked: dict[str, Any]) -> Request:
    at = now_ms // 1000
    body = {
        **asked,
        "accessToken": access.access_token,
        "appId": access.app_key,
        "method": method,
        "sign": sign(access.app_secret, access.app_key, method, at),
        "timestamp": str(at),
        "version": "2.0",
    }
    return Request(method="POST", url=access.base_url, headers=JSON, body=compact(body).encode())


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of orders updated in *window*."""
    asked = {
        "startTime": window.from_ms // 1000,
        "endTime": window.to_ms // 1000,
        "timeType": _BY_UPDATE,
        "pageNo": page_of(mark),
        "pageSize": _SIZE,
    }
    return _call(access, now_ms, "order.getOrderList", asked)


class _Brief(Struct, rename="camel"):
    order_id: str


class _Found(Struct, rename="camel"):
    total: int = 0
    order_list: list[_Brief] | None = None


class _Listed(Struct):
    data: _Found


def read_page(answer: Answer, mark: str | None) -> Page:
    """Return the ids of one page: a list says little of an order."""
    found = cut(answer, _Listed).data
    ids = tuple(brief.order_id for brief in found.order_list or ())
    return backwards(mark, found.total, _SIZE, ids=ids)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for one order."""
    return _call(access, now_ms, "order.getOrderDetail", {"orderId": ids[0]})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    order = under(answer, "data")
    return {field_of(order, "orderId"): order}


def verdict(answer: Answer) -> Verdict:
    """Read `success` and `error_code`; the platform answers a limit with 200."""
    body = loosely(answer)
    if "success" not in body or answer.status != 200:
        return by_status(answer)
    code, said = body.get("error_code"), str(body.get("error_msg") or "")
    if body["success"] is True and code in (0, None):
        return FINE
    reason = shortened(code, said)
    if code == _LIMITED or _LIMITED_SAID in said:
        return Verdict(Kind.THROTTLED, reason)
    if code == _UNAUTHORIZED:
        return Verdict(Kind.DENIED, reason)
    return Verdict(Kind.REFUSED, reason)


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Tell of a parcel (`order.orderDeliver`): the whole order, or some of its SKUs (`unpack`)."""
    push, label = parcel.push, parcel.labels[0]
    asked: dict[str, Any] = {
        "deliveringTime": push.shipped_ms,
        "expressCompanyCode": label.carrier.code,
        "expressNo": label.tracking_number,
        "orderId": push.order_id,
    }
    if not (push.last and push.parcel == 1):
        asked |= {
            "skuIdList": [line.platform_sku or line.line_id for line in push.lines],
            "unpack": True,
        }
    return _call(access, now_ms, "order.orderDeliver", asked)


def stock_there(access: Access, listing: Listing, now_ms: int) -> Request:
    """Ask what there is of one SKU (`inventory.getSkuStock`), sold and not yet paid too."""
    return _call(access, now_ms, "inventory.getSkuStock", {"skuId": listing.sku})


class _Levels(Struct):
    available: int
    total: int


class _Sku(Struct, rename="camel"):
    sku_stock: _Levels


class _There(Struct):
    data: _Sku


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:
    """
    Set what may be sold of one SKU (`inventory.syncSkuStock`).

    The platform takes a total, with what waits to be paid and what is kept for campaigns in it, and
    makes what may be sold of it. So what was *seen* beside the sellable is put on top.
    """
    there = cut(Answer(status=200, body=seen), _There).data.sku_stock
    total = level.quantity + max(0, there.total - there.available)
    asked = {"qty": total, "skuId": listing.sku}
    return _call(access, now_ms, "inventory.syncSkuStock", asked)


CLIENT = Client(
    platform="xiaohongshu",
    base_url="https://ark.xiaohongshu.com/ark/open_api/v3/common_controller",
    needs=("app_key", "app_secret", "access_token"),
    cursor_field="updateTime",
    pages="numbered, read from the last one backwards",
    rate=Rate(per_s=5, burst=5, stated="ours: the platform's figure is not known here"),
    window_max=timedelta(minutes=30),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=verdict),
    stocks=Stocking(ask=stock, verdict=verdict, look=stock_there),
    unsure="Which codes mean that the token is refused, beside 401.",
)
