"""
JD (POP): orders searched by their time of modification, whole.

The list names the states it wants, so all that the adapter knows are asked for. `optional_fields`
is mandatory: what is not named is not answered.
"""

from datetime import timedelta
from typing import Any

from msgspec import Raw, Struct

from streams.clients.calls import (
    Access,
    Answer,
    Client,
    Kind,
    Page,
    Parcel,
    Rate,
    Request,
    Shipping,
    Unreadable,
    Verdict,
    Window,
    by_status,
    shortened,
)
from streams.clients.parts import (
    backwards,
    beijing,
    compact,
    cut,
    field_of,
    inside,
    loosely,
    page_of,
    posted,
    raws,
    signed,
)

#: Some pages of the platform say 100, some 50.
_SIZE = 50
_BY_MODIFICATION = "0"
STATES = (
    "WAIT_SELLER_STOCK_OUT,SEND_TO_DISTRIBUTION_CENER,DISTRIBUTION_CENTER_RECEIVED,"
    "WAIT_SELLER_DELIVERY,WAIT_GOODS_RECEIVE_CONFIRM,RECEIPTS_CONFIRM,WAIT_SEND_CODE,PAUSE,"
    "POP_ORDER_PAUSE,LOCKED,FINISHED_L,TRADE_CANCELED"
)
FIELDS = (
    "orderId,venderId,payType,orderTotalPrice,orderSellerPrice,orderPayment,freightPrice,"
    "sellerDiscount,balanceUsed,orderState,orderStateRemark,deliveryType,invoiceInfo,"
    "invoiceEasyInfo,vatInfo,orderRemark,orderStartTime,paymentConfirmTime,orderEndTime,"
    "outBoundDate,modified,consigneeInfo,itemInfoList,couponDetailList,parentOrderId,"
    "directParentOrderId,logisticsId,waybill,venderRemark,open_id_buyer"
)


def _call(access: Access, now_ms: int, method: str, asked: dict[str, str]) -> Request:
    params = {
        "360buy_param_json": compact(asked),
        "access_token": access.access_token,
        "app_key": access.app_key,
        "method": method,
        "timestamp": beijing(now_ms),
        "v": "2.0",
    }
    return posted(access.base_url, signed(params, access.app_secret))


def listing(access: Access, window: Window, mark: str | None, now_ms: int) -> Request:
    """Ask for one page of orders modified in *window*."""
    asked = {
        "start_date": beijing(window.from_ms),
        "end_date": beijing(window.to_ms),
        "order_state": STATES,
        "optional_fields": FIELDS,
        "page": str(page_of(mark)),
        "page_size": str(_SIZE),
        "dateType": _BY_MODIFICATION,
        "sortType": "0",
    }
    return _call(access, now_ms, "jingdong.pop.order.enSearch", asked)


class _Result(Struct, rename={"total": "orderTotal", "orders": "orderInfoList"}):
    total: int = 0
    orders: list[Raw] | None = None


class _Searched(Struct):
    searchorderinfo_result: _Result


class _Page(Struct):
    jingdong_pop_order_enSearch_responce: _Searched  # noqa: N815  the platform spells it so


def read_page(answer: Answer, mark: str | None) -> Page:
    """Return the orders of one page, as they are."""
    found = cut(answer, _Page).jingdong_pop_order_enSearch_responce.searchorderinfo_result
    return backwards(mark, found.total, _SIZE, orders=raws(found.orders))


def details(access: Access, ids: tuple[str, ...], now_ms: int) -> Request:
    """Ask for one order."""
    asked = {"order_id": ids[0], "optional_fields": FIELDS, "order_state": STATES}
    return _call(access, now_ms, "jingdong.pop.order.enGet", asked)


class _Info(Struct, rename={"order": "orderInfo"}):
    order: Raw = Raw(b"null")


class _Got(Struct, rename={"info": "orderDetailInfo"}):
    info: _Info


class _Detail(Struct):
    jingdong_pop_order_enGet_responce: _Got  # noqa: N815  the platform spells it so


def read_details(answer: Answer) -> dict[str, bytes]:
    """Return the order by its id."""
    order = bytes(cut(answer, _Detail).jingdong_pop_order_enGet_responce.info.order)
    if order == b"null":
        raise Unreadable("the answer has no orderInfo")
    return {field_of(order, "orderId"): order}


def verdict(answer: Answer) -> Verdict:
    """Read `error_response`, whose code is a text, and what a search says of itself."""
    body = loosely(answer)
    said: Any = body.get("error_response")
    if isinstance(said, dict):
        code = str(said.get("code"))
        reason = shortened(code, said.get("en_desc") or said.get("zh_desc"))
        return Verdict(_KINDS.get(code, Kind.REFUSED), reason)
    return by_status(answer)


#: The one code that is known for certain: a token that has expired. Others are refused, which
#: stops the turn and not the next one.
_KINDS = {"19": Kind.DENIED}

#: "Unknown error", by the platform's list of its own faults.
_SHIPS_LATER = frozenset({"999999", "99999999"})


def ship(access: Access, parcel: Parcel, seen: bytes, now_ms: int) -> Request:  # noqa: ARG001  nothing has to be seen
    """
    Tell that an order has left (`jingdong.pop.order.shipment`), with all its numbers at once.

    Carriers are parted by `|`, and so are their numbers; those of one carrier by commas.
    """
    numbers: dict[str, list[str]] = {}
    for label in parcel.labels:
        numbers.setdefault(label.carrier.code, []).append(label.tracking_number)
    asked = {
        "orderId": parcel.push.order_id,
        "logiCoprId": "|".join(numbers),
        "logiNo": "|".join(",".join(each) for each in numbers.values()),
    }
    return _call(access, now_ms, "jingdong.pop.order.shipment", asked)


def ship_verdict(answer: Answer) -> Verdict:
    """Read `success` in the result; its own error codes are not those of the gateway."""
    said = verdict(answer)
    if said.kind is not Kind.FINE:
        return said
    result = inside(
        loosely(answer), "jingdong_pop_order_shipment_responce", "sopjosshipment_result"
    )
    if inside(result or {}, "success") is True:
        return said
    code = str(inside(result or {}, "errorCode"))
    reason = shortened(code, inside(result or {}, "chineseErrCode"))
    return Verdict(Kind.AWAY if result is None or code in _SHIPS_LATER else Kind.REFUSED, reason)


CLIENT = Client(
    platform="jd",
    base_url="https://api.jd.com/routerjson",
    needs=("app_key", "app_secret", "access_token"),
    cursor_field="modified",
    pages="numbered, read from the last one backwards",
    rate=Rate(per_s=5, burst=5, stated="ours: the platform's figure is not known here"),
    window_max=timedelta(days=1),
    listing=listing,
    read_page=read_page,
    details=details,
    read_details=read_details,
    thin_pushes=True,
    verdict=verdict,
    ships=Shipping(ask=ship, verdict=ship_verdict),
    stocks=(
        "jd takes jingdong.stock.write.updateSkuStock out of service, and whether the number of "
        "jingdong.ware.stock.sku.set includes what is booked has been confirmed by nobody"
    ),
    unsure="Its error codes but one; newer apps may have to sign with HMAC-SHA256.",
)
