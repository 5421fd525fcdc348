"""
WooCommerce: orders of a site by their time of modification, whole, in numbered pages.

`modified_after` and `modified_before` go by UTC with `dates_are_gmt`; how many pages there are is
in a header. The site is the shop's own, so its address, its speed and its limits are its own too.
"""

from base64 import b64encode
from datetime import timedelta

from msgspec import Raw, Struct

from agents.channel_stock import Level
from streams.clients.calls import (
    Access,
    Answer,
    Client,
    Listing,
    Page,
    Parcel,
    Rate,
    Request,
    Shipping,
    Stocking,
    Subscription,
    Subscriptions,
    Unreadable,
    Verdict,
    Window,
    by_status,
    shortened,
)
from streams.clients.parts import (
    backwards,
    cut,
    field_of,
    got,
    iso_utc,
    loosely,
    page_of,
    raws,
    with_json,
)

_SIZE = 100
_PATH = "/wp-json/wc/v3/orders"
_PRODUCTS = "/wp-json/wc/v3/products"
_WEBHOOKS = "/wp-json/wc/v3/webhooks"
_TOTAL = "x-wp-total"


def _asked(access: Access, path: str, params: dict[str, str]) -> Request:
    pair = f"{access.app_key}:{access.app_secret}".encode()
    headers = {"Authorization": f"Basic {b64encode(pair).decode()}"}
    return got(access.base_url + path, params, headers)


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for one page of orders modified in *window*, its first and last second included."""
    return _asked(
        access,
        _PATH,
        {
            "dates_are_gmt": "true",
            "modified_after": iso_utc(window.from_ms - 1000).removesuffix("Z"),
            "modified_before": iso_utc(window.to_ms + 1000).removesuffix("Z"),
            "order": "asc",
            "orderby": "id",
            "page": str(page_of(mark)),
            "per_page": str(_SIZE),
            "status": "any",
        },
    )


def read_page(answer: Answer, mark: str | None) -> Page:
    """Return the orders of one page, as they are; how many there are in all is in a header."""
    total = answer.headers.get(_TOTAL, "")
    if not total.isdigit():
        raise Unreadable(f"the answer has no {_TOTAL}")
    return backwards(mark, int(total), _SIZE, orders=raws(cut(answer, list[Raw])))


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for one order."""
    return _asked(access, f"{_PATH}/{int(ids[0])}", {})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    return {field_of(answer.body, "id"): answer.body}


def webhooks(access: Access, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for the site's webhooks; one that failed five times is disabled and still there."""
    return _asked(access, _WEBHOOKS, {"per_page": str(_SIZE), "status": "all"})


class _Webhook(Struct):
    topic: str
    status: str = ""


def read_webhooks(answer: Answer) -> tuple[Subscription, ...]:
    """Return the topics; `paused` and `disabled` ones are not sent."""
    found = cut(answer, list[_Webhook])
    return tuple(
        Subscription(each.topic, "" if each.status == "active" else each.status or "unknown")
        for each in found
    )


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """
    Complete an order that has left whole; its numbers stand in its metadata.

    Asked again it says the same. The site's own core knows no parcels.
    """
    asked = _asked(access, f"{_PATH}/{int(parcel.push.order_id)}", {})
    body = {
        "meta_data": [
            {
                "key": "_orderflow_parcels",
                "value": [
                    {"carrier": label.carrier.code, "tracking_number": label.tracking_number}
                    for label in parcel.labels
                ],
            }
        ],
        "status": "completed",
    }
    return with_json(asked, body, "PUT")


def verdict(answer: Answer) -> Verdict:
    """Go by the status, with the code the site gives."""
    return by_status(answer, shortened(loosely(answer).get("code")))


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Set what may be sold of a product, or of one of its variations."""
    path = f"{_PRODUCTS}/{int(listing.item)}"
    if listing.sku:
        path += f"/variations/{int(listing.sku)}"
    body = {"manage_stock": True, "stock_quantity": level.quantity}
    return with_json(_asked(access, path, {}), body, "PUT")


CLIENT = Client(
    platform="woocommerce",
    base_url="",
    needs=("base_url", "app_key", "app_secret"),
    cursor_field="date_modified_gmt",
    pages="numbered, read from the last one backwards",
    rate=Rate(per_s=2, burst=4, stated="ours: the site is the shop's own"),
    window_max=timedelta(days=7),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=False,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=verdict),
    stocks=Stocking(ask=stock, verdict=verdict, needs_item=True, whole_items=True),
    subscriptions=Subscriptions(
        needs=("order.created", "order.updated"), ask=webhooks, read=read_webhooks
    ),
)
