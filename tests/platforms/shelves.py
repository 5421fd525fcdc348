"""
Where a platform is told what may be sold: one shelf a family, as its platform describes the call.

A shelf reads the call, keeps the number of the listing, and answers in its family's own words. What
it is asked for and does not have it refuses, as it does a number below zero.
"""

import json
from abc import ABC, abstractmethod
from typing import NamedTuple

from aiohttp import web

from tests.platforms.families import form, said
from tests.platforms.simulator import Platform


class Asked(NamedTuple):
    """A number for one listing, by the ids of the platform."""

    item: str
    sku: str
    quantity: int
    place: str = ""


class Shelf(ABC):
    """What shelves have in common; the platform's words are below."""

    #: The one listing there is, and where it lies.
    item, sku, place = "9007199254740993", "9007199254740995", ""

    def __init__(self) -> None:
        #: Every number that was taken, in order.
        self.taken: list[int] = []

    @abstractmethod
    def read(self, request: web.Request, body: bytes) -> Asked | None: ...

    @abstractmethod
    def yes(self, asked: Asked) -> web.Response: ...

    @abstractmethod
    def no(self, why: str) -> web.Response: ...

    def answer(self, there: Platform, request: web.Request, body: bytes) -> web.Response | None:
        asked = self.read(request, body)
        if asked is None:
            return None
        if (asked.item, asked.sku, asked.place) != (self.item, self.sku, self.place):
            return self.no("unknown")
        if asked.quantity < 0:
            return self.no("negative")
        self.taken.append(asked.quantity)
        return self.yes(asked)


class TaobaoShelf(Shelf):
    def read(self, request, body):
        asked = form(request, body)
        if asked.get("method") != "taobao.item.quantity.update":
            return None
        assert asked["type"] == "1"
        return Asked(asked["num_iid"], asked.get("sku_id", ""), int(asked["quantity"]))

    def yes(self, asked):
        return said({"item_quantity_update_response": {"item": {
            "num_iid": int(asked.item), "num": asked.quantity, "modified": "2026-11-29 12:00:00",
        }}})  # fmt: skip

    def no(self, why):
        return said({"error_response": {
            "code": 15, "msg": "Remote service error", "sub_msg": why,
            "sub_code": "isv.item-quantity-update-service-error:ITEM_NOT_FOUND",
        }})  # fmt: skip


class PddShelf(Shelf):
    def read(self, request, body):
        asked = form(request, body)
        if asked.get("type") != "pdd.goods.quantity.update":
            return None
        assert asked["update_type"] == "1"
        return Asked(asked["goods_id"], asked["sku_id"], int(asked["quantity"]))

    def yes(self, asked):
        return said({"goods_quantity_update_response": {"is_success": True, "request_id": "x"}})

    def no(self, why):
        return said(
            {"error_response": {"error_code": 50001, "sub_code": "50001", "error_msg": why}}
        )


class DouyinShelf(Shelf):
    def read(self, request, body):
        if request.query.get("method") != "sku.syncStock":
            return None
        asked = json.loads(body)
        assert asked["incremental"] is False
        return Asked(str(asked["product_id"]), str(asked["sku_id"]), asked["stock_num"])

    def yes(self, asked):
        return said({"code": 10000, "msg": "success", "sub_code": "", "data": {}})

    def no(self, why):
        return said({
            "code": 50002, "msg": "业务处理失败", "sub_msg": why,
            "sub_code": "isv.business-failed:2010001",
        })  # fmt: skip


class XiaohongshuShelf(Shelf):
    """Two units are sold and wait to be paid, and one is kept for a campaign."""

    item = ""
    sku = "63a1f00000000000000000a7"
    beside = 3

    def read(self, request, body):
        asked = json.loads(body)
        if asked.get("method") != "inventory.syncSkuStock":
            return None
        return Asked("", asked["skuId"], asked["qty"] - self.beside)

    def answer(self, there, request, body):
        asked = json.loads(body)
        if asked.get("method") == "inventory.getSkuStock":
            available = self.taken[-1] if self.taken else 7
            stock = {"available": available, "total": available + self.beside}
            return self._said({"skuId": asked["skuId"], "skuStock": stock})
        return super().answer(there, request, body)

    def _said(self, data):
        return said({"success": True, "error_code": 0, "error_msg": "", "data": data})

    def yes(self, asked):
        return self._said({"skuId": asked.sku, "skuStock": {"available": asked.quantity}})

    def no(self, why):
        return said({"success": False, "error_code": -1, "error_msg": why})


