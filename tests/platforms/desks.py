"""
Where a platform is told of parcels: one desk a family, as its platform describes the call.

A desk reads the call and answers in its family's own words: taken, shipped before, closed, a
carrier nobody knows. What was told changes the order, so that listings and pushes show it: the
echo. The state of an order is kept here once, and shown in the family's fields.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.platforms.families import SHOP, form, iso, said
from tests.platforms.simulator import Platform

SF, YTO = "SF", "YTO"


@dataclass
class Told:
    """One parcel as a platform was told of it."""

    order_id: str
    number: str
    carrier: str
    #: Line -> units; None: all that is left.
    lines: dict[str, int] | None = None
    #: What makes a repetition one, where the platform knows such a thing.
    key: str = ""
    others: list[str] = field(default_factory=list)


class Desk(ABC):
    """What desks have in common; the platform's words are below."""

    #: Codes of carriers that it knows.
    carriers: tuple[str, ...] = ()

    @abstractmethod
    def read(self, request: web.Request, body: bytes) -> Told | None: ...

    @abstractmethod
    def lines(self, order: Any) -> dict[str, int]: ...

    @abstractmethod
    def show(self, order: Any, parcels: list[Told], *, closed: bool) -> None: ...

    @abstractmethod
    def yes(self, told: Told) -> web.Response: ...

    @abstractmethod
    def no(self, why: str) -> web.Response: ...

    def is_repeated(self, told: Told, parcels: list[Told]) -> bool:
        return bool(told.key) and any(each.key == told.key for each in parcels)

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response | None:
        told = self.read(request, body)
        if told is None:
            return None
        parcels = there.parcels.setdefault(told.order_id, [])
        if told.order_id not in there.orders:
            return self.no("unknown")
        if told.order_id in there.closed:
            return self.no("closed")
        if self.carriers and told.carrier not in self.carriers:
            return self.no("carrier")
        if self.is_repeated(told, parcels):
            return self.yes(told)
        left = self.left(there, told.order_id)
        wanted = dict(left) if told.lines is None else told.lines
        if not any(wanted.values()) or any(
            units > left.get(id_, 0) for id_, units in wanted.items()
        ):
            return self.no("shipped")
        told.lines = {id_: units for id_, units in wanted.items() if units}
        parcels.append(told)
        there.change(told.order_id)
        return self.yes(told)

    def left(self, there: Platform, order_id: str) -> dict[str, int]:
        left = self.lines(there.family.order(order_id, 0, 1))
        for parcel in there.parcels.get(order_id, []):
            for id_, units in (parcel.lines or {}).items():
                left[id_] -= units
        return left

    def gone(self, order: Any, parcels: list[Told]) -> tuple[dict[str, int], str]:
        """Units by line that have left, and how far the order is: none, part or all."""
        lines = self.lines(order)
        gone = dict.fromkeys(lines, 0)
        for parcel in parcels:
            for id_, units in (parcel.lines or {}).items():
                gone[id_] += units
        whole = gone == lines
        return gone, "all" if whole else "part" if any(gone.values()) else "none"


class TaobaoDesk(Desk):
    carriers = ("SF", "YTO", "ZTO")

    def read(self, request, body):
        asked = form(request, body)
        if asked.get("method") != "taobao.logistics.offline.send":
            return None
        split = asked.get("is_split") == "1"
        lines = dict.fromkeys(asked["sub_tid"].split(","), 1) if split else None
        return Told(asked["tid"], asked["out_sid"], asked["company_code"], lines)

    def lines(self, order):
        """The sample has one line; here it has two."""
        lines = order["orders"]["order"]
        if len(lines) == 1:
            other = int(lines[0]["oid"]) + 1
            lines.append(lines[0] | {"oid": other, "oid_str": str(other)})
        return {str(line["oid"]): 1 for line in lines}

    def show(self, order, parcels, *, closed):
        gone, far = self.gone(order, parcels)
        words = {
            "none": "WAIT_SELLER_SEND_GOODS",
            "part": "SELLER_CONSIGNED_PART",
            "all": "WAIT_BUYER_CONFIRM_GOODS",
        }
        order["status"] = "TRADE_CLOSED" if closed else words[far]
        order.pop("consign_time", None)
        for line in order["orders"]["order"]:
            left = gone[str(line["oid"])] > 0
            line["status"] = words["all"] if left else words["none"]
            for key in ("invoice_no", "logistics_company", "consign_time"):
                line.pop(key, None)
            for parcel in parcels:
                if str(line["oid"]) in parcel.lines:
                    line |= {"invoice_no": parcel.number, "logistics_company": parcel.carrier}

    def yes(self, told):
        return said({"logistics_offline_send_response": {"shipping": {"is_success": True}}})

    def no(self, why):
        sub = {"unknown": "B01", "closed": "B04", "shipped": "B04", "carrier": "S02"}[why]
        return said({"error_response": {
            "code": 15, "msg": "Remote service error", "sub_msg": "订单状态不对",
            "sub_code": f"isv.logistics-offline-service-error:{sub}",
        }})  # fmt: skip


