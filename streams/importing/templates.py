"""
Which column of which platform's export is which field, as data.

`orderflow import templates` prints it.

A column that a file has and its template does not know stops the import: a misspelt `tota1` must
not be lost in silence. The exports' own columns that no order of ours needs are listed as passed
over; further ones are named by `--pass-over`, or `--column "THEIRS=FIELD"` says what they are.

Columns follow the seller centres' exports as they are publicly known, and none was checked against
a live account: platforms rename them without notice, which is why every column is in view here and
a file may always use our own names (`order_id`, `created_at`, ...) instead.
`zones` is only told to whoever has to choose: no template makes a naive time mean anything.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.orders import Refund, Status
from streams.adapters import ADAPTERS
from streams.topics import PLATFORMS


class Kind(StrEnum):
    """How a cell of a field is read."""

    ID = "id, digit for digit"
    CODE = "code"
    TEXT = "text"
    STATUS = "status word"
    REFUND = "refund word"
    TIME = "time with an offset, or in the zone that was chosen"
    MONEY = "amount in main units, such as 12.50"
    COUNT = "whole number"
    CURRENCY = "ISO 4217 code"


class Field(NamedTuple):
    """One field of an order, and where it stands in the unified form."""

    kind: Kind
    #: Part of the body: "" is the order itself.
    part: str
    key: str
    means: str


def _fields(part: str, *named: tuple[str, Kind, str, str]) -> dict[str, Field]:
    return {name: Field(kind, part, key, means) for name, kind, key, means in named}


FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    _fields(
        "",
        ("order_id", Kind.ID, "platform_order_id", "the order's number, in each of its rows"),
        ("status", Kind.STATUS, "status", "how far it has come, in our word or the platform's"),
        ("refund", Kind.REFUND, "refund", "what became of the money"),
        ("created_at", Kind.TIME, "created_at", "placed; holds count from here"),
        ("paid_at", Kind.TIME, "paid_at", "paid"),
        ("shipped_at", Kind.TIME, "shipped_at", "left the warehouse"),
        ("completed_at", Kind.TIME, "completed_at", "done"),
        ("updated_at", Kind.TIME, "updated_at", "last changed: of two statements the later counts"),
        ("currency", Kind.CURRENCY, "currency", "of every amount in the row"),
        ("total", Kind.MONEY, "total_minor", "what the buyer pays for the order as placed"),
        ("shipping", Kind.MONEY, "shipping_minor", "of it for shipping"),
        ("discount", Kind.MONEY, "discount_minor", "all discounts, whoever bears them"),
        ("tax", Kind.MONEY, "tax_minor", "tax"),
        ("paid", Kind.MONEY, "paid_minor", "paid so far"),
        ("refunded", Kind.MONEY, "refunded_minor", "paid back so far"),
        ("payment_method", Kind.CODE, "payment_method", "how it is paid"),
    )
    | _fields(
        "line",
        ("line_id", Kind.CODE, "line_id", "the line's number; 1, 2, ... where it is not said"),
        ("merchant_sku", Kind.CODE, "merchant_sku", "the SKU as the shop calls it"),
        ("platform_sku", Kind.CODE, "platform_sku", "the SKU as the platform calls it"),
        ("title", Kind.TEXT, "title", "what it is"),
        ("quantity", Kind.COUNT, "quantity", "how many"),
        ("unit_price", Kind.MONEY, "unit_price_minor", "of one, before discounts and tax"),
        ("line_total", Kind.MONEY, "line_total_minor", "after the line's discounts"),
        ("line_refund", Kind.REFUND, "refund", "what became of this line's money"),
    )
    | _fields(
        "buyer",
        ("buyer_id", Kind.CODE, "id", "who buys, by the platform's id"),
        ("buyer_name", Kind.TEXT, "name", "name or nick"),
        ("buyer_email", Kind.TEXT, "email", "e-mail"),
        ("buyer_phone", Kind.CODE, "phone", "phone"),
    )
    | _fields(
        "receiver",
        ("receiver_name", Kind.TEXT, "name", "who receives"),
        ("receiver_phone", Kind.CODE, "phone", "phone"),
        ("country", Kind.CODE, "country", "country"),
        ("province", Kind.CODE, "province", "province or state"),
        ("city", Kind.CODE, "city", "city"),
        ("district", Kind.CODE, "district", "district"),
        ("town", Kind.CODE, "town", "town or street office"),
        ("address", Kind.TEXT, "address", "the rest of the address"),
        ("postcode", Kind.CODE, "postcode", "postcode"),
    )
    | _fields(
        "invoice",
        ("invoice_title", Kind.TEXT, "title", "whom the invoice is for"),
        ("invoice_tax_number", Kind.CODE, "tax_number", "tax number"),
    )
    | _fields(
        "shipment",
        ("carrier", Kind.CODE, "carrier", "carrier"),
        ("tracking_number", Kind.CODE, "tracking_number", "tracking number"),
    )
)

#: Columns that a file of refused rows has beside its own; they are passed over when it comes back.
REFUSED_COLUMNS: Final = ("refused_row", "refused_field", "refused_reason")

STATUSES: Final = MappingProxyType(
    {status.value: status for status in Status if status is not Status.UNKNOWN}
)
REFUNDS: Final = MappingProxyType({refund.value: refund for refund in Refund})


class Template(NamedTuple):
    """One platform's export."""

    name: str
    platforms: tuple[str, ...]
    title: str
    #: Header as the export writes it -> our field.
    columns: Mapping[str, str] = MappingProxyType({})
    #: Headers of the export that no field needs.
    passes: frozenset[str] = frozenset()
    #: Words of the export that are neither ours nor the API's.
    statuses: Mapping[str, Status] = MappingProxyType({})
    refunds: Mapping[str, Refund] = MappingProxyType({})
    #: What its amounts are in, where the export is in one currency only.
    currency: str | None = None
    #: What its times usually are in; said to whoever chooses, never assumed.
    zones: tuple[str, ...] = ("Asia/Shanghai", "UTC", "America/Los_Angeles")


