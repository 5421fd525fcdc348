"""
Shopify (REST Admin API): orders by their time of update, whole, page after page by a link.

The link to the next page holds a cursor and no filter; `status=any`, or closed and cancelled orders
are left out. The REST API is called legacy by the platform and goes on to work; its payloads are
the ones the webhooks carry, which is why it is used.
"""

import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from msgspec import Raw, Struct

from agents.channel_stock import Level
from agents.shipments import Push
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
    RequestRefused,
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
from streams.clients.parts import cut, field_of, got, iso_utc, loosely, raws, under, with_json

_SIZE = "250"
_VERSION = "2025-07"
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


def _asked(access: Access, path: str, params: dict[str, str]) -> Request:
    headers = {"X-Shopify-Access-Token": access.access_token}
    return got(f"{access.base_url}/admin/api/{_VERSION}/{path}", params, headers)


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for one page of orders updated in *window*."""
    if mark is not None:
        return _asked(access, "orders.json", {"limit": _SIZE, "page_info": mark})
    return _asked(
        access,
        "orders.json",
        {
            "limit": _SIZE,
            "order": "updated_at asc",
            "status": "any",
            "updated_at_max": iso_utc(window.to_ms),
            "updated_at_min": iso_utc(window.from_ms),
        },
    )


class _Orders(Struct):
    orders: list[Raw]


def read_page(answer: Answer, mark: str | None) -> Page:  # noqa: ARG001  a cursor needs no number
    """Return the orders of one page, as they are; the next one is named in a header."""
    return Page(orders=raws(cut(answer, _Orders).orders), next=_next(answer.headers.get("link")))


def _next(link: str | None) -> str | None:
    met = _NEXT.search(link or "")
    if met is None:
        return None
    # Only the cursor is taken: an address in an answer is nowhere to send a token to.
    cursor = parse_qs(urlsplit(met[1]).query).get("page_info")
    if not cursor:
        raise Unreadable("the link to the next page has no page_info")
    return cursor[0]


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for one order."""
    return _asked(access, f"orders/{int(ids[0])}.json", {})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    order = under(answer, "order")
    return {field_of(order, "id"): order}