class JdDesk(Desk):
    carriers = ("467", "463", "1499", "2087")

    def read(self, request, body):
        asked = form(request, body)
        if asked.get("method") != "jingdong.pop.order.shipment":
            return None
        asked = json.loads(asked["360buy_param_json"])
        numbers = asked["logiNo"].replace("|", ",").split(",")
        codes = asked["logiCoprId"].split("|")
        assert len(codes) == len(asked["logiNo"].split("|"))
        bad = [code for code in codes if code not in self.carriers]
        return Told(asked["orderId"], numbers[0], (bad or codes)[0], others=numbers[1:])

    def lines(self, order):
        return {item["skuId"]: int(item["itemTotal"]) for item in order["itemInfoList"]}

    def show(self, order, parcels, *, closed):
        _, far = self.gone(order, parcels)
        shipped = far == "all"
        order["orderState"] = (
            "TRADE_CANCELED" if closed
            else "WAIT_GOODS_RECEIVE_CONFIRM" if shipped else "WAIT_SELLER_STOCK_OUT"
        )  # fmt: skip
        if shipped:
            order |= {"waybill": parcels[0].number, "logisticsId": parcels[0].carrier}

    def yes(self, told):
        return self._result({"success": True, "errorCode": "0", "chineseErrCode": "成功"})

    def no(self, why):
        code, words = {
            "unknown": ("10400001", "订单不存在"), "closed": ("10400010", "订单已取消"),
            "shipped": ("10400010", "订单已出库"), "carrier": ("10400007", "物流公司不存在"),
        }[why]  # fmt: skip
        return self._result({"success": False, "errorCode": code, "chineseErrCode": words})

    def _result(self, result):
        return said({"jingdong_pop_order_shipment_responce": {
            "code": "0", "sopjosshipment_result": result,
        }})  # fmt: skip


class PddDesk(Desk):
    carriers = ("44", "85", "115")

    def read(self, request, body):
        asked = form(request, body)
        if asked.get("type") != "pdd.logistics.online.send":
            return None
        return Told(asked["order_sn"], asked["tracking_number"], asked["logistics_id"])

    def lines(self, order):
        return {str(item["sku_id"]): int(item["goods_count"]) for item in order["item_list"]}

    def show(self, order, parcels, *, closed):
        _, far = self.gone(order, parcels)
        if closed:
            order["refund_status"] = 4
        if far == "all":
            order |= {
                "order_status": 2, "tracking_number": parcels[0].number,
                "logistics_id": int(parcels[0].carrier),
            }  # fmt: skip

    def yes(self, told):
        return said({"logistics_online_send_response": {"is_success": True}})

    def no(self, why):
        words = {
            "unknown": "订单不存在", "closed": "订单已退款", "shipped": "订单已发货，请勿重复发货",
            "carrier": "快递公司编号错误",
        }[why]  # fmt: skip
        return said({"error_response": {"error_code": 50001, "sub_code": "70", "error_msg": words}})


