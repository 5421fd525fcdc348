"""
The API families, each as its platform describes it: how a call is signed, how orders are listed and
given, and what an error looks like. Signatures are computed here anew, on purpose.
"""

# ruff: noqa: S105, S324  made-up secrets; the platforms sign with MD5

import base64
import copy
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.platforms.simulator import Denied, Order, Platform

SAMPLES = Path(__file__).parents[1] / "adapters" / "payloads"
KEY, SECRET, TOKEN, SHOP = "app-key", "app-secret", "access-token", "4711"
BEIJING = timedelta(hours=8)


def sample(path: str, *keys: str) -> Any:
    found = json.loads((SAMPLES / f"{path}.json").read_bytes())
    for key in keys:
        found = found[key]
    return found


def beijing(at_ms: int) -> str:
    return (datetime.fromtimestamp(at_ms // 1000, UTC) + BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def from_beijing(text: str) -> int:
    at = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) - BEIJING
    return int(at.timestamp() * 1000)


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def demand(right: bool, what: str) -> None:
    if not right:
        raise Denied(what)


def said(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON in which each order stands in its own bytes."""
    return web.Response(
        body=written(body), status=status, content_type="application/json", headers=headers
    )


def written(value: Any) -> bytes:
    match value:
        case Order():
            return value.body
        case dict():
            parts = (
                json.dumps(key).encode() + b": " + written(part) for key, part in value.items()
            )
            return b"{" + b", ".join(parts) + b"}"
        case list():
            return b"[" + b", ".join(map(written, value)) + b"]"
        case _:
            return json.dumps(value, ensure_ascii=False).encode()


def form(request: web.Request, body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True)) | dict(request.query)


def sandwich(params: dict[str, str]) -> str:
    text = "".join(k + v for k, v in sorted(params.items()) if k != "sign")
    return hashlib.md5((SECRET + text + SECRET).encode()).hexdigest().upper()


def hmac256(text: str) -> str:
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


def fresh(at_s: int) -> None:
    demand(abs(time.time() - at_s) < 600, "timestamp")


def page(orders: list[Order], number: int, size: int) -> list[Order]:
    """Pages are numbered from 1."""
    return orders[(number - 1) * size : number * size]


class Taobao:
    platform = "taobao"
    size_max = 100

    def id_of(self, n: int) -> str:
        return str(2_771_944_107_739_200_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        trade = copy.deepcopy(
            sample("taobao/trade_shipped", "trade_fullinfo_get_response", "trade")
        )
        trade |= {"tid": int(order_id), "tid_str": order_id, "modified": beijing(at_ms)}
        return trade | {"seller_memo": f"v{version}"}

    def check(self, request: web.Request, body: bytes) -> None:
        params = form(request, body)
        text = "".join(k + v for k, v in sorted(params.items()) if k != "sign")
        right = hmac.new(SECRET.encode(), text.encode(), hashlib.md5).hexdigest().upper()
        demand(params.get("sign") == right and params["sign_method"] == "hmac", "sign")
        demand(params["session"] == TOKEN and params["app_key"] == KEY, "session")
        fresh(from_beijing(params["timestamp"]) // 1000)

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        params = form(request, body)
        if params["method"] == "taobao.trade.fullinfo.get":
            order = there.orders.get(params["tid"])
            if order is None:
                return self._error(15, "isv.trade-not-exist")
            return said({"trade_fullinfo_get_response": {"trade": order}})
        start, end = from_beijing(params["start_modified"]), from_beijing(params["end_modified"])
        size = int(params["page_size"])
        if end - start > 86_400_000 or size > self.size_max:
            return self._error(41, "isv.invalid-parameter")
        found = there.between(start, end)[::-1]
        listed = [{"tid": int(o.id)} for o in page(found, int(params["page_no"]), size)]
        answer: dict[str, Any] = {"total_results": len(found), "request_id": "x"}
        if listed:
            answer["trades"] = {"trade": listed}
        return said({"trades_sold_increment_get_response": answer})

    def _error(self, code: int, sub: str) -> web.Response:
        return said({"error_response": {"code": code, "sub_code": sub, "msg": "no"}})

    def throttled(self) -> web.Response:
        return self._error(7, "accesscontrol.limited-by-api-access-count")

    def denied(self, why: str) -> web.Response:
        return self._error(27 if why in ("session", "locked") else 25, "invalid-" + why)


class Jd:
    platform = "jd"

    def id_of(self, n: int) -> str:
        return str(301_774_000_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        found = sample("jd/order_paid")
        while "orderId" not in found:
            found = next(part for part in found.values() if isinstance(part, dict))
        order = copy.deepcopy(found)
        return order | {
            "orderId": order_id,
            "modified": beijing(at_ms),
            "venderRemark": f"v{version}",
        }

    def check(self, request: web.Request, body: bytes) -> None:
        params = form(request, body)
        demand(params.get("sign") == sandwich(params), "sign")
        demand(params["access_token"] == TOKEN and params["app_key"] == KEY, "token")
        fresh(from_beijing(params["timestamp"]) // 1000)

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        params = form(request, body)
        asked = json.loads(params["360buy_param_json"])
        if not asked.get("optional_fields"):
            return said({"error_response": {"code": "43", "zh_desc": "optional_fields"}})
        if params["method"].endswith("enGet"):
            info = {"orderInfo": there.orders[asked["order_id"]]}
            return said(
                {"jingdong_pop_order_enGet_responce": {"code": "0", "orderDetailInfo": info}}
            )
        assert asked["dateType"] == "0"
        found = there.between(from_beijing(asked["start_date"]), from_beijing(asked["end_date"]))
        listed = page(found, int(asked["page"]), int(asked["page_size"]))
        result = {"orderTotal": len(found), "orderInfoList": listed}
        return said(
            {
                "jingdong_pop_order_enSearch_responce": {
                    "code": "0",
                    "searchorderinfo_result": result,
                }
            }
        )

    def throttled(self) -> web.Response:
        return web.Response(status=429)

    def denied(self, why: str) -> web.Response:
        return said({"error_response": {"code": "19", "zh_desc": why}})


class Pdd:
    platform = "pdd"

    def id_of(self, n: int) -> str:
        return f"260401-{n:015d}"

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("pdd/order_paid", "order_info_get_response", "order_info"))
        return order | {"order_sn": order_id, "updated_at": beijing(at_ms), "remark": f"v{version}"}

    def check(self, request: web.Request, body: bytes) -> None:
        params = form(request, body)
        demand(params.get("sign") == sandwich(params), "sign")
        demand(params["access_token"] == TOKEN and params["client_id"] == KEY, "token")
        fresh(int(params["timestamp"]))

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        params = form(request, body)
        if params["type"] == "pdd.order.information.get":
            info = {"order_info": there.orders[params["order_sn"]]}
            return said({"order_info_get_response": info})
        start, end = int(params["start_updated_at"]), int(params["end_updated_at"])
        if end - start > 1800 or end > there.now_ms() / 1000 - 180:
            return self._error(50001)
        found = there.between(start * 1000, end * 1000)[::-1]
        size = int(params["page_size"])
        listed = [{"order_sn": o.id} for o in page(found, int(params["page"]), size)]
        answer = {"total_count": len(found), "order_sn_list": listed}
        return said({"order_sn_increment_get_response": answer})

    def _error(self, code: int) -> web.Response:
        return said({"error_response": {"error_code": code, "error_msg": "no"}})

    def throttled(self) -> web.Response:
        return self._error(70031)

    def denied(self, why: str) -> web.Response:
        return self._error(20004 if why == "sign" else 10019)


class Douyin:
    platform = "douyin"

    def id_of(self, n: int) -> str:
        return str(6_930_114_477_820_000_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("douyin/order_paid_two_lines", "data", "shop_order_detail"))
        return order | {
            "order_id": order_id,
            "update_time": at_ms // 1000,
            "seller_words": f"v{version}",
        }

    def check(self, request: web.Request, body: bytes) -> None:
        q = request.query
        text = (
            f"app_key{q['app_key']}method{q['method']}param_json{body.decode()}"
            f"timestamp{q['timestamp']}v{q['v']}"
        )
        demand(q["sign_method"] == "hmac-sha256", "sign")
        demand(q["sign"] == hmac256(SECRET + text + SECRET), "sign")
        demand(request.path == "/" + q["method"].replace(".", "/"), "path")
        demand(list(json.loads(body)) == sorted(json.loads(body)), "sorted")
        demand(q["access_token"] == TOKEN, "token")
        fresh(int(q["timestamp"]))

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        asked = json.loads(body)
        if request.query["method"] == "order.orderDetail":
            data: dict[str, Any] = {"shop_order_detail": there.orders[asked["shop_order_id"]]}
        else:
            assert asked["order_by"] == "update_time"
            found = there.between(
                asked["update_time_start"] * 1000, asked["update_time_end"] * 1000
            )
            listed = page(found, asked["page"] + 1, asked["size"])
            data = {"shop_order_list": listed, "total": len(found), "page": asked["page"]}
        return said({"code": 10000, "msg": "success", "sub_code": "", "data": data})

    def throttled(self) -> web.Response:
        return said({"code": 60000, "msg": "limit", "sub_code": "isv.flow-limit"})

    def denied(self, why: str) -> web.Response:
        sub = "isv.signature-invalid" if why == "sign" else "isv.access-token-expired"
        return said({"code": 40003, "msg": why, "sub_code": sub})


class Kuaishou:
    platform = "kuaishou"

    def id_of(self, n: int) -> str:
        return str(2_619_944_018_000_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("kuaishou/order_paid", "data"))
        order["orderBaseInfo"] |= {
            "oid": int(order_id),
            "updateTime": at_ms,
            "remark": f"v{version}",
        }
        return order

    def check(self, request: web.Request, body: bytes) -> None:
        params = form(request, body)
        pairs = "&".join(f"{k}={v}" for k, v in sorted(params.items()) if k != "sign" and v)
        right = hashlib.md5(f"{pairs}&signSecret={SECRET}".encode()).hexdigest()
        demand(params["sign"] == right, "sign")
        demand(request.path == "/" + params["method"].replace(".", "/"), "path")
        demand(params["access_token"] == TOKEN and params["appkey"] == KEY, "token")
        fresh(int(params["timestamp"]) // 1000)

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        params = form(request, body)
        asked = json.loads(params["param"])
        if params["method"] == "open.order.detail":
            return self._yes(there.orders[str(asked["oid"])])
        assert (asked["queryType"], asked["orderViewStatus"]) == (2, 1)
        found = there.between(asked["beginTime"], asked["endTime"])
        after = tuple(asked["cursor"].split("_")) if asked["cursor"] else None
        if after:
            found = [o for o in found if (o.modified_ms, o.id) > (int(after[0]), after[1])]
        listed = found[: asked["pageSize"]]
        more = len(found) > len(listed)
        cursor = f"{listed[-1].modified_ms}_{listed[-1].id}" if more else "nomore"
        return self._yes({"orderList": listed, "cursor": cursor})

    def _yes(self, data: Any) -> web.Response:
        return said({"result": 1, "code": "1", "msg": "SUCCESS", "data": data})

    def throttled(self) -> web.Response:
        return said({"result": 1017, "msg": "Exceed qps limit, KEY [x], MAX_QPS [300.0]"})

    def denied(self, why: str) -> web.Response:
        return said({"result": 24, "msg": "验签失败" if why == "sign" else "鉴权失败"})


class Xiaohongshu:
    platform = "xiaohongshu"

    def id_of(self, n: int) -> str:
        return f"P{780_114_477_203_000_000 + n}"

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("xiaohongshu/order_paid_two_lines", "data"))
        return order | {"orderId": order_id, "updateTime": at_ms, "sellerRemark": f"v{version}"}

    def check(self, request: web.Request, body: bytes) -> None:
        asked = json.loads(body)
        text = (
            f"{asked['method']}?appId={asked['appId']}&timestamp={asked['timestamp']}"
            f"&version={asked['version']}{SECRET}"
        )
        demand(asked["sign"] == hashlib.md5(text.encode()).hexdigest(), "sign")
        demand(asked["accessToken"] == TOKEN and asked["appId"] == KEY, "token")
        fresh(int(asked["timestamp"]))

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        asked = json.loads(body)
        if asked["method"] == "order.getOrderDetail":
            return self._yes(there.orders[asked["orderId"]])
        if asked["timeType"] != 2 or asked["endTime"] - asked["startTime"] > 1800:
            return said({"success": False, "error_code": -1, "error_msg": "time"})
        found = there.between(asked["startTime"] * 1000, asked["endTime"] * 1000)
        listed = [
            {"orderId": o.id, "orderStatus": 4, "updateTime": o.modified_ms}
            for o in page(found, asked["pageNo"], asked["pageSize"])
        ]
        return self._yes({"total": len(found), "pageNo": asked["pageNo"], "orderList": listed})

    def _yes(self, data: Any) -> web.Response:
        return said({"success": True, "error_code": 0, "error_msg": "", "data": data})

    def throttled(self) -> web.Response:
        return said({"success": False, "error_code": -9013, "error_msg": "触发Method维度的限流"})

    def denied(self, why: str) -> web.Response:
        return said({"success": False, "error_code": 401, "error_msg": why})


class Shopify:
    platform = "shopify"
    pushes = ("orders/create", "orders/updated", "app/uninstalled")
    size_max = 250

    def id_of(self, n: int) -> str:
        return str(5_450_000_000_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("shopify/order_paid_unfulfilled", "order"))
        return order | {"id": int(order_id), "updated_at": iso(at_ms), "note": f"v{version}"}

    def check(self, request: web.Request, body: bytes) -> None:
        demand(request.headers.get("X-Shopify-Access-Token") == TOKEN, "token")

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        name = request.path.rsplit("/", 1)[1]
        if name == "webhooks.json":
            # What failed too often is taken away, and not told any more.
            there_now = [
                {"id": 1, "topic": t} for t, said_ in there.subscribed.items() if not said_
            ]
            return said({"webhooks": there_now})
        if name != "orders.json":
            return said({"order": there.orders[name.removesuffix(".json")]})
        q = request.query
        if cursor := q.get("page_info"):
            assert set(q) == {"limit", "page_info"}
            start, end, at, last = base64.urlsafe_b64decode(cursor).decode().split("|")
        else:
            assert q["status"] == "any"
            start, end = str(from_iso(q["updated_at_min"])), str(from_iso(q["updated_at_max"]))
            at, last = "0", ""
        found = [
            o
            for o in there.between(int(start), int(end))
            if (o.modified_ms, o.id) > (int(at), last)
        ]
        listed = found[: min(int(q["limit"]), self.size_max)]
        headers = {}
        if len(found) > len(listed):
            keys = f"{start}|{end}|{listed[-1].modified_ms}|{listed[-1].id}"
            token = base64.urlsafe_b64encode(keys.encode()).decode()
            cursor = token.replace("=", "%3D")
            link = f"{there.url}/admin/api/x/orders.json?limit=250&page_info={cursor}"
            headers["Link"] = f'<https://prev.example/>; rel="previous", <{link}>; rel="next"'
        return said({"orders": listed}, headers=headers)

    def throttled(self) -> web.Response:
        return said({"errors": "Exceeded 2 calls per second"}, 429, {"Retry-After": "0.05"})

    def denied(self, why: str) -> web.Response:
        return said({"errors": f"[API] Invalid access token {TOKEN}"}, 401)


class Amazon:
    platform = "amazon"
    pushes = ("ORDER_CHANGE",)

    def id_of(self, n: int) -> str:
        return f"111-{n:07d}-{n:07d}"

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("amazon/v2026-01-01_getOrder_example", "order"))
        aliases = [{"aliasId": f"v{version}", "aliasType": "SELLER_ORDER_ID"}]
        return order | {"orderId": order_id, "lastUpdatedTime": iso(at_ms), "orderAliases": aliases}

    def check(self, request: web.Request, body: bytes) -> None:
        if request.path == "/auth/o2/token":
            params = form(request, body)
            demand(params["grant_type"] == "refresh_token", "grant")
            demand((params["client_id"], params["client_secret"]) == (KEY, SECRET), "client")
            demand(params["refresh_token"] == "refresh-token", "refresh")
            return
        demand(request.headers.get("x-amz-access-token") == "Atza|granted", "token")

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        if request.path == "/auth/o2/token":
            return said(
                {"access_token": "Atza|granted", "expires_in": 3600, "token_type": "bearer"}
            )
        q, name = request.query, request.path.rsplit("/", 1)[1]
        if request.path.startswith("/notifications/v1/subscriptions/"):
            if there.subscribed.get(name, "missing"):
                return said({"errors": [{"code": "NotFound", "message": "no"}]}, 404)
            return said({"payload": {"subscriptionId": "7", "payloadVersion": "1.0"}})
        if name != "orders":
            return said({"order": there.orders[name]})
        end = from_iso(q["lastUpdatedBefore"])
        if end > there.now_ms() - 120_000 or q["marketplaceIds"] != SHOP:
            return said({"errors": [{"code": "InvalidInput", "message": "no"}]}, 400)
        found = there.between(from_iso(q["lastUpdatedAfter"]), end)
        after = q.get("paginationToken", "")
        found = [o for o in found if f"{o.modified_ms}_{o.id}" > after]
        listed = found[: int(q["maxResultsPerPage"])]
        answer: dict[str, Any] = {"orders": listed}
        if len(found) > len(listed):
            answer["pagination"] = {"nextToken": f"{listed[-1].modified_ms}_{listed[-1].id}"}
        return said(answer)

    def throttled(self) -> web.Response:
        return said({"errors": [{"code": "QuotaExceeded", "message": "slow"}]}, 429)

    def denied(self, why: str) -> web.Response:
        return said({"errors": [{"code": "Unauthorized", "message": why}]}, 403)


class WooCommerce:
    platform = "woocommerce"
    pushes = ("order.created", "order.updated")

    def id_of(self, n: int) -> str:
        return str(7_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("woocommerce/order_processing"))
        at = iso(at_ms).removesuffix("Z")
        return order | {
            "id": int(order_id),
            "date_modified_gmt": at,
            "customer_note": f"v{version}",
        }

    def check(self, request: web.Request, body: bytes) -> None:
        pair = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        demand(request.headers.get("Authorization") == f"Basic {pair}", "key")

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        name = request.path.rsplit("/", 1)[1]
        if name == "webhooks":
            return said(
                [
                    {"id": n, "topic": topic, "status": said_ or "active"}
                    for n, (topic, said_) in enumerate(there.subscribed.items())
                ]
            )
        if name != "orders":
            return said(there.orders[name])
        q = request.query
        assert q["dates_are_gmt"] == "true"
        start, end = from_iso(q["modified_after"] + "Z"), from_iso(q["modified_before"] + "Z")
        # Both ends are excluded.
        found = sorted(there.between(start + 1000, end - 1000), key=lambda order: int(order.id))
        size = int(q["per_page"])
        pages = -(-len(found) // size)
        headers = {"X-WP-Total": str(len(found)), "X-WP-TotalPages": str(pages)}
        return said(page(found, int(q["page"]), size), headers=headers)

    def throttled(self) -> web.Response:
        return said({"code": "too_many"}, 429, {"Retry-After": "0.05"})

    def denied(self, why: str) -> web.Response:
        return said({"code": "woocommerce_rest_cannot_view", "message": why}, 401)


class TikTokShop:
    platform = "tiktokshop"
    pushes = ("ORDER_STATUS_CHANGE", "PACKAGE_UPDATE")

    def id_of(self, n: int) -> str:
        return str(577_500_118_844_200_000 + n)

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("tiktokshop/order_awaiting_shipment", "data", "orders")[0])
        return order | {"id": order_id, "update_time": at_ms // 1000, "seller_note": f"v{version}"}

    def check(self, request: web.Request, body: bytes) -> None:
        q = request.query
        pairs = "".join(k + q[k] for k in sorted(q) if k not in ("sign", "access_token"))
        text = SECRET + request.path + pairs + body.decode() + SECRET
        demand(q.get("sign") == hmac256(text), "sign")
        demand(request.headers.get("x-tts-access-token") == TOKEN, "token")
        demand(q["shop_cipher"] == SHOP and q["app_key"] == KEY, "shop")
        fresh(int(q["timestamp"]))

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        q = request.query
        if request.path == "/event/202309/webhooks":
            hooks = [
                {"event_type": t, "address": "x"} for t, no in there.subscribed.items() if not no
            ]
            return self._yes({"webhooks": hooks, "total_count": len(hooks)})
        if request.method == "GET":
            ids = q["ids"].split(",")
            assert len(ids) <= 50
            return self._yes({"orders": [there.orders[i] for i in ids if i in there.orders]})
        asked = json.loads(body)
        found = there.between(asked["update_time_ge"] * 1000, asked["update_time_lt"] * 1000 - 1)
        after = q.get("page_token", "")
        found = [o for o in found if f"{o.modified_ms}_{o.id}" > after]
        listed = found[: int(q["page_size"])]
        more = len(found) > len(listed)
        token = f"{listed[-1].modified_ms}_{listed[-1].id}" if more else ""
        return self._yes({"orders": listed, "next_page_token": token, "total_count": len(found)})

    def _yes(self, data: Any) -> web.Response:
        return said({"code": 0, "message": "Success", "request_id": "x", "data": data})

    def throttled(self) -> web.Response:
        return said({"code": 36009002, "message": "slow"}, 429)

    def denied(self, why: str) -> web.Response:
        return said({"code": 106001 if why == "sign" else 105002, "message": why}, 401)


class Shopee:
    platform = "shopee"
    pushes = ("code 3", "code 4")
    size_max = 100

    def id_of(self, n: int) -> str:
        return f"260401{n:08d}"

    def order(self, order_id: str, at_ms: int, version: int) -> Any:
        order = copy.deepcopy(sample("shopee/order_detail_completed", "response", "order_list")[0])
        return order | {"order_sn": order_id, "update_time": at_ms // 1000, "note": f"v{version}"}

    def check(self, request: web.Request, body: bytes) -> None:
        q = request.query
        if request.path.startswith("/api/v2/push/"):
            # The app asks for itself.
            assert not {"access_token", "shop_id"} & set(q)
            demand(q["sign"] == hmac256(f"{KEY}{request.path}{q['timestamp']}"), "sign")
            fresh(int(q["timestamp"]))
            return
        text = f"{q['partner_id']}{request.path}{q['timestamp']}{q['access_token']}{q['shop_id']}"
        demand(q["sign"] == hmac256(text), "sign")
        demand((q["partner_id"], q["shop_id"]) == (KEY, SHOP), "shop")
        demand(q["access_token"] == TOKEN, "token")
        fresh(int(q["timestamp"]))

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response:
        q = request.query
        if request.path.endswith("get_app_push_config"):
            on = [int(topic.removeprefix("code ")) for topic in there.subscribed]
            status = "Suspended" if any(there.subscribed.values()) else "Normal"
            return self._yes({"live_push_status": status, "push_config_on_list": on})
        if request.path.endswith("get_order_detail"):
            ids = q["order_sn_list"].split(",")
            assert len(ids) <= 50
            return self._yes({"order_list": [there.orders[i] for i in ids if i in there.orders]})
        start, end = int(q["time_from"]), int(q["time_to"])
        if q["time_range_field"] != "update_time" or end - start > 15 * 86_400:
            return said({"error": "order.order_list_invalid_time", "message": "15 days"})
        found = there.between(start * 1000, end * 1000)
        # A cursor that counts: what leaves the span while it is read moves the rest up.
        at, size = int(q["cursor"] or 0), min(int(q["page_size"]), self.size_max)
        listed, more = found[at : at + size], len(found) > at + size
        return self._yes({
            "more": more,
            "next_cursor": str(at + size) if more else "",
            "order_list": [{"order_sn": o.id} for o in listed],
        })  # fmt: skip

    def _yes(self, response: Any) -> web.Response:
        return said({"error": "", "message": "", "request_id": "x", "response": response})

    def throttled(self) -> web.Response:
        return said({"error": "error_rate_limit", "message": "slow"}, 429)

    def denied(self, why: str) -> web.Response:
        error = "error_sign" if why == "sign" else "invalid_acceess_token"
        return said({"error": error, "message": why}, 403)


FAMILIES: dict[str, Any] = {
    family.platform: family
    for family in (
        Taobao(), Jd(), Pdd(), Douyin(), Kuaishou(), Xiaohongshu(), Shopify(), Amazon(),
        WooCommerce(), TikTokShop(), Shopee(),
    )
}  # fmt: skip


def credentials(there: Platform) -> dict[str, Any]:
    """What the `[shops.api]` table of a shop at *there* says."""
    found: dict[str, Any] = {"base_url": there.url, "app_key": KEY, "app_secret": SECRET}
    if there.family.platform == "amazon":
        return found | {
            "refresh_token": "refresh-token",
            "token_url": f"{there.url}/auth/o2/token",
            "shop_id": SHOP,
        }
    return found | {"access_token": TOKEN, "shop_id": SHOP}
