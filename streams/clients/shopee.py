"""
Shopee (Open Platform v2): order numbers by their time of update, then up to 50 orders in full.

A span has at most 15 days. The cursor of the list counts orders, so a page may shift while the
pages are read; a window is therefore cut until it is one page.
"""

from datetime import timedelta

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
    Subscription,
    Subscriptions,
    Verdict,
    Window,
    by_status,
    shortened,
)
from streams.clients.parts import cut, field_of, got, hmac_hex, loosely, raws, with_json

_SIZE = "100"
_LIST = "/api/v2/order/get_order_list"
_DETAIL = "/api/v2/order/get_order_detail"
_SHIP = "/api/v2/logistics/ship_order"
_STOCK = "/api/v2/product/update_stock"
_PUSH = "/api/v2/push/get_app_push_config"
FIELDS = (
    "buyer_user_id,buyer_username,estimated_shipping_fee,recipient_address,actual_shipping_fee,"
    "goods_to_declare,note,note_update_time,item_list,pay_time,dropshipper,dropshipper_phone,"
    "split_up,buyer_cancel_reason,cancel_by,cancel_reason,actual_shipping_fee_confirmed,"
    "buyer_cpf_id,fulfillment_flag,pickup_done_time,package_list,shipping_carrier,payment_method,"
    "total_amount,invoice_data"
)
_DENIED = ("error_auth", "error_sign", "error_permission", "invalid_access_token")
#: The platform's own spelling.
_MISSPELT = "invalid_acceess_token"
_THROTTLED = ("error_rate_limit", "error_limit")
_AWAY = ("error_server", "error_inner", "error_network")


def sign(secret: str, partner_id: str, path: str, timestamp: int, token: str, shop_id: str) -> str:
    """Return the signature of a call for a shop."""
    return hmac_hex(secret, f"{partner_id}{path}{timestamp}{token}{shop_id}")


def _call(access: Access, now_ms: int, path: str, params: dict[str, str]) -> Request:
    at = now_ms // 1000
    token, shop_id = access.access_token, access.shop_id
    return got(
        access.base_url + path,
        {
            **params,
            "access_token": token,
            "partner_id": access.app_key,
            "shop_id": shop_id,
            "sign": sign(access.app_secret, access.app_key, path, at, token, shop_id),
            "timestamp": str(at),
        },
    )


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of order numbers updated in *window*."""
    params = {
        "cursor": mark or "",
        "page_size": _SIZE,
        "time_from": str(window.from_ms // 1000),
        "time_range_field": "update_time",
        "time_to": str(window.to_ms // 1000),
    }
    return _call(access, now_ms, _LIST, params)


class _Sn(Struct):
    order_sn: str


class _Found(Struct):
    more: bool = False
    next_cursor: str = ""
    order_list: list[_Sn] = []


class _Listed(Struct):
    response: _Found


class _Orders(Struct):
    order_list: list[Raw] = []


class _Detailed(Struct):
    response: _Orders


def read_page(answer: Answer, mark: str | None) -> Page:  # noqa: ARG001  a cursor needs no number
    """Return the order numbers of one page."""
    found = cut(answer, _Listed).response
    ids = tuple(each.order_sn for each in found.order_list)
    return Page(ids=ids, next=found.next_cursor or None if found.more else None)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for up to 50 orders."""
    params = {"order_sn_list": ",".join(ids), "response_optional_fields": FIELDS}
    return _call(access, now_ms, _DETAIL, params)


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the orders by their numbers."""
    orders = raws(cut(answer, _Detailed).response.order_list)
    return {field_of(order, "order_sn"): order for order in orders}


def push_config(access: Access, now_ms: int) -> Request:
    """Ask how the app's pushes are set; the app asks for itself, without a shop."""
    at = now_ms // 1000
    params = {
        "partner_id": access.app_key,
        "sign": sign(access.app_secret, access.app_key, _PUSH, at, "", ""),
        "timestamp": str(at),
    }
    return got(access.base_url + _PUSH, params)


class _Push(Struct):
    live_push_status: str = ""
    push_config_on_list: list[int] = []


class _Pushes(Struct):
    response: _Push


def read_push_config(answer: Answer) -> tuple[Subscription, ...]:
    """Return the codes that are on; a suspended push sends none of them."""
    found = cut(answer, _Pushes).response
    disabled = found.live_push_status if found.live_push_status == "Suspended" else ""
    return tuple(Subscription(f"code {code}", disabled) for code in found.push_config_on_list)


def verdict(answer: Answer) -> Verdict:
    """Read `error`, which is empty for a yes, whatever the status is."""
    body = loosely(answer)
    error = body.get("error")
    if not isinstance(error, str):
        return by_status(answer)
    if not error:
        return FINE if answer.status == 200 else by_status(answer)
    reason = shortened(error, body.get("message"))
    if error in _DENIED or error == _MISSPELT:
        return Verdict(Kind.DENIED, reason)
    if error in _THROTTLED or answer.status == 429:
        return Verdict(Kind.THROTTLED, reason)
    if error in _AWAY or answer.status >= 500:
        return Verdict(Kind.AWAY, reason)
    return Verdict(Kind.REFUSED, reason)


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Tell that an order has left by a channel of the seller's own (`ship_order`, `non_integrated`).

    The order's own channel says who carries it. Where the platform's carriers fetch it, arranging
    that is another call, and another decision.
    """
    asked = {
        "non_integrated": {"tracking_number": parcel.labels[0].tracking_number},
        "order_sn": parcel.push.order_id,
    }
    return with_json(_call(access, now_ms, _SHIP, {}), asked)


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Set the seller's stock of an item without models (model 0), or of one of its models."""
    here: dict[str, str | int] = {"stock": level.quantity}
    if access.place:
        here["location_id"] = access.place
    model = {"model_id": int(listing.sku or 0), "seller_stock": [here]}
    asked = {"item_id": int(listing.item), "stock_list": [model]}
    return with_json(_call(access, now_ms, _STOCK, {}), asked)


class _Failure(Struct):
    failed_reason: str = ""


class _Updated(Struct):
    failure_list: list[_Failure] | None = None


class _Stocked(Struct):
    response: _Updated


def stock_verdict(answer: Answer) -> Verdict:
    """Read `failure_list`: a model may be refused in an answer that is well."""
    if (said := verdict(answer)).kind is not Kind.FINE:
        return said
    failed = cut(answer, _Stocked).response.failure_list
    return Verdict(Kind.REFUSED, shortened(failed[0].failed_reason)) if failed else said


CLIENT = Client(
    platform="shopee",
    base_url="https://partner.shopeemobile.com",
    needs=("app_key", "app_secret", "access_token", "shop_id"),
    cursor_field="update_time",
    pages="a cursor that counts; a window is cut until it is one page",
    rate=Rate(per_s=5, burst=10, stated="ours: the platform's figure is not known here"),
    window_max=timedelta(days=1),
    shifts=True,
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    details_max=50,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=verdict),
    stocks=Stocking(
        ask=stock,
        verdict=stock_verdict,
        needs_item=True,
        whole_items=True,
        place="the location's id, of several",
    ),
    subscriptions=Subscriptions(needs=("code 3",), ask=push_config, read=read_push_config),
    unsure="Its limits. A token is good for four hours and is renewed elsewhere.",
)