class DouyinDesk(Desk):
    carriers = ("shunfeng", "yuantong", "zhongtong")

    def read(self, request, body):
        if request.query.get("method") != "order.logisticsAddMultiPack":
            return None
        asked = json.loads(body)
        (pack,) = asked["pack_list"]
        lines = {
            line["shipped_order_id"]: line["shipped_num"] for line in pack["shipped_order_info"]
        }
        return Told(
            asked["order_id"], pack["logistics_code"], pack["company_code"], lines,
            asked["request_id"],
        )  # fmt: skip

    def lines(self, order):
        return {line["order_id"]: line["item_num"] for line in order["sku_order_list"]}

    def show(self, order, parcels, *, closed):
        gone, far = self.gone(order, parcels)
        words = {"none": 2, "part": 101, "all": 3}
        order["order_status"] = 4 if closed else words[far]
        order["main_status"] = 4 if closed else words[far]
        for line in order["sku_order_list"]:
            whole = gone[line["order_id"]] == line["item_num"]
            line["order_status"] = line["main_status"] = 4 if closed else 3 if whole else 2
        order["logistics_info"] = [
            {"tracking_no": each.number, "company": each.carrier, "ship_time": 1777863620}
            for each in parcels
        ]

    def yes(self, told):
        pack = {"logistics_code": told.number, "pack_id": "1"}
        return said(
            {"code": 10000, "msg": "success", "sub_code": "", "data": {"pack_list": [pack]}}
        )

    def no(self, why):
        code, words = {
            "unknown": (60033, "订单不存在，请仔细检查后重试。"),
            "closed": (60021, "订单已取消，禁止发货。"),
            "shipped": (60110, "订单已发货，不允许再次执行发货。"),
            "carrier": (60018, "暂不支持该物流公司或物流商已失效，请检查。"),
        }[why]  # fmt: skip
        return said({
            "code": 50002, "msg": "业务处理失败", "sub_msg": words,
            "sub_code": f"isv.business-failed:{code}",
        })  # fmt: skip


class KuaishouDesk(Desk):
    carriers = ("4", "6")

    def read(self, request, body):
        asked = form(request, body)
        if asked.get("method") != "open.seller.order.goods.deliver":
            return None
        asked = json.loads(asked["param"])
        number = asked["expressNo"]
        return Told(str(asked["orderId"]), number, str(asked["expressCode"]), key=number)

    def lines(self, order):
        item = order["orderItemInfo"]
        item["num"] = 2
        return {str(item["skuId"]): item["num"]}

    def show(self, order, parcels, *, closed):
        _, far = self.gone(order, parcels)
        order["orderBaseInfo"]["status"] = 80 if closed else 40 if far == "all" else 30

    def yes(self, told):
        return said({"result": 1, "code": "1", "msg": "SUCCESS"})

    def no(self, why):
        words = {
            "unknown": "订单不存在", "closed": "订单已关闭", "shipped": "订单已发货",
            "carrier": "快递公司编码错误",
        }[why]  # fmt: skip
        return said({"result": 801001, "msg": words, "subCode": "801001", "subMsg": words})


class XiaohongshuDesk(Desk):
    carriers = ("shunfeng", "yuantong")

    def read(self, request, body):
        asked = json.loads(body)
        if asked.get("method") != "order.orderDeliver":
            return None
        order_id, skus = asked["orderId"], asked.get("skuIdList")
        assert asked.get("unpack", False) == (skus is not None)
        lines = None if skus is None else {sku: self._units[order_id][sku] for sku in skus}
        return Told(order_id, asked["expressNo"], asked["expressCompanyCode"], lines)

    def answer(self, there, request, body):
        self._units = {id_: self.lines(there.family.order(id_, 0, 1)) for id_ in there.orders}
        return super().answer(there, request, body)

    def lines(self, order):
        return {sku["skuId"]: sku["skuQuantity"] for sku in order["skuList"]}

    def show(self, order, parcels, *, closed):
        _, far = self.gone(order, parcels)
        order["orderStatus"] = 9 if closed else {"none": 4, "part": 5, "all": 6}[far]
        if parcels:
            last = parcels[-1]
            order |= {"expressTrackingNo": last.number, "expressCompanyCode": last.carrier}

    def yes(self, told):
        return said({"success": True, "error_code": 0, "error_msg": "", "data": "发货成功"})

    def no(self, why):
        words = {
            "unknown": "订单不存在", "closed": "订单已关闭", "shipped": "订单状态不支持发货",
            "carrier": "快递公司编码不存在",
        }[why]  # fmt: skip
        return said({"success": False, "error_code": -1, "error_msg": words})


