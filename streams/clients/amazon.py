"""
Amazon SP-API (orders 2026-01-01): orders by their time of update, with their items, by a token.

`searchOrders` takes one of createdAfter and lastUpdatedAfter; what ends the span lies at least two
minutes back. It may be called about once in three minutes after a burst of 20: that is enough for
gaps, and ORDER_CHANGE notifications bring the rest. A refresh token is exchanged for an access
token of an hour (Login with Amazon).
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
    Token,
    Verdict,
    Window,
    by_status,
    shortened,
)
from streams.clients.parts import (
    cut,
    field_of,
    got,
    iso_utc,
    loosely,
    posted,
    raws,
    under,
    with_json,
)

_SIZE = "100"
_PATH = "/orders/2026-01-01/orders"
_NOTIFICATIONS = "/notifications/v1/subscriptions"
_CHANGES = "ORDER_CHANGE"
_NOT_FOUND = 404
#: Without the people: those need a right and a token of their own.
_PARTS = "PROCEEDS,CANCELLATION,FULFILLMENT,PACKAGES,TAX,PAYMENT"
TOKEN_URL = "https://api.amazon.com/auth/o2/token"  # noqa: S105  an address


def _asked(access: Access, path: str, params: dict[str, str]) -> Request:
    return got(access.base_url + path, params, {"x-amz-access-token": access.access_token})


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for one page of orders updated in *window*."""
    params = {
        "includedData": _PARTS,
        "lastUpdatedAfter": iso_utc(window.from_ms),
        "lastUpdatedBefore": iso_utc(window.to_ms),
        "marketplaceIds": access.shop_id,
        "maxResultsPerPage": _SIZE,
    }
    return _asked(access, _PATH, params if mark is None else {**params, "paginationToken": mark})


class _Pagination(Struct, rename="camel"):
    next_token: str | None = None


class _Orders(Struct):
    orders: list[Raw]
    pagination: _Pagination | None = None


def read_page(answer: Answer, mark: str | None) -> Page:  # noqa: ARG001  a token needs no number
    """Return the orders of one page, as they are."""
    found = cut(answer, _Orders)
    more = found.pagination.next_token if found.pagination else None
    return Page(orders=raws(found.orders), next=more or None)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for one order."""
    return _asked(access, f"{_PATH}/{quote(ids[0], safe='')}", {"includedData": _PARTS})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    order = under(answer, "order")
    return {field_of(order, "orderId"): order}


def subscription(access: Access, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for the seller's subscription to order changes."""
    return _asked(access, f"{_NOTIFICATIONS}/{_CHANGES}", {})


class _Subscribed(Struct, rename="camel"):
    subscription_id: str = ""


class _Notified(Struct):
    payload: _Subscribed | None = None


def read_subscription(answer: Answer) -> tuple[Subscription, ...]:
    """Return it, if there is one; where there is none the answer is a 404."""
    if answer.status == _NOT_FOUND:
        return ()
    payload = cut(answer, _Notified).payload
    return (Subscription(_CHANGES),) if payload and payload.subscription_id else ()


def subscription_verdict(answer: Answer) -> Verdict:
    """A 404 is an answer: there is no subscription."""
    return FINE if answer.status == _NOT_FOUND else verdict(answer)


def token(access: Access) -> Request:
    """Exchange the refresh token."""
    return posted(
        access.token_url or TOKEN_URL,
        {
            "grant_type": "refresh_token",
            "refresh_token": access.refresh_token,
            "client_id": access.app_key,
            "client_secret": access.app_secret,
        },
    )


class _Granted(Struct):
    access_token: str
    expires_in: float


def read_token(answer: Answer) -> Token:
    """Return the access token."""
    found = cut(answer, _Granted)
    return Token(found.access_token, found.expires_in)


