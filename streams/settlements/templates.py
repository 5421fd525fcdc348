"""
Which column of which platform's settlement file is what, as data.

`orderflow settlement templates` and docs/settlement.md print it.

Columns follow the files as sellers publicly describe them; none was checked against a live account.
Platforms rename them without notice: a column that has an amount, an order or a time in it and is
called otherwise has further spellings here, and one that nobody knows stops the file, until it is
named by `--pass-over`.

Amounts have the shop's sign: what the shop gets is positive. A platform that writes them otherwise
says so here. Every platform's files have their own zone, or write it beside each time.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from agents.settlements import Kind
from schemas.errors import Rejected
from streams.importing.templates import TEMPLATES as EXPORTS


class Role(StrEnum):
    """What a column is for."""

    TRANSACTION = "id of the movement"
    IDENTITY = "tells the movement from others, where it has no id"
    ORDER = "the order, as the platform calls it"
    ORDER_NAME = "the order's name"
    TIME = "when it happened"
    #: A needed one is kept; one that is not is a remark, and only looked at.
    WORD = "says what the movement is"
    AMOUNT = "amount"
    NET = "what the movement comes to, all in all"
    DIRECTION = "in or out"
    CURRENCY = "ISO 4217 code"
    TOTAL = "what the whole file comes to"


class Sign(StrEnum):
    """How an amount is written."""

    SHOPS = "as it is for the shop"
    #: A fee of 1.75 takes that much away.
    TURNED = "the other way round"
    #: Out of the account, with or without its minus.
    OUT = "out, with or without a minus"


class Column(NamedTuple):
    """One column; where several have one role, the first that says something counts."""

    name: str
    role: Role
    #: The file cannot be read without it.
    needed: bool = False
    also: tuple[str, ...] = ()
    #: Of an amount; None: what the words of the row say.
    kind: Kind | None = None
    sign: Sign = Sign.SHOPS
    #: A row that says nothing here says what the row before did.
    carried: bool = False


class Template(NamedTuple):
    """One platform's file."""

    name: str
    platforms: tuple[str, ...]
    title: str
    columns: tuple[Column, ...]
    #: Words of a row, joined by " / " -> kind; the first that is found in them. Else OTHER.
    kinds: tuple[tuple[str, Kind], ...] = ()
    #: What an order is in its column: the first group; what does not fit is taken as it is.
    order_form: str = r"(.+)"
    #: Words of the direction column that mean out.
    out: frozenset[str] = frozenset()
    passes: frozenset[str] = frozenset()
    currency: str | None = None
    #: Of times without an offset.
    zone: str | None = None
    #: Lines that begin so are remarks around the table.
    remark: str = ""
    #: Money of an order is in a file so long after it was paid, at the latest.
    settles_within: timedelta = timedelta(days=30)
    #: What is paid back before the shop has the money is in no file.
    nets_refunds: bool = False
    #: It has no money in it: it tells which order a name is.
    tells_names: bool = False


def _amounts(kind: Kind, *names: str, sign: Sign = Sign.SHOPS) -> tuple[Column, ...]:
    return tuple(Column(name, Role.AMOUNT, kind=kind, sign=sign) for name in names)


def _identity(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, Role.IDENTITY) for name in names)