class ShopifyDesk(Desk):
    def answer(self, there, request, body):
        parts = request.path.split("/")
        if parts[-1] == "fulfillment_orders.json":
            order_id = parts[-2]
            left = self.left(there, order_id)
            status = "open" if any(left.values()) and order_id not in there.closed else "closed"
            return said({"fulfillment_orders": [{
                "id": int(order_id) + 1, "order_id": int(order_id), "status": status,
                "line_items": [
                    {
                        "id": int(id_) + 5, "line_item_id": int(id_),
                        "fulfillable_quantity": units if status == "open" else 0,
                    }
                    for id_, units in left.items()
                ],
            }]})  # fmt: skip
        return super().answer(there, request, body)

    def read(self, request, body):
        if not request.path.endswith("/fulfillments.json"):
            return None
        asked = json.loads(body)["fulfillment"]
        (part,) = asked["line_items_by_fulfillment_order"]
        lines = {
            str(item["id"] - 5): item["quantity"] for item in part["fulfillment_order_line_items"]
        }
        info = asked["tracking_info"]
        order_id = str(part["fulfillment_order_id"] - 1)
        return Told(order_id, info["number"], info["company"], lines)

    def lines(self, order):
        """The sample's first line has three units here."""
        order["line_items"][0] |= {"quantity": 3, "current_quantity": 3}
        return {
            str(line["id"]): line["current_quantity"]
            for line in order["line_items"]
            if line["requires_shipping"]
        }

    def show(self, order, parcels, *, closed):
        gone, far = self.gone(order, parcels)
        order["fulfillment_status"] = {"none": None, "part": "partial", "all": "fulfilled"}[far]
        if closed:
            order |= {"cancelled_at": order["updated_at"], "financial_status": "voided"}
        for line in order["line_items"]:
            if (id_ := str(line["id"])) in gone:
                line["fulfillable_quantity"] = line["current_quantity"] - gone[id_]
        order["fulfillments"] = [
            {
                "id": n, "status": "success", "tracking_company": each.carrier,
                "tracking_number": each.number, "created_at": order["updated_at"],
                "line_items": [
                    {"id": int(id_), "quantity": units} for id_, units in each.lines.items()
                ],
            }
            for n, each in enumerate(parcels)
        ]  # fmt: skip

    def yes(self, told):
        return said({"fulfillment": {"id": 1, "status": "success"}}, 201)

    def no(self, why):
        return said({"errors": ["All line items must be fulfillable"]}, 422)


class AmazonDesk(Desk):
    carriers = ("UPS", "Others")

    def read(self, request, body):
        if not request.path.endswith("/shipmentConfirmation"):
            return None
        asked = json.loads(body)
        assert asked["marketplaceId"] == SHOP
        package = asked["packageDetail"]
        assert package["shipDate"].endswith("Z")
        lines = {item["orderItemId"]: item["quantity"] for item in package["orderItems"]}
        return Told(
            request.path.split("/")[-2], package["trackingNumber"], package["carrierCode"], lines,
            package["packageReferenceId"],
        )  # fmt: skip

    def lines(self, order):
        return {item["orderItemId"]: item["quantityOrdered"] for item in order["orderItems"]}

    def show(self, order, parcels, *, closed):
        gone, far = self.gone(order, parcels)
        words = {"none": "UNSHIPPED", "part": "PARTIALLY_SHIPPED", "all": "SHIPPED"}
        order["fulfillment"]["fulfillmentStatus"] = "CANCELLED" if closed else words[far]
        for item in order["orderItems"]:
            units = gone[item["orderItemId"]]
            item["fulfillment"] |= {
                "quantityFulfilled": units, "quantityUnfulfilled": item["quantityOrdered"] - units,
            }  # fmt: skip
        order["packages"] = [
            {
                "packageReferenceId": each.key, "carrier": each.carrier,
                "trackingNumber": each.number, "shipTime": iso(1_700_000_000_000),
            }
            for each in parcels
        ]  # fmt: skip

    def yes(self, told):
        return web.Response(status=204)

    def no(self, why):
        words = {
            "unknown": "order not found", "closed": "the order is cancelled",
            "shipped": "quantity is more than what is unshipped", "carrier": "carrier is invalid",
        }[why]  # fmt: skip
        return said({"errors": [{"code": "InvalidInput", "message": words}]}, 400)