_BEIJING = ("Asia/Shanghai", "UTC")
_CHINESE_STATUSES: Final = MappingProxyType({
    "待付款": Status.PENDING_PAYMENT,
    "待支付": Status.PENDING_PAYMENT,
    "等待买家付款": Status.PENDING_PAYMENT,
    "等待付款": Status.PENDING_PAYMENT,
    "待发货": Status.PAID,
    "已付款": Status.PAID,
    "已支付": Status.PAID,
    "备货中": Status.PAID,
    "等待出库": Status.PAID,
    "买家已付款，等待卖家发货": Status.PAID,
    "买家已付款,等待卖家发货": Status.PAID,
    "部分发货": Status.PARTIALLY_SHIPPED,
    "已发货": Status.SHIPPED,
    "待收货": Status.SHIPPED,
    "等待确认收货": Status.SHIPPED,
    "卖家已发货，等待买家确认": Status.SHIPPED,
    "卖家已发货,等待买家确认": Status.SHIPPED,
    "已签收": Status.DELIVERED,
    "已收货": Status.DELIVERED,
    "已完成": Status.COMPLETED,
    "交易成功": Status.COMPLETED,
    "完成": Status.COMPLETED,
    "已取消": Status.CANCELLED,
    "已关闭": Status.CANCELLED,
    "交易关闭": Status.CANCELLED,
    "(删除)等待买家付款": Status.CANCELLED,
    "(删除)等待付款": Status.CANCELLED,
})  # fmt: skip
_CHINESE_REFUNDS: Final = MappingProxyType({
    "无售后": Refund.NONE,
    "无售后或售后取消": Refund.NONE,
    "没有申请退款": Refund.NONE,
    "售后处理中": Refund.REFUNDING,
    "退款中": Refund.REFUNDING,
    "退款成功": Refund.REFUNDED,
    "已退款": Refund.REFUNDED,
})  # fmt: skip

UNIFIED: Final = Template("unified", PLATFORMS, "our own names, for any platform")

