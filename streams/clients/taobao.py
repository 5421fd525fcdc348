"""
Taobao and Tmall (TOP): the increment of sold trades, and each trade in full.

The list says only part of a trade, so each is asked for by its tid. Figures and rules are those of
the platform's pages of `taobao.trades.sold.increment.get` (a span of at most a day, newest first,
read from the last page backwards, 30 minutes advised) and its list of error codes.
"""

from datetime import timedelta
from typing import Any

from msgspec import Raw, Struct

from agents.channel_stock import Level
from agents.shipments import Push
from streams.clients import parts
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
    beijing,
    cut,
    field_of,
    hmac_hex,
    inside,
    joined,
    loosely,
    page_of,
    posted,
    under,
)

_SIZE = 100
#: What the adapter reads of a trade.
FIELDS = (
    "tid,tid_str,status,type,step_trade_status,created,pay_time,consign_time,end_time,modified,"
    "payment,total_fee,post_fee,discount_fee,adjust_fee,received_payment,order_tax_fee,"
    "buyer_nick,buyer_open_uid,buyer_message,seller_memo,receiver_name,receiver_mobile,"
    "receiver_phone,receiver_address,receiver_state,receiver_city,receiver_district,receiver_town,"
    "receiver_zip,oaid,trade_attr,promotion_details,invoice_name,orders"
)
#: Codes of the platform itself: what was called too often, whose session or key is wrong.
_THROTTLED = {4, 5, 6, 7, 8}
_DENIED = {11, 12, 13, 24, 25, 26, 27, 28, 29}
_AWAY = {10}
#: After the code 15, its own prefixes tell whose fault it is.
_THEIRS = "isp."
_LIMITS = ("accesscontrol.limited", "flow-control", "isv.flow-limit", "api-limit")


def signed(params: dict[str, str], secret: str) -> dict[str, str]:
    """Return *params* with their signature, by the method they name."""
    if params.get("sign_method") == "hmac":
        return {**params, "sign": hmac_hex(secret, joined(params), "md5").upper()}
    return parts.signed(params, secret)


def _call(access: Access, now_ms: int, method: str, **asked: str) -> Request:
    params = {
        "app_key": access.app_key,
        "format": "json",
        "method": method,
        "session": access.access_token,
        "sign_method": "hmac",
        "timestamp": beijing(now_ms),
        "v": "2.0",
        **asked,
    }
    return posted(access.base_url, signed(params, access.app_secret))


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of trades modified in *window*."""
    return _call(
        access,
        now_ms,
        "taobao.trades.sold.increment.get",
        fields="tid,tid_str,modified",
        start_modified=beijing(window.from_ms),
        end_modified=beijing(window.to_ms),
        page_no=str(page_of(mark)),
        page_size=str(_SIZE),
        use_has_next="false",
    )


class _Tid(Struct):
    tid: Raw


class _Trades(Struct, frozen=True):
    trade: list[_Tid] = []


class _Sold(Struct):
    total_results: int = 0
    trades: _Trades = _Trades()


class _Listed(Struct):
    trades_sold_increment_get_response: _Sold


def read_page(answer: Answer, mark: str | None) -> Page:
    """Return the tids of one page."""
    sold = cut(answer, _Listed).trades_sold_increment_get_response
    ids = tuple(bytes(each.tid).decode().strip('"') for each in sold.trades.trade)
    return backwards(mark, sold.total_results, _SIZE, ids=ids)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for one trade."""
    return _call(access, now_ms, "taobao.trade.fullinfo.get", fields=FIELDS, tid=ids[0])


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the trade by its tid."""
    trade = under(answer, "trade_fullinfo_get_response", "trade")
    return {field_of(trade, "tid"): trade}


def verdict(answer: Answer) -> Verdict:
    """Read `error_response`; the platform answers most errors with 200."""
    said: Any = loosely(answer).get("error_response")
    if not isinstance(said, dict):
        return by_status(answer)
    code, sub = said.get("code"), str(said.get("sub_code", ""))
    reason = shortened(code, sub, said.get("sub_msg") or said.get("msg"))
    if code in _DENIED:
        return Verdict(Kind.DENIED, reason)
    if code in _THROTTLED or any(word in sub for word in _LIMITS):
        return Verdict(Kind.THROTTLED, reason)
    if code in _AWAY or sub.startswith(_THEIRS):
        return Verdict(Kind.AWAY, reason)
    return Verdict(Kind.REFUSED, reason)


#: "Something went wrong with shipping; wait a moment and try again."
_SHIPS_LATER = "isv.logistics-offline-service-error:B150"


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Tell of a parcel (`taobao.logistics.offline.send`): the whole trade, or some of its lines."""
    push, label = parcel.push, parcel.labels[0]
    part = {} if push.last and push.parcel == 1 else _split(push)
    return _call(
        access,
        now_ms,
        "taobao.logistics.offline.send",
        tid=push.order_id,
        out_sid=label.tracking_number,
        company_code=label.carrier.code,
        **part,
    )


def _split(push: Push) -> dict[str, str]:
    return {"is_split": "1", "sub_tid": ",".join(line.line_id for line in push.lines)}


def ship_verdict(answer: Answer) -> Verdict:
    """Read `is_success`; what was shipped or closed before is refused as `…:B04`."""
    body = loosely(answer)
    said = verdict(answer)
    if inside(body, "error_response", "sub_code") == _SHIPS_LATER:
        return Verdict(Kind.AWAY, said.reason)
    if said.kind is not Kind.FINE:
        return said
    if inside(body, "logistics_offline_send_response", "shipping", "is_success") is True:
        return said
    return Verdict(Kind.REFUSED, shortened("the platform took no note of the parcel"))


def stock(access: Access, level: Level, listing: Listing, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """Set what may be sold (`taobao.item.quantity.update`) of an item, or of one of its SKUs."""
    sku = {"sku_id": listing.sku} if listing.sku else {}
    return _call(
        access,
        now_ms,
        "taobao.item.quantity.update",
        num_iid=listing.item,
        quantity=str(level.quantity),
        type=_WHOLE,
        **sku,
    )


#: The number itself; 2 would be a difference.
_WHOLE = "1"


def stock_verdict(answer: Answer) -> Verdict:
    """Look for the item, which is said back; errors are those of every call."""
    said = verdict(answer)
    item = inside(loosely(answer), "item_quantity_update_response", "item")
    if said.kind is not Kind.FINE or isinstance(item, dict):
        return said
    return Verdict(Kind.REFUSED, shortened("the platform took no note of the number"))


def client(platform: str) -> Client:
    """Return the client of Taobao or of Tmall, which share the API."""
    return Client(
        platform=platform,
        base_url="https://eco.taobao.com/router/rest",
        needs=("app_key", "app_secret", "access_token"),
        cursor_field="modified",
        pages="numbered, read from the last one backwards",
        rate=Rate(per_s=5, burst=5, stated="ours: the platform gives each app its own limit"),
        window_max=timedelta(minutes=30),
        listing=listing,
        read_page=read_page,
        details=details,
        read_details=read_details,
        thin_pushes=True,
        verdict=verdict,
        ships=Shipping(ask=ship, verdict=ship_verdict),
        stocks=Stocking(ask=stock, verdict=stock_verdict, needs_item=True, whole_items=True),
        unsure="The app's limit; the sub-codes of a limit beside the codes 4 to 8.",
    )
