"""
Kuaishou Shop: orders listed by their time of update, whole, page after page by a cursor.

`queryType` 2 is the time of update, `orderViewStatus` 1 is every state, and the cursor `nomore`
ends the listing. A span has at most 7 days.
"""

from datetime import timedelta
from hashlib import md5
from typing import Any

from msgspec import Raw, Struct

from streams.clients.calls import (
    FINE,
    Access,
    Answer,
    Client,
    Kind,
    Page,
    Parcel,
    Rate,
    Request,
    RequestRefused,
    Shipping,
    Verdict,
    Window,
    by_status,
    shortened,
)
from streams.clients.parts import compact, cut, field_of, loosely, posted, raws, under

_SIZE = 50
_NO_MORE = frozenset({"nomore", ""})
_YES = 1
#: The platform names these in words.
_THROTTLED = ("exceed qps limit", "exceed quota limit")
_DENIED = ("鉴权失败", "验签失败", "签名校验失败", "authorization_revoked", "access_token")


def sign(params: dict[str, str], secret: str) -> str:
    """Return the signature: sorted pairs, those that are empty left out, the secret at the end."""
    text = "&".join(f"{key}={params[key]}" for key in sorted(params) if params[key])
    return md5(f"{text}&signSecret={secret}".encode(), usedforsecurity=False).hexdigest()


def _call(access: Access, now_ms: int, method: str, asked: dict[str, Any]) -> Request:
    params = {
        "access_token": access.access_token,
        "appkey": access.app_key,
        "method": method,
        "param": compact(asked),
        "signMethod": "MD5",
        "timestamp": str(now_ms),
        "version": "1",
    }
    url = f"{access.base_url}/{method.replace('.', '/')}"
    return posted(url, {**params, "sign": sign(params, access.app_secret)})


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of orders updated in *window*."""
    asked = {
        "beginTime": window.from_ms,
        "endTime": window.to_ms,
        "cursor": mark or "",
        "orderViewStatus": 1,
        "pageSize": _SIZE,
        "queryType": 2,
        "sort": 2,
    }
    return _call(access, now_ms, "open.order.cursor.list", asked)


class _Found(Struct, rename={"orders": "orderList"}):
    cursor: str = ""
    orders: list[Raw] | None = None


class _Listed(Struct):
    data: _Found


def read_page(answer: Answer, mark: str | None) -> Page:  # noqa: ARG001  a cursor needs no number
    """Return the orders of one page, as they are."""
    found = cut(answer, _Listed).data
    more = None if found.cursor in _NO_MORE else found.cursor
    return Page(orders=raws(found.orders), next=more)


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for one order."""
    return _call(access, now_ms, "open.order.detail", {"oid": int(ids[0])})


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    order = under(answer, "data")
    base = under(Answer(status=200, body=order), "orderBaseInfo")
    return {field_of(base, "oid"): order}


def verdict(answer: Answer) -> Verdict:
    """Read `result`, which is 1 for a yes; what went wrong is said in words."""
    body = loosely(answer)
    result = body.get("result")
    if result is None or answer.status != 200:
        return by_status(answer)
    if result == _YES:
        return FINE
    said = str(body.get("subMsg") or body.get("errorMsg") or body.get("msg") or "")
    reason = shortened(result, body.get("subCode"), said)
    if any(words in said.lower() for words in _THROTTLED):
        return Verdict(Kind.THROTTLED, reason)
    if any(words in said.lower() for words in _DENIED):
        return Verdict(Kind.DENIED, reason)
    return Verdict(Kind.REFUSED, reason)


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Tell that an order has left (`open.seller.order.goods.deliver`): whole orders alone.

    The same number told again is taken again, by the platform's word of November 2024.
    """
    label = parcel.labels[0]
    code = label.carrier.code
    if not code.isdecimal():
        raise RequestRefused(f"kuaishou calls carriers by numbers, and {code!r} is none")
    asked = {
        "expressCode": int(code),
        "expressNo": label.tracking_number,
        "orderId": int(parcel.push.order_id),
    }
    return _call(access, now_ms, "open.seller.order.goods.deliver", asked)


CLIENT = Client(
    platform="kuaishou",
    base_url="https://openapi.kwaixiaodian.com",
    needs=("app_key", "app_secret", "access_token"),
    cursor_field="updateTime",
    pages="a cursor that ends with `nomore`",
    rate=Rate(per_s=5, burst=5, stated="ours; the platform's is 300 a second an app"),
    window_max=timedelta(days=1),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=verdict),
    stocks=(
        "kuaishou takes differences alone (open.item.sku.stock.update), and a difference that is "
        "told again, or out of order, is a wrong number"
    ),
    unsure="`app_secret` is the signSecret. The parameter and the answer of open.order.detail.",
)