_LIST: Final = (
    UNIFIED,
    Template(
        "taobao",
        ("taobao", "tmall"),
        "千牛 已卖出的宝贝, 订单报表 (one row an order)",
        {
            "订单编号": "order_id",
            "买家会员名": "buyer_name",
            "买家应付邮费": "shipping",
            "总金额": "total",
            "买家实际支付金额": "paid",
            "订单状态": "status",
            "收货人姓名": "receiver_name",
            "收货地址": "address",
            "联系手机": "receiver_phone",
            "订单创建时间": "created_at",
            "订单付款时间": "paid_at",
            "发货时间": "shipped_at",
            "确认收货时间": "completed_at",
            "物流单号": "tracking_number",
            "物流公司": "carrier",
            "发票抬头": "invoice_title",
            "退款金额": "refunded",
        },
        frozenset({
            "买家支付宝账号", "买家应付货款", "买家支付积分", "返点积分", "买家实际支付积分",
            "买家留言", "运送方式", "联系电话", "宝贝标题", "宝贝种类", "订单备注", "宝贝总数量",
            "店铺Id", "店铺名称", "订单关闭原因", "卖家服务费", "买家服务费", "是否手机订单",
            "是否是O2O交易", "特权订金订单id", "数字门票", "定金排名", "修改后的sku",
            "修改后的收货地址", "异常信息", "天猫卡券抵扣", "集分宝抵扣", "新零售交易类型",
        }),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "taobao-lines",
        ("taobao", "tmall"),
        "千牛 已卖出的宝贝, 宝贝报表 (one row a line)",
        {
            "主订单编号": "order_id",
            "子订单编号": "line_id",
            "标题": "title",
            "价格": "unit_price",
            "购买数量": "quantity",
            "商家编码": "merchant_sku",
            "外部系统编号": "platform_sku",
            "订单状态": "status",
            "退款状态": "line_refund",
            "订单创建时间": "created_at",
            "订单付款时间": "paid_at",
            "发货时间": "shipped_at",
        },
        frozenset({
            "订单编号", "商品属性", "套餐信息", "备注", "联系方式备注", "买家应付货款",
            "买家实际支付金额", "退款金额", "支付单号", "物流单号", "物流公司",
        }),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "jd",
        ("jd",),
        "京麦 订单查询导出 (one row a line)",
        {
            "订单号": "order_id",
            "商品ID": "platform_sku",
            "商品名称": "title",
            "货号": "merchant_sku",
            "订购数量": "quantity",
            "京东价": "unit_price",
            "应付金额": "total",
            "运费金额": "shipping",
            "订单状态": "status",
            "下单时间": "created_at",
            "付款确认时间": "paid_at",
            "订单完成时间": "completed_at",
            "客户姓名": "receiver_name",
            "客户地址": "address",
            "联系电话": "receiver_phone",
            "支付方式": "payment_method",
        },
        frozenset({
            "订单类型", "下单帐号", "订单金额", "结算金额", "余额支付", "订单备注", "发票类型",
            "普通发票抬头", "商家备注", "商家备注等级（等级1-5为由高到低）", "运单号",
        }),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "pdd",
        ("pdd",),
        "拼多多商家后台 订单导出 (one row an order)",
        {
            "订单号": "order_id",
            "订单状态": "status",
            "商品": "title",
            "商品数量(件)": "quantity",
            "商品总价(元)": "line_total",
            "邮费(元)": "shipping",
            "用户实付金额(元)": "total",
            "收货人": "receiver_name",
            "手机": "receiver_phone",
            "省": "province",
            "市": "city",
            "区": "district",
            "街道": "town",
            "详细地址": "address",
            "订单成交时间": "created_at",
            "支付时间": "paid_at",
            "发货时间": "shipped_at",
            "确认收货时间": "completed_at",
            "样式ID": "platform_sku",
            "商家编码-规格维度": "merchant_sku",
            "快递单号": "tracking_number",
            "快递公司": "carrier",
            "售后状态": "refund",
        },
        frozenset({
            "店铺优惠折扣(元)", "平台优惠折扣(元)", "商家实收金额(元)", "拼单成功时间",
            "承诺发货时间", "商品id", "商品规格", "商家编码-商品维度", "是否审核中", "买家留言",
            "商家备注", "备注标签", "团长代发佣金", "是否抽奖或0元试用", "是否顺丰加价",
        }),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "douyin",
        ("douyin",),
        "抖店 订单导出 (one row a line)",
        {
            "主订单编号": "order_id",
            "子订单编号": "line_id",
            "选购商品": "title",
            "商品数量": "quantity",
            "商家编码": "merchant_sku",
            "商品ID": "platform_sku",
            "商品单价": "unit_price",
            "订单状态": "status",
            "售后状态": "line_refund",
            "订单提交时间": "created_at",
            "支付完成时间": "paid_at",
            "发货时间": "shipped_at",
            "订单完成时间": "completed_at",
            "收件人": "receiver_name",
            "收件人手机号": "receiver_phone",
            "省": "province",
            "市": "city",
            "区": "district",
            "街道": "town",
            "详细地址": "address",
        },
        frozenset({
            "商品规格", "订单应付金额", "运费", "优惠总金额", "平台优惠", "商家优惠", "达人优惠",
            "支付优惠", "支付方式", "手续费", "买家留言", "承诺发货时间", "商家备注", "取消原因",
            "APP渠道", "流量来源", "订单类型", "达人ID", "达人昵称", "旗帜颜色",
        }),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "kuaishou",
        ("kuaishou",),
        "快手小店 订单导出 (one row a line)",
        {
            "订单编号": "order_id",
            "商品名称": "title",
            "商品数量": "quantity",
            "SKU编码": "merchant_sku",
            "SkuID": "platform_sku",
            "商品单价": "unit_price",
            "实付款": "total",
            "运费": "shipping",
            "订单状态": "status",
            "订单创建时间": "created_at",
            "订单支付时间": "paid_at",
            "发货时间": "shipped_at",
            "收货人": "receiver_name",
            "收货人电话": "receiver_phone",
            "收货地址": "address",
        },
        frozenset({
            "商品规格", "商品ID", "买家昵称", "买家留言", "商家备注", "快递公司", "快递单号",
        }),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "xiaohongshu",
        ("xiaohongshu",),
        "小红书千帆 订单导出 (one row a line)",
        {
            "订单号": "order_id",
            "商品名称": "title",
            "SKU件数": "quantity",
            "SKU编码": "merchant_sku",
            "规格ID": "platform_sku",
            "商品单价": "unit_price",
            "订单状态": "status",
            "售后状态": "line_refund",
            "订单创建时间": "created_at",
            "订单支付时间": "paid_at",
            "订单发货时间": "shipped_at",
            "订单完成时间": "completed_at",
        },
        frozenset({"商品ID", "规格", "用户备注", "商家备注", "物流公司", "快递单号", "支付金额"}),
        _CHINESE_STATUSES,
        _CHINESE_REFUNDS,
        "CNY",
        _BEIJING,
    ),
    Template(
        "shopify",
        ("shopify",),
        "Shopify admin, Orders > Export (one row a line; times carry their offset)",
        {
            "Id": "order_id",
            "Financial Status": "status",
            "Paid at": "paid_at",
            "Fulfilled at": "shipped_at",
            "Created at": "created_at",
            "Currency": "currency",
            "Shipping": "shipping",
            "Taxes": "tax",
            "Total": "total",
            "Discount Amount": "discount",
            "Refunded Amount": "refunded",
            "Lineitem quantity": "quantity",
            "Lineitem name": "title",
            "Lineitem price": "unit_price",
            "Lineitem sku": "merchant_sku",
            "Payment Method": "payment_method",
            "Email": "buyer_email",
            "Shipping Name": "receiver_name",
            "Shipping Phone": "receiver_phone",
            "Shipping Country": "country",
            "Shipping Province": "province",
            "Shipping City": "city",
            "Shipping Street": "address",
            "Shipping Zip": "postcode",
        },
        frozenset({
            "Name", "Fulfillment Status", "Accepts Marketing", "Subtotal", "Discount Code",
            "Shipping Method", "Lineitem compare at price", "Lineitem requires shipping",
            "Lineitem taxable", "Lineitem fulfillment status", "Lineitem discount", "Billing Name",
            "Billing Street", "Billing Address1", "Billing Address2", "Billing Company",
            "Billing City", "Billing Zip", "Billing Province", "Billing Country", "Billing Phone",
            "Shipping Address1", "Shipping Address2", "Shipping Company", "Notes",
            "Note Attributes", "Cancelled at", "Payment Reference", "Vendor", "Outstanding Balance",
            "Employee", "Location", "Device ID", "Tags", "Risk Level", "Source", "Phone",
            "Receipt Number", "Duties", "Billing Province Name", "Shipping Province Name",
            "Payment ID", "Payment Terms Name", "Next Payment Due At", "Payment References",
            "Tax 1 Name", "Tax 1 Value", "Tax 2 Name", "Tax 2 Value", "Tax 3 Name", "Tax 3 Value",
            "Tax 4 Name", "Tax 4 Value", "Tax 5 Name", "Tax 5 Value",
        }),
        {
            "pending": Status.PENDING_PAYMENT,
            "authorized": Status.PENDING_PAYMENT,
            "paid": Status.PAID,
            "partially_refunded": Status.PAID,
            "voided": Status.CANCELLED,
        },
        zones=("UTC", "America/New_York", "America/Los_Angeles"),
    ),
    Template(
        "amazon",
        ("amazon",),
        "Seller Central, Order Reports, tab-delimited (one row a line; times carry their offset)",
        {
            "order-id": "order_id",
            "order-item-id": "line_id",
            "purchase-date": "created_at",
            "payments-date": "paid_at",
            "buyer-email": "buyer_email",
            "buyer-name": "buyer_name",
            "sku": "merchant_sku",
            "product-name": "title",
            "quantity-purchased": "quantity",
            "currency": "currency",
            "item-price": "line_total",
            "recipient-name": "receiver_name",
            "ship-address-1": "address",
            "ship-city": "city",
            "ship-state": "province",
            "ship-postal-code": "postcode",
            "ship-country": "country",
            "ship-phone-number": "receiver_phone",
            "order-status": "status",
        },
        frozenset({
            "buyer-phone-number", "item-tax", "shipping-price", "shipping-tax",
            "ship-service-level", "ship-address-2", "ship-address-3", "delivery-start-date",
            "delivery-end-date", "delivery-time-zone", "delivery-Instructions", "sales-channel",
            "is-business-order", "purchase-order-number", "price-designation", "quantity-to-ship",
            "quantity-shipped", "reporting-date", "promise-date", "days-past-promise",
            "verge-of-cancellation", "verge-of-lateShipment", "is-prime",
            "is-buyer-requested-cancellation",
        }),
        zones=("UTC", "America/Los_Angeles"),
    ),
    Template(
        "shopee",
        ("shopee",),
        "Shopee Seller Centre, My Orders > Export (one row a line)",
        {
            "Order ID": "order_id",
            "Order Status": "status",
            "Order Creation Date": "created_at",
            "Order Paid Time": "paid_at",
            "Ship Time": "shipped_at",
            "Order Complete Time": "completed_at",
            "SKU Reference No.": "merchant_sku",
            "Product Name": "title",
            "Original Price": "unit_price",
            "Quantity": "quantity",
            "Receiver Name": "receiver_name",
            "Phone Number": "receiver_phone",
            "Delivery Address": "address",
            "Province": "province",
            "City": "city",
            "Country": "country",
            "Zip Code": "postcode",
            "Tracking Number*": "tracking_number",
            "Username (Buyer)": "buyer_name",
        },
        frozenset({
            "Cancel reason", "Return / Refund Status", "Shipping Option", "Shipment Method",
            "Estimated Ship Out Date", "Parent SKU Reference No.", "Variation Name", "Deal Price",
            "Product Subtotal", "Seller Rebate", "Remark from buyer", "Note", "Town", "District",
            "Total Amount", "Order Total", "Buyer Paid Shipping Fee",
        }),
        {
            "Unpaid": Status.PENDING_PAYMENT,
            "To ship": Status.PAID,
            "Shipping": Status.SHIPPED,
            "Completed": Status.COMPLETED,
            "Cancelled": Status.CANCELLED,
        },
        zones=("Asia/Singapore", "Asia/Jakarta", "Asia/Bangkok"),
    ),
    Template(
        "tiktokshop",
        ("tiktokshop",),
        "TikTok Shop Seller Center, Manage orders > Export (one row a line)",
        {
            "Order ID": "order_id",
            "Order Status": "status",
            "SKU ID": "platform_sku",
            "Seller SKU": "merchant_sku",
            "Product Name": "title",
            "Quantity": "quantity",
            "SKU Unit Original Price": "unit_price",
            "SKU Subtotal After Discount": "line_total",
            "Order Amount": "total",
            "Created Time": "created_at",
            "Paid Time": "paid_at",
            "Shipped Time": "shipped_at",
            "Delivered Time": "completed_at",
            "Tracking ID": "tracking_number",
            "Shipping Provider Name": "carrier",
            "Buyer Username": "buyer_name",
            "Recipient": "receiver_name",
            "Phone #": "receiver_phone",
            "Country": "country",
            "State": "province",
            "City": "city",
            "Zipcode": "postcode",
            "Payment Method": "payment_method",
        },
        frozenset({
            "Order Substatus", "Cancelation/Return Type", "Normal or Pre-order", "Variation",
            "Sku Quantity of return", "SKU Subtotal Before Discount", "SKU Platform Discount",
            "SKU Seller Discount", "Shipping Fee After Discount", "Original Shipping Fee",
            "Taxes", "Order Refund Amount", "RTS Time", "Cancelled Time", "Cancel By",
            "Cancel Reason", "Fulfillment Type", "Warehouse Name", "Delivery Option",
            "Buyer Message", "Address Line 1", "Address Line 2", "Weight(kg)", "Product Category",
            "Package ID", "Seller Note", "Checked Status", "Checked Marked by",
        }),
        {
            "Unpaid": Status.PENDING_PAYMENT,
            "To ship": Status.PAID,
            "Shipped": Status.SHIPPED,
            "Completed": Status.COMPLETED,
            "Canceled": Status.CANCELLED,
            "Cancelled": Status.CANCELLED,
        },
        zones=("America/Los_Angeles", "Asia/Singapore", "Europe/London"),
    ),
    Template(
        "woocommerce",
        ("woocommerce",),
        "WooCommerce, Analytics > Orders > Download, or a plugin's export (one row an order)",
        {
            "Order #": "order_id",
            "Date": "created_at",
            "Status": "status",
            "N. Revenue": "total",
        },
        frozenset({
            "Customer", "Customer type", "Product(s)", "Items sold", "Coupon(s)", "Attribution",
            "N. Revenue (formatted)",
        }),
        zones=("UTC", "America/New_York", "Europe/Berlin"),
    ),
)  # fmt: skip

#: Template by name.
TEMPLATES: Final[Mapping[str, Template]] = MappingProxyType({each.name: each for each in _LIST})


def of_platform(platform: str) -> list[Template]:
    """Return the templates for *platform*, its own first; our own names always do."""
    own = [each for each in _LIST if each is not UNIFIED and platform in each.platforms]
    return [*own, UNIFIED]


def statuses_of(template: Template, platform: str) -> dict[str, Status]:
    """Return every status word that counts: ours, the platform's API's and its export's."""
    return {**ADAPTERS[platform].statuses, **STATUSES, **template.statuses}


def refunds_of(template: Template, platform: str) -> dict[str, Refund]:
    """Return every refund word that counts."""
    return {**ADAPTERS[platform].refunds, **REFUNDS, **template.refunds}