_ORDERS: Final = EXPORTS["shopify"]
_LIST: Final = (
    Template(
        "alipay",
        ("taobao", "tmall"),
        "支付宝商家中心 账务明细, CSV in GB18030 (one row a movement; UTC+8)",
        (
            Column("账务流水号", Role.TRANSACTION, needed=True, also=("支付宝流水号",)),
            Column("业务基础订单号", Role.ORDER),
            Column("商户订单号", Role.ORDER, needed=True),
            Column("发生时间", Role.TIME, needed=True, also=("入账时间",)),
            Column("业务类型", Role.WORD, needed=True, also=("账务类型",)),
            Column("备注", Role.WORD),
            Column("业务描述", Role.WORD),
            Column("收入金额(+元)", Role.AMOUNT, needed=True,
                   also=("收入金额", "收入金额(元)", "收入(+元)")),
            Column("支出金额(-元)", Role.AMOUNT, needed=True, sign=Sign.OUT,
                   also=("支出金额", "支出金额(元)", "支出(-元)")),
        ),
        (
            # The type comes first; a remark counts where the type says nothing.
            (r"^(在线支付|交易付款|交易收款|收款)", Kind.PAYMENT),
            (r"^(交易退款|退款)", Kind.REFUND),
            (r"^(收费|交易服务费|服务费|手续费)", Kind.FEE),
            (r"^提现", Kind.TRANSFER),
            (r"佣金|服务费|手续费|积分|推广费|软件费", Kind.FEE),
            (r"红包|补贴|代付", Kind.OTHER),
            (r"退款", Kind.REFUND),
            (r"转账|余额宝", Kind.TRANSFER),
        ),
        # Taobao's trade as Alipay calls it: T200P and the trade's number.
        r"(?:T[0-9]+P)?([0-9]{12,20})",
        passes=frozenset({
            "业务流水号", "商品名称", "对方账号", "对方名称", "账户余额(元)", "账户余额",
            "交易渠道", "业务账单来源", "业务订单号",
        }),
        currency="CNY",
        zone="Asia/Shanghai",
        remark="#",
        nets_refunds=True,
    ),
    Template(
        "douyin",
        ("douyin",),
        "抖店 资金-动账明细 (结算账单), CSV or XLSX (one row a movement; UTC+8)",
        (
            Column("动账流水号", Role.TRANSACTION, needed=True, also=("动帐流水号",)),
            Column("订单号", Role.ORDER, needed=True, also=("主订单号", "主订单编号")),
            Column("动账时间", Role.TIME, needed=True, also=("动帐时间",)),
            Column("动账场景", Role.WORD, needed=True, also=("动账摘要",)),
            Column("备注", Role.WORD),
            *(
                column._replace(needed=True)
                for column in _amounts(Kind.PAYMENT, "订单实付应结")
            ),
            *_amounts(Kind.PAYMENT, "运费实付"),
            *_amounts(
                Kind.OTHER, "实际平台补贴_运费", "实际平台补贴", "其他平台补贴", "以旧换新抵扣",
                "政府补贴平台垫资", "实际达人补贴", "实际抖音支付补贴", "实际抖音月付营销补贴",
                "银行补贴",
            ),
            *_amounts(Kind.REFUND, "订单退款"),
            *_amounts(
                Kind.FEE, "平台服务费", "佣金", "服务商佣金", "渠道分成", "招商服务费",
                "站外推广费", "其他分成",
            ),
            Column("动账方向", Role.DIRECTION, needed=True, also=("动帐方向",)),
            Column("动账金额", Role.NET, needed=True, also=("动帐金额", "动账金额(元)")),
        ),
        (
            (r"退补贴|补贴", Kind.OTHER),
            (r"退款|退用户|退票", Kind.REFUND),
            (r"提现|保证金|转账", Kind.TRANSFER),
            (r"服务费|佣金|分账|推广|保险|运费险", Kind.FEE),
        ),
        r"'?([0-9]{12,20})",
        frozenset({"出账", "支出"}),
        frozenset({
            "动账账户", "动帐账户", "计费类型", "子订单号", "售后编号", "下单时间", "商品ID",
            "商品编码", "商品名称", "达人ID", "达人名称", "订单类型", "是否免佣", "免佣金额",
            "商户主体名称",
        }),
        "CNY",
        "Asia/Shanghai",
        nets_refunds=True,
    ),
    Template(
        "shopify",
        ("shopify",),
        "Shopify admin, Payouts > Export transactions, CSV (times carry their offset)",
        (
            *_identity("Transaction Date", "Type", "Order", "Amount", "Fee", "Checkout"),
            Column("Order", Role.ORDER_NAME, needed=True),
            Column("Transaction Date", Role.TIME, needed=True),
            Column("Type", Role.WORD, needed=True),
            Column("Amount", Role.AMOUNT, needed=True),
            Column("Fee", Role.AMOUNT, needed=True, kind=Kind.FEE, sign=Sign.TURNED),
            Column("Net", Role.NET),
            Column("Currency", Role.CURRENCY, needed=True),
        ),
        (
            (r"^charge$", Kind.PAYMENT),
            (r"^refund$", Kind.REFUND),
            (r"payout|transfer", Kind.TRANSFER),
        ),
        passes=frozenset({
            "Card Brand", "Card Source", "Payout Status", "Payout Date", "Payout ID",
            "Available On", "Checkout", "Payment Method Name", "Payment Method",
            "Presentment Amount", "Presentment Currency", "VAT", "Business Entity Name",
            "Business Entity ID",
        }),
        settles_within=timedelta(days=7),
    ),
    Template(
        "shopify-orders",
        ("shopify",),
        "Shopify admin, Orders > Export, CSV: which order #1001 is, for it alone knows the id",
        (
            Column("Name", Role.ORDER_NAME, needed=True),
            Column("Id", Role.ORDER, needed=True),
        ),
        passes=frozenset(_ORDERS.columns) | _ORDERS.passes,
        tells_names=True,
    ),
    Template(
        "amazon",
        ("amazon",),
        "Seller Central, Settlement report V2 flat file, tab separated (one row an amount; UTC)",
        (
            *_identity(
                "settlement-id", "transaction-type", "order-id", "adjustment-id", "shipment-id",
                "amount-type", "amount-description", "amount", "posted-date-time",
                "order-item-code", "promotion-id",
            ),
            Column("order-id", Role.ORDER, needed=True),
            Column("posted-date-time", Role.TIME, needed=True),
            # Reserves have no time of their own: the settlement's end is theirs.
            Column("settlement-end-date", Role.TIME, needed=True, carried=True),
            Column("transaction-type", Role.WORD, needed=True),
            Column("amount-type", Role.WORD, needed=True),
            Column("amount-description", Role.WORD, needed=True),
            Column("amount", Role.AMOUNT, needed=True),
            Column("currency", Role.CURRENCY, needed=True, carried=True),
            Column("total-amount", Role.TOTAL, needed=True),
        ),
        (
            (r"^order / (itemprice|promotion) ", Kind.PAYMENT),
            (r"^(refund|chargeback refund|a-to-z guarantee refund) / (itemprice|promotion) ",
             Kind.REFUND),
            (r"itemwithheldtax", Kind.OTHER),
            (r"itemfees|fee|subscription|storage|advertising", Kind.FEE),
            (r"^transfer|payable to amazon", Kind.TRANSFER),
        ),
        passes=frozenset({
            "settlement-id", "settlement-start-date", "deposit-date", "merchant-order-id",
            "adjustment-id", "shipment-id", "marketplace-name", "fulfillment-id", "posted-date",
            "order-item-code", "merchant-order-item-id", "merchant-adjustment-item-id", "sku",
            "quantity-purchased", "promotion-id",
        }),
        zone="UTC",
    ),
)  # fmt: skip