class ShopifyShelf(Shelf):
    item, place = "", "655441491"

    def read(self, request, body):
        if not request.path.endswith("/graphql.json"):
            return None
        asked = json.loads(body)
        assert "inventorySetQuantities(input: $input)" in asked["query"]
        put = asked["variables"]["input"]
        assert (put["name"], put["ignoreCompareQuantity"]) == ("available", True)
        (one,) = put["quantities"]
        assert one["inventoryItemId"].startswith("gid://shopify/InventoryItem/")
        assert one["locationId"].startswith("gid://shopify/Location/")
        sku, place = (one[key].rpartition("/")[2] for key in ("inventoryItemId", "locationId"))
        return Asked("", sku, one["quantity"], place)

    def yes(self, asked):
        return said({"data": {"inventorySetQuantities": {"userErrors": []}}})

    def no(self, why):
        error = {"code": "INVALID_INVENTORY_ITEM", "field": ["input"], "message": why}
        return said({"data": {"inventorySetQuantities": {"userErrors": [error]}}})


class AmazonShelf(Shelf):
    item, sku, place = "", "LAMP 01/红", "A2SELLER"

    def read(self, request, body):
        if "/listings/2021-08-01/items/" not in request.path:
            return None
        assert request.method == "PATCH"
        assert request.query["marketplaceIds"]
        asked = json.loads(body)
        assert asked["productType"] == "PRODUCT"
        (patch,) = asked["patches"]
        assert (patch["op"], patch["path"]) == ("merge", "/attributes/fulfillment_availability")
        (value,) = patch["value"]
        assert value["fulfillment_channel_code"] == "DEFAULT"
        _, _, _, _, place, sku = request.path.split("/", 5)
        return Asked("", sku, value["quantity"], place)

    def yes(self, asked):
        return said({"sku": asked.sku, "status": "ACCEPTED", "submissionId": "x", "issues": []})

    def no(self, why):
        issue = {"code": "4000003", "message": why, "severity": "ERROR"}
        return said({"sku": "x", "status": "INVALID", "submissionId": "x", "issues": [issue]})


class WooCommerceShelf(Shelf):
    item, sku = "799", "733"

    def read(self, request, body):
        if "/products/" not in request.path:
            return None
        assert request.method == "PUT"
        asked = json.loads(body)
        assert asked["manage_stock"] is True
        item, _, sku = request.path.rpartition("/products/")[2].partition("/variations/")
        return Asked(item, sku, asked["stock_quantity"])

    def yes(self, asked):
        return said({"id": int(asked.sku or asked.item), "stock_quantity": asked.quantity})

    def no(self, why):
        return said({"code": "woocommerce_rest_product_invalid_id", "message": why}, 404)


class TikTokShopShelf(Shelf):
    place = "7068517275539719942"

    def read(self, request, body):
        if not request.path.endswith("/inventory/update"):
            return None
        (sku,) = json.loads(body)["skus"]
        (here,) = sku["inventory"]
        item = request.path.split("/")[4]
        return Asked(item, sku["id"], here["quantity"], here["warehouse_id"])

    def yes(self, asked):
        return said({"code": 0, "message": "Success", "data": {}})

    def no(self, why):
        failed = {"code": 12052251, "message": why, "detail": {"sku_id": self.sku}}
        return said({"code": 0, "message": "Success", "data": {"errors": [failed]}})


class ShopeeShelf(Shelf):
    def read(self, request, body):
        if not request.path.endswith("/product/update_stock"):
            return None
        asked = json.loads(body)
        (model,) = asked["stock_list"]
        (here,) = model["seller_stock"]
        return Asked(str(asked["item_id"]), str(model["model_id"]), here["stock"])

    def yes(self, asked):
        done = {"model_id": int(asked.sku), "stock": asked.quantity}
        response = {"failure_list": [], "success_list": [done]}
        return said({"error": "", "message": "", "response": response})

    def no(self, why):
        failed = {"model_id": int(self.sku), "failed_reason": why}
        response = {"failure_list": [failed], "success_list": []}
        return said({"error": "", "message": "", "response": response})


SHELVES: dict[str, type[Shelf]] = {
    "taobao": TaobaoShelf,
    "pdd": PddShelf,
    "douyin": DouyinShelf,
    "xiaohongshu": XiaohongshuShelf,
    "shopify": ShopifyShelf,
    "amazon": AmazonShelf,
    "woocommerce": WooCommerceShelf,
    "tiktokshop": TikTokShopShelf,
    "shopee": ShopeeShelf,
}