class WooCommerceDesk(Desk):
    def read(self, request, body):
        if request.method != "PUT":
            return None
        asked = json.loads(body)
        assert asked["status"] == "completed"
        first, *others = asked["meta_data"][0]["value"]
        return Told(
            request.path.rsplit("/", 1)[1], first["tracking_number"], first["carrier"],
            key="completed", others=[each["tracking_number"] for each in others],
        )  # fmt: skip

    def lines(self, order):
        return {str(line["id"]): line["quantity"] for line in order["line_items"]}

    def show(self, order, parcels, *, closed):
        _, far = self.gone(order, parcels)
        order["status"] = "cancelled" if closed else "completed" if far == "all" else "processing"

    def yes(self, told):
        return said({"id": int(told.order_id), "status": "completed"})

    def no(self, why):
        return said({"code": "woocommerce_rest_shop_order_invalid_id", "message": why}, 400)


class TikTokShopDesk(Desk):
    carriers = ("7117858858072016686",)

    def read(self, request, body):
        if not request.path.endswith("/packages"):
            return None
        asked = json.loads(body)
        lines = dict.fromkeys(asked["order_line_item_ids"], 1)
        order_id = request.path.split("/")[-2]
        return Told(order_id, asked["tracking_number"], asked["shipping_provider_id"], lines)

    def lines(self, order):
        return {line["id"]: 1 for line in order["line_items"]}

    def show(self, order, parcels, *, closed):
        gone, far = self.gone(order, parcels)
        words = {"none": "AWAITING_SHIPMENT", "part": "PARTIALLY_SHIPPING", "all": "IN_TRANSIT"}
        order["status"] = "CANCELLED" if closed else words[far]
        for line in order["line_items"]:
            if gone[line["id"]]:
                line["display_status"] = "IN_TRANSIT"
            for parcel in parcels:
                if line["id"] in parcel.lines:
                    line |= {
                        "tracking_number": parcel.number, "shipping_provider_name": "UPS",
                        "package_status": "FULFILLING",
                    }  # fmt: skip

    def yes(self, told):
        data = {"order_id": told.order_id, "package_id": "1"}
        return said({"code": 0, "message": "Success", "request_id": "x", "data": data})

    def no(self, why):
        code, words = {
            "unknown": (21011001, "order not found"), "closed": (21011010, "order is cancelled"),
            "shipped": (21011012, "the line items have been shipped"),
            "carrier": (21011020, "shipping provider is not valid"),
        }[why]  # fmt: skip
        return said({"code": code, "message": words, "request_id": "x"}, 400)


class ShopeeDesk(Desk):
    def read(self, request, body):
        if not request.path.endswith("/logistics/ship_order"):
            return None
        asked = json.loads(body)
        return Told(asked["order_sn"], asked["non_integrated"]["tracking_number"], "")

    def lines(self, order):
        order["item_list"][0]["model_quantity_purchased"] = 2
        return {
            str(n): item["model_quantity_purchased"] for n, item in enumerate(order["item_list"])
        }

    def show(self, order, parcels, *, closed):
        _, far = self.gone(order, parcels)
        shipped = far == "all"
        order["order_status"] = "CANCELLED" if closed else "SHIPPED" if shipped else "READY_TO_SHIP"
        order["pickup_done_time"] = 1_700_000_000 if shipped else 0
        for package in order["package_list"]:
            package["logistics_status"] = "LOGISTICS_PICKUP_DONE" if shipped else "LOGISTICS_READY"
            if shipped:
                package["tracking_number"] = parcels[0].number

    def yes(self, told):
        return said({"error": "", "message": "", "request_id": "x"})

    def no(self, why):
        error, words = {
            "unknown": ("error_not_found", "wrong order_sn"),
            "closed": ("error_param", "order status does not allow to ship"),
            "shipped": ("error_param", "order status does not allow to ship"),
        }[why]  # fmt: skip
        return said({"error": error, "message": words, "request_id": "x"})


DESKS: dict[str, Desk] = {
    "taobao": TaobaoDesk(),
    "jd": JdDesk(),
    "pdd": PddDesk(),
    "douyin": DouyinDesk(),
    "kuaishou": KuaishouDesk(),
    "xiaohongshu": XiaohongshuDesk(),
    "shopify": ShopifyDesk(),
    "amazon": AmazonDesk(),
    "woocommerce": WooCommerceDesk(),
    "tiktokshop": TikTokShopDesk(),
    "shopee": ShopeeDesk(),
}
#: What a shop says of carriers that only it can know: `[shops.api.carriers]`.
OWN_CODES = {"kuaishou": {"SF": "4", "YTO": "6"}, "tiktokshop": {"SF": "7117858858072016686"}}