def webhooks(access: Access, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask for the subscriptions that this app made through the API."""
    return _asked(access, "webhooks.json", {"limit": _SIZE})


class _Webhook(Struct):
    topic: str


class _Webhooks(Struct):
    webhooks: list[_Webhook]


def read_webhooks(answer: Answer) -> tuple[Subscription, ...]:
    """Return the topics; the platform takes away what failed, so what is there is sent."""
    return tuple(Subscription(each.topic) for each in cut(answer, _Webhooks).webhooks)


def fulfillment_orders(access: Access, push: Push, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """Ask what of an order may be fulfilled, and from where."""
    return _asked(access, f"orders/{int(push.order_id)}/fulfillment_orders.json", {})


class _Item(Struct):
    id: int
    line_item_id: int
    fulfillable_quantity: int = 0


class _Order(Struct):
    id: int
    status: str = ""
    line_items: list[_Item] = []


class _FulfillmentOrders(Struct):
    fulfillment_orders: list[_Order]


#: From which something may be fulfilled; `on_hold`, `scheduled`, `closed` … say no.
_OPEN = frozenset({"open", "in_progress"})


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """
    Create a fulfillment of units of lines, out of the fulfillment orders *seen*.

    Raises RequestRefused where less may be fulfilled than left.
    """
    push, label = parcel.push, parcel.labels[0]
    orders = cut(Answer(status=200, body=seen), _FulfillmentOrders).fulfillment_orders
    wanted = {line.line_id: line.quantity for line in push.lines}
    taken = [
        {"fulfillment_order_id": order.id, "fulfillment_order_line_items": items}
        for order in orders
        if order.status in _OPEN and (items := _taken(order, wanted))
    ]
    missing = {line_id: units for line_id, units in wanted.items() if units}
    if missing:
        raise RequestRefused(
            f"shopify/{access.shop}: of order {push.order_id} less may be fulfilled than left: "
            + ", ".join(f"{units} of line {line_id}" for line_id, units in missing.items())
        )
    body = {
        "fulfillment": {
            "line_items_by_fulfillment_order": taken,
            "tracking_info": {"company": label.carrier.code, "number": label.tracking_number},
        }
    }
    return with_json(_asked(access, "fulfillments.json", {}), body)


def _taken(order: _Order, wanted: dict[str, int]) -> list[dict[str, int]]:
    """Take what is wanted of one fulfillment order, and want so much less."""
    taken = []
    for item in order.line_items:
        units = min(item.fulfillable_quantity, wanted.get(str(item.line_item_id), 0))
        if units > 0:
            wanted[str(item.line_item_id)] -= units
            taken.append({"id": item.id, "quantity": units})
    return taken


def verdict(answer: Answer) -> Verdict:
    """Go by the status: 429 comes with Retry-After, 401 and 403 are the token's."""
    return by_status(answer, shortened(loosely(answer).get("errors")))


_SET = (
    "mutation ($input: InventorySetQuantitiesInput!) { inventorySetQuantities(input: $input) "
    "{ userErrors { code field message } } }"
)


def _gid(kind: str, id_: str) -> str:
    return id_ if id_.startswith("gid://") else f"gid://shopify/{kind}/{id_}"


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing is dated
    """
    Set what may be sold at one location (`inventorySetQuantities`, `available`).

    We are who knows the number, so it is not compared with what the platform has.
    """
    quantity = {
        "inventoryItemId": _gid("InventoryItem", listing.sku),
        "locationId": _gid("Location", access.place),
        "quantity": level.quantity,
    }
    asked = {
        "ignoreCompareQuantity": True,
        "name": "available",
        "quantities": [quantity],
        "reason": "correction",
    }
    body = {"query": _SET, "variables": {"input": asked}}
    return with_json(_asked(access, "graphql.json", {}), body)


class _Extensions(Struct, frozen=True):
    code: str = ""


class _Error(Struct):
    message: str = ""
    extensions: _Extensions = _Extensions()


class _UserErrors(Struct, rename="camel"):
    user_errors: list[_Error]


class _Set(Struct, rename="camel"):
    inventory_set_quantities: _UserErrors | None = None


class _Said(Struct):
    data: _Set | None = None
    errors: list[_Error] = []


#: Of errors of the whole call; any other is this request's.
_KINDS = {
    "THROTTLED": Kind.THROTTLED,
    "ACCESS_DENIED": Kind.DENIED,
    "INTERNAL_SERVER_ERROR": Kind.AWAY,
}


def stock_verdict(answer: Answer) -> Verdict:
    """Read the errors of the call, and those of what was asked: both come with 200."""
    if (told := verdict(answer)).kind is not Kind.FINE:
        return told
    said = cut(answer, _Said)
    if said.errors:
        first = said.errors[0]
        code = first.extensions.code
        return Verdict(_KINDS.get(code, Kind.REFUSED), shortened(code, first.message))
    if said.data is None or said.data.inventory_set_quantities is None:
        raise Unreadable("the answer has no inventorySetQuantities")
    errors = said.data.inventory_set_quantities.user_errors
    return Verdict(Kind.REFUSED, shortened(errors[0].message)) if errors else FINE


CLIENT = Client(
    platform="shopify",
    base_url="",
    needs=("base_url", "access_token"),
    cursor_field="updated_at",
    pages="a link to the next page",
    rate=Rate(
        per_s=2, burst=10, stated="the platform's: 2 a second, a burst of 40, shared by apps"
    ),
    window_max=timedelta(days=7),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=False,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=verdict, look=fulfillment_orders, repeats=True),
    stocks=Stocking(ask=stock, verdict=stock_verdict, place="the location's id", needs_place=True),
    subscriptions=Subscriptions(
        needs=("orders/create", "orders/updated"), ask=webhooks, read=read_webhooks
    ),
    unsure="Subscriptions in an app's own configuration file are not listed here.",
)
