"""
TikTok Shop (202309): orders searched by their time of update, whole, page after page by a token.

What is signed is the path, the sorted parameters of the address and the body as it is sent; the
access token goes in a header and is not signed.
"""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

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
from streams.clients.parts import JSON, compact, cut, field_of, got, hmac_hex, joined, loosely, raws

_SIZE = "50"
_SEARCH = "/order/202309/orders/search"
_DETAILS = "/order/202309/orders"
_WEBHOOKS = "/event/202309/webhooks"
_LIMITED = 36009002
_INTERNAL = {36009003, 10006402}
#: 1050xx: the token; 106001: the signature.
_DENIED = {105001, 105002, 105003, 105004, 105005, 106001}


def sign(secret: str, path: str, params: dict[str, str], body: str = "") -> str:
    """Return the signature: the secret around path, parameters and body."""
    return hmac_hex(secret, secret + path + joined(params) + body + secret)


def _call(
    access: Access, now_ms: int, path: str, params: dict[str, str], body: str | None = None
) -> Request:
    asked = {
        **params,
        "app_key": access.app_key,
        "shop_cipher": access.shop_id,
        "timestamp": str(now_ms // 1000),
    }
    asked["sign"] = sign(access.app_secret, path, asked, body or "")
    headers = {**JSON, "x-tts-access-token": access.access_token}
    request = got(access.base_url + path, asked, headers)
    if body is None:
        return request
    return Request(method="POST", url=request.url, headers=headers, body=body.encode())


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of orders updated in *window*, its last second included."""
    params = {"page_size": _SIZE, "sort_field": "update_time", "sort_order": "ASC"}
    if mark is not None:
        params["page_token"] = mark
    asked = {
        "update_time_ge": window.from_ms // 1000,
        "update_time_lt": window.to_ms // 1000 + 1,
    }
    return _call(access, now_ms, _SEARCH, params, compact(asked))


class _Found(Struct):
    orders: list[Raw] | None = None
    next_page_token: str = ""


class _Searched(Struct):
    data: _Found


def read_page(answer: Answer, mark: str | None) -> Page:  # noqa: ARG001  a token needs no number
    """Return the orders of one page, as they are."""
    found = cut(answer, _Searched).data
    return Page(orders=raws(found.orders), next=found.next_page_token or None)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for up to 50 orders."""
    return _call(access, now_ms, _DETAILS, {"ids": ",".join(ids)})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the orders by their ids."""
    return {field_of(order, "id"): order for order in raws(cut(answer, _Searched).data.orders)}


def webhooks(access: Access, now_ms: int) -> Request:
    """Ask for the shop's webhooks."""
    return _call(access, now_ms, _WEBHOOKS, {})


class _Webhook(Struct):
    event_type: str


class _Webhooks(Struct):
    webhooks: list[_Webhook] | None = None


class _Listed(Struct):
    data: _Webhooks


def read_webhooks(answer: Answer) -> tuple[Subscription, ...]:
    """Return the event types."""
    return tuple(Subscription(each.event_type) for each in cut(answer, _Listed).data.webhooks or ())


def verdict(answer: Answer) -> Verdict:
    """Read `code`, which is 0 for a yes, whatever the status is."""
    body: dict[str, Any] = loosely(answer)
    code = body.get("code")
    if not isinstance(code, int):
        return by_status(answer)
    if code == 0:
        return FINE if answer.status == 200 else by_status(answer)
    reason = shortened(code, body.get("message"))
    if code == _LIMITED or answer.status == 429:
        return Verdict(Kind.THROTTLED, reason)
    if code in _DENIED or answer.status in (401, 403):
        return Verdict(Kind.DENIED, reason)
    if code in _INTERNAL or answer.status >= 500:
        return Verdict(Kind.AWAY, reason)
    return Verdict(Kind.REFUSED, reason)


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Tell of a parcel (Mark Package As Shipped) with line items, each of which is one unit.

    For orders that the seller ships; the carrier's id differs by market and delivery option.
    """
    push, label = parcel.push, parcel.labels[0]
    asked = {
        "order_line_item_ids": [line.line_id for line in push.lines],
        "shipping_provider_id": label.carrier.code,
        "tracking_number": label.tracking_number,
    }
    path = f"/fulfillment/202309/orders/{quote(push.order_id, safe='')}/packages"
    return _call(access, now_ms, path, {}, compact(asked))


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Set what may be sold of one SKU (Update Inventory), in one warehouse where one is named."""
    here: dict[str, str | int] = {"quantity": level.quantity}
    if access.place:
        here["warehouse_id"] = access.place
    path = f"/product/202309/products/{quote(listing.item, safe='')}/inventory/update"
    asked = {"skus": [{"id": listing.sku, "inventory": [here]}]}
    return _call(access, now_ms, path, {}, compact(asked))


class _Failure(Struct):
    message: str = ""


class _Failures(Struct):
    errors: list[_Failure] | None = None


class _Updated(Struct):
    data: _Failures | None = None


def stock_verdict(answer: Answer) -> Verdict:
    """Read `errors`: a SKU may be refused in an answer that is well."""
    if (said := verdict(answer)).kind is not Kind.FINE:
        return said
    updated = cut(answer, _Updated).data
    failed = updated.errors if updated else None
    return Verdict(Kind.REFUSED, shortened(failed[0].message)) if failed else said


CLIENT = Client(
    platform="tiktokshop",
    base_url="https://open-api.tiktokglobalshop.com",
    needs=("app_key", "app_secret", "access_token", "shop_id"),
    cursor_field="update_time",
    pages="a token for the next page",
    rate=Rate(per_s=5, burst=10, stated="ours: the platform's figure is not known here"),
    window_max=timedelta(days=1),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    details_max=50,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=verdict),
    stocks=Stocking(
        ask=stock, verdict=stock_verdict, needs_item=True, place="the warehouse's id, of several"
    ),
    subscriptions=Subscriptions(needs=("ORDER_STATUS_CHANGE",), ask=webhooks, read=read_webhooks),
    unsure="`shop_id` is the shop's cipher. Its limits. A token is renewed elsewhere.",
)