#: Template by name.
TEMPLATES: Final[Mapping[str, Template]] = MappingProxyType({each.name: each for each in _LIST})
#: Platforms whose files can be read.
PLATFORMS: Final = tuple(dict.fromkeys(name for each in _LIST for name in each.platforms))


def plain_name(said: str) -> str:
    """Return a column's name without what differs between two exports of the same thing."""
    return "".join(unicodedata.normalize("NFKC", said).split()).casefold()


def of_platform(platform: str) -> Template:
    """Return the template of *platform*'s settlements, or raise Rejected: there is none."""
    for each in _LIST:
        if platform in each.platforms and not each.tells_names:
            return each
    raise Rejected(
        f"There is no template for the settlements of {platform!r}; there is for "
        f"{', '.join(PLATFORMS)}."
    )


def named(template: Template) -> dict[str, tuple[Column, ...]]:
    """Return every spelling of a column, as `plain_name` has it, with what the column is for."""
    found: dict[str, tuple[Column, ...]] = {}
    for column in template.columns:
        for name in (column.name, *column.also):
            found[plain_name(name)] = (*found.get(plain_name(name), ()), column)
    return found


def missing(template: Template, there: frozenset[str]) -> list[str]:
    """Return the needed columns of *template* that are not among *there*, by `plain_name`."""
    return [
        column.name
        for column in template.columns
        if column.needed
        and not any(plain_name(name) in there for name in (column.name, *column.also))
    ]


@lru_cache(4_096)
def kind_of(name: str, words: str) -> Kind:
    """Return what the *words* of a row mean in the template called *name*."""
    for pattern, kind in TEMPLATES[name].kinds:
        if re.search(pattern, words, re.IGNORECASE):
            return kind
    return Kind.OTHER


def page() -> str:
    """Return the templates as they stand in docs/settlement.md."""
    return "\n".join(line for template in _LIST for line in _lines(template)) + "\n"


def _lines(template: Template) -> Iterator[str]:
    yield f"### `{template.name}`: {template.title}"
    yield ""
    yield f"For {', '.join(template.platforms)}. {_terms(template)}"
    yield ""
    yield "| column | needed | what it is |"
    yield "|---|---|---|"
    shown: dict[str, list[Column]] = {}
    for column in template.columns:
        shown.setdefault(column.name, []).append(column)
    for name, columns in shown.items():
        spelt = " · ".join(f"`{each}`" for each in (name, *columns[-1].also))
        needed = "yes" if any(each.needed for each in columns) else ""
        yield f"| {spelt} | {needed} | {'; '.join(_about(each) for each in columns)} |"
    for pattern, kind in template.kinds:
        yield f"| words with `{pattern.replace('|', chr(92) + '|')}` | | {kind} |"
    yield ""


def _terms(template: Template) -> str:
    if template.tells_names:
        return "It has no money in it."
    said = [
        f"Amounts in {template.currency}" if template.currency else "The currency is in the file",
        f"times without an offset are {template.zone}" if template.zone else "times say their zone",
        f"settled within {template.settles_within.days} days",
    ]
    if template.nets_refunds:
        said.append("what is paid back before that is in no file")
    return "; ".join(said) + "."


def _about(column: Column) -> str:
    said = str(column.role)
    if column.role is Role.AMOUNT:
        said = f"{column.kind or 'payment, refund, … by the words of its row'}, {column.sign}"
    return f"{said}; where it is empty, as in the row before" if column.carried else said
