"""
Pinduoduo: the increment of order numbers, and each order in full.

The platform's rules for the increment: a span of at most 30 minutes that ends at least three
minutes ago, read from the last page backwards, or orders are missed.
"""

from datetime import timedelta
from typing import Any

from msgspec import Struct

from agents.channel_stock import Level
from streams.clients.calls import (
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
    backwards,
    cut,
    field_of,
    inside,
    loosely,
    page_of,
    posted,
    signed,
    under,
)

_SIZE = 100
_ALL = "5"


def _call(access: Access, now_ms: int, type_: str, **asked: str) -> Request:
    params = {
        "access_token": access.access_token,
        "client_id": access.app_key,
        "data_type": "JSON",
        "timestamp": str(now_ms // 1000),
        "type": type_,
        **asked,
    }
    return posted(access.base_url, signed(params, access.app_secret))


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of orders updated in *window*: of every state, lotteries too."""
    return _call(
        access,
        now_ms,
        "pdd.order.number.list.increment.get",
        start_updated_at=str(window.from_ms // 1000),
        end_updated_at=str(window.to_ms // 1000),
        is_lucky_flag="0",
        order_status=_ALL,
        refund_status=_ALL,
        page=str(page_of(mark)),
        page_size=str(_SIZE),
    )


class _Sn(Struct):
    order_sn: str


class _Increment(Struct):
    total_count: int = 0
    order_sn_list: list[_Sn] | None = None


class _Listed(Struct):
    order_sn_increment_get_response: _Increment


def read_page(answer: Answer, mark: str | None) -> Page:
    """Return the order numbers of one page."""
    found = cut(answer, _Listed).order_sn_increment_get_response
    ids = tuple(each.order_sn for each in found.order_sn_list or ())
    return backwards(mark, found.total_count, _SIZE, ids=ids)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for one order."""
    return _call(access, now_ms, "pdd.order.information.get", order_sn=ids[0])


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its number."""
    order = under(answer, "order_info_get_response", "order_info")
    return {field_of(order, "order_sn"): order}


#: The platform's codes: token, signature, address or right; too often; its own fault.
_DENIED = {10019, 20004, 20005, 20031, 20032, 30000, 30001, 70034, 70035}
_THROTTLED = {52101, 70031, 70036}
_AWAY = {50000, 50002, 52001, 52002, 52102, 52103, 70033}


def verdict(answer: Answer) -> Verdict:
    """Read `error_response`; the platform answers errors with 200."""
    said: Any = loosely(answer).get("error_response")
    if not isinstance(said, dict):
        return by_status(answer)
    code = said.get("error_code")
    reason = shortened(code, said.get("sub_code"), said.get("error_msg"))
    for codes, kind in ((_DENIED, Kind.DENIED), (_THROTTLED, Kind.THROTTLED), (_AWAY, Kind.AWAY)):
        if code in codes:
            return Verdict(kind, reason)
    return Verdict(Kind.REFUSED, reason)


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Tell that an order has left (`pdd.logistics.online.send`): it has one number there."""
    label = parcel.labels[0]
    return _call(
        access,
        now_ms,
        "pdd.logistics.online.send",
        order_sn=parcel.push.order_id,
        logistics_id=label.carrier.code,
        tracking_number=label.tracking_number,
    )


def ship_verdict(answer: Answer) -> Verdict:
    """Read `is_success`, which has been 1, "1" and true."""
    said = verdict(answer)
    yes = inside(loosely(answer), "logistics_online_send_response", "is_success")
    if said.kind is not Kind.FINE or yes in (True, 1, "1", "true"):
        return said
    return Verdict(Kind.REFUSED, "the platform took no note of the parcel")


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Set what may be sold of one SKU (`pdd.goods.quantity.update`)."""
    return _call(
        access,
        now_ms,
        "pdd.goods.quantity.update",
        goods_id=listing.item,
        quantity=str(level.quantity),
        sku_id=listing.sku,
        update_type=_WHOLE,
    )


#: The number itself; 2 would be a difference.
_WHOLE = "1"


def stock_verdict(answer: Answer) -> Verdict:
    """Read `is_success`."""
    said = verdict(answer)
    yes = inside(loosely(answer), "goods_quantity_update_response", "is_success")
    if said.kind is not Kind.FINE or yes is True:
        return said
    return Verdict(Kind.REFUSED, "the platform took no note of the number")


CLIENT = Client(
    platform="pdd",
    base_url="https://gw-api.pinduoduo.com/api/router",
    needs=("app_key", "app_secret", "access_token"),
    cursor_field="updated_at",
    pages="numbered, read from the last one backwards",
    rate=Rate(per_s=5, burst=5, stated="ours: the platform gives each app its own limit"),
    window_max=timedelta(minutes=30),
    settled_after=timedelta(minutes=3),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=ship_verdict),
    stocks=Stocking(ask=stock, verdict=stock_verdict, needs_item=True),
    unsure="The app's limit, which each app has of its own.",
)