def verdict(answer: Answer) -> Verdict:
    """Read `errors[0].code`, and `error` where a token was asked for."""
    body = loosely(answer)
    if isinstance(grant := body.get("error"), str):
        return Verdict(Kind.DENIED, shortened(grant, body.get("error_description")))
    errors: Any = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    code = first.get("code") if isinstance(first, dict) else None
    said = by_status(answer, shortened(code, first.get("message") if code else None))
    return Verdict(Kind.THROTTLED, said.reason) if code == "QuotaExceeded" else said


_TAKEN = 204


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Tell of a parcel (`confirmShipment`, orders v0, the version that has it).

    The parcel's number is its `packageReferenceId`: told again it changes that very package.
    """
    push, label = parcel.push, parcel.labels[0]
    package = {
        "carrierCode": label.carrier.code,
        "carrierName": label.carrier.name,
        "orderItems": [
            {"orderItemId": line.line_id, "quantity": line.quantity} for line in push.lines
        ],
        "packageReferenceId": str(push.parcel),
        "shipDate": iso_utc(push.shipped_ms),
        "trackingNumber": label.tracking_number,
    }
    marketplace = access.shop_id.split(",")[0]
    path = f"/orders/v0/orders/{quote(push.order_id, safe='')}/shipmentConfirmation"
    return with_json(
        _asked(access, path, {}), {"marketplaceId": marketplace, "packageDetail": package}
    )


def ship_verdict(answer: Answer) -> Verdict:
    """A 204 is the yes."""
    return FINE if answer.status == _TAKEN else verdict(answer)


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Set what the merchant may sell of one SKU (`patchListingsItem`, 2021-08-01).

    `merge` changes the number and leaves lead time and restock date as they are.
    """
    value = {"fulfillment_channel_code": "DEFAULT", "quantity": level.quantity}
    patch = {"op": "merge", "path": "/attributes/fulfillment_availability", "value": [value]}
    path = (
        f"/listings/2021-08-01/items/{quote(access.place, safe='')}/{quote(listing.sku, safe='')}"
    )
    asked = _asked(access, path, {"marketplaceIds": access.shop_id})
    return with_json(asked, {"patches": [patch], "productType": "PRODUCT"}, "PATCH")


def stock_verdict(answer: Answer) -> Verdict:
    """Read `status`: accepted is a yes, and what is invalid is said in `issues`."""
    said = verdict(answer)
    body = loosely(answer)
    # A token may have been asked for first, and is judged here too.
    if said.kind is not Kind.FINE or body.get("status") == "ACCEPTED" or "access_token" in body:
        return said
    issues = body.get("issues")
    first = issues[0] if isinstance(issues, list) and issues else {}
    why = first.get("message") if isinstance(first, dict) else ""
    return Verdict(Kind.REFUSED, shortened(body.get("status"), why))


CLIENT = Client(
    platform="amazon",
    base_url="https://sellingpartnerapi-na.amazon.com",
    needs=("app_key", "app_secret", "refresh_token", "shop_id"),
    cursor_field="lastUpdatedTime",
    pages="a token for the next page",
    rate=Rate(per_s=0.0056, burst=20, stated="the platform's for searchOrders"),
    details_rate=Rate(per_s=0.5, burst=30, stated="the platform's for getOrder"),
    window_max=timedelta(days=7),
    settled_after=timedelta(minutes=2),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(
        ask=ship,
        verdict=ship_verdict,
        rate=Rate(per_s=2, burst=10, stated="the platform's for confirmShipment"),
    ),
    stocks=Stocking(
        ask=stock,
        verdict=stock_verdict,
        place="the seller's id",
        needs_place=True,
        rate=Rate(per_s=5, burst=5, stated="the platform's for patchListingsItem"),
    ),
    subscriptions=Subscriptions(
        needs=(_CHANGES,),
        ask=subscription,
        read=read_subscription,
        verdict=subscription_verdict,
    ),
    token=token,
    read_token=read_token,
    unsure="`shop_id` holds marketplace ids. Buyers' data needs a restricted token, not asked for.",
)
